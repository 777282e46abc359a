#include "control/token_redemption.h"

#include <algorithm>
#include <functional>

#include "base/log.h"
#include "control/document_text.h"

namespace istmo::control {

TokenRedemption::TokenRedemption(io::Loop& loop, SiteState& state, TokenRedemptionSink& sink,
                                 const transport::KeyLog* key_log, const TokenPauses& pauses)
    : loop_(loop),
      state_(state),
      sink_(sink),
      key_log_(key_log),
      pauses_(pauses),
      rng_(std::hash<std::string>()(state.site_id()) + static_cast<uint64_t>(loop.now().ns)),
      redeemer_(loop, *this) {}

std::map<std::string, RedeemedToken, std::less<>> TokenRedemption::redeemed() const {
  std::map<std::string, RedeemedToken, std::less<>> all = unwritten_;
  all.insert(state_.redeemed().begin(), state_.redeemed().end());
  return all;
}

bool TokenRedemption::is_redeemed(const AccessTokenDocument& token) const {
  const std::string code = sha256_hex(token.code);
  for (const auto* tokens : {&unwritten_, &state_.redeemed()}) {
    const auto known = tokens->find(token.name());
    if (known != tokens->end()) return known->second.code_sha256 == code;
  }
  return false;
}

std::set<std::string> TokenRedemption::hosts_to_resolve(const Desired& desired) const {
  std::set<std::string> hosts;
  for (const auto& [name, token] : desired.tokens) {
    if (is_redeemed(token)) continue;
    for (const std::string& host : redeem_hosts(token)) hosts.insert(host);
  }
  return hosts;
}

bool TokenRedemption::are_hosts_known(const AccessTokenDocument& token, const Observed& observed,
                                      RedeemAddresses& addresses) const {
  for (const std::string& host : redeem_hosts(token)) {
    const auto known = observed.hosts.find(host);
    if (known == observed.hosts.end()) return false;
    if (known->second.addresses.empty() && known->second.error.empty()) return false;
    addresses[host] = known->second.addresses;
  }
  return true;
}

// One token at a time: the one whose turn came first, a new one before all others.
void TokenRedemption::update(const Desired& desired, Observed& observed) {
  observed.tokens.clear();
  std::erase_if(failures_, [&](const auto& entry) {
    const auto token = desired.tokens.find(entry.first);
    return token == desired.tokens.end() || !(token->second == entry.second.token);
  });
  write_unwritten();
  const AccessTokenDocument* next = nullptr;
  RedeemAddresses next_addresses;
  Instant next_due = Instant::never();
  for (const auto& [name, token] : desired.tokens) {
    TokenState& state = observed.tokens[name];
    state.is_redeemed = is_redeemed(token);
    if (state.is_redeemed) continue;
    Instant due;
    const auto failure = failures_.find(name);
    if (failure != failures_.end()) {
      state.error = failure->second.text;
      due = failure->second.retry_at;
      if (failure->second.is_final || due > loop_.now()) continue;
    }
    RedeemAddresses addresses;
    if (due >= next_due || !are_hosts_known(token, observed, addresses)) continue;
    next = &token;
    next_addresses = std::move(addresses);
    next_due = due;
  }
  const bool is_free = !running_ && redeemer_.is_idle();
  if (next && is_free) start(*next, next_addresses);
  if (next && failures_.contains(next->name())) {
    observed.tokens[next->name()].error = failures_.at(next->name()).text;
  }
  arm_retry();
}

void TokenRedemption::start(const AccessTokenDocument& token, const RedeemAddresses& addresses) {
  if (const auto reserved = state_.reserve_redeemed(token.name()); !reserved) {
    return fail(token, Error(reserved.error()).at("no room for what the token gives"));
  }
  running_ = token;
  redeemer_.start(token, state_.site_id(), addresses, key_log_);
}

void TokenRedemption::on_redeemed(Result<Redemption> result) {
  const AccessTokenDocument token = std::move(*running_);
  running_.reset();
  if (!result) {
    state_.release_redeemed(token.name());
    fail(token, result.error());
  } else {
    LOG_INFO("token redeemed", "token", token.name(), "url", token.url);
    failures_.erase(token.name());
    unwritten_.insert_or_assign(token.name(), RedeemedToken{.name = token.name(),
                                                            .url = token.url,
                                                            .code_sha256 = sha256_hex(token.code),
                                                            .documents = result->to_yaml(),
                                                            .time = wall_now()});
    write_at_ = loop_.now();
    write_unwritten();
  }
  sink_.on_tokens_changed();
}

void TokenRedemption::fail(const AccessTokenDocument& token, const Error& error) {
  LOG_WARNING("token not redeemed", "token", token.name(), "error", error.text());
  const auto before = failures_.find(token.name());
  Backoff backoff =
      before == failures_.end() ? Backoff(pauses_.first, pauses_.longest) : before->second.backoff;
  Duration pause = backoff.next();
  if (error.error_class() == ErrorClass::limit) pause = std::max(pause, pauses_.limited);
  failures_.insert_or_assign(token.name(),
                             Failure{.token = token,
                                     .text = error.text(),
                                     .is_final = error.error_class() == ErrorClass::config,
                                     .backoff = backoff,
                                     .retry_at = loop_.now() + by_chance(pause, rng_)});
}

// The code was used up for it: from here on it is not lost while the process lives.
void TokenRedemption::write_unwritten() {
  if (unwritten_.empty() || write_at_ > loop_.now()) return;
  std::erase_if(unwritten_, [&](const auto& entry) {
    const auto written = state_.put_redeemed(entry.second);
    if (!written) {
      LOG_WARNING("what a token gave is not on disk yet", "token", entry.first, "error",
                  written.error().text());
    }
    return written.has_value();
  });
  write_at_ = loop_.now() + pauses_.write;
}

void TokenRedemption::arm_retry() {
  Instant next = unwritten_.empty() ? Instant::never() : write_at_;
  for (const auto& [name, failure] : failures_) {
    // What is due now waits for the one that runs, whose end leads here.
    if (!failure.is_final && failure.retry_at > loop_.now())
      next = std::min(next, failure.retry_at);
  }
  if (next == Instant::never()) loop_.timers().cancel(retry_timer_);
  else loop_.timers().arm(retry_timer_, next);
}

void TokenRedemption::on_retry() { sink_.on_tokens_changed(); }

std::map<std::string, std::vector<Document>> TokenRedemption::given() const {
  std::map<std::string, std::vector<Document>> all;
  for (const auto& [name, token] : redeemed()) {
    auto parsed = parse_documents(token.documents, "token " + name);
    if (!parsed.documents.empty()) all[name] = std::move(parsed.documents);
  }
  return all;
}

// The record stays, so that a token document that is still there is not redeemed again.
Result<> TokenRedemption::forget_documents(const std::string& token) {
  const auto known = redeemed();
  const auto found = known.find(token);
  if (found == known.end()) return {};
  RedeemedToken emptied = found->second;
  emptied.documents.clear();
  TRY(state_.put_redeemed(emptied));
  unwritten_.erase(token);
  return {};
}

Result<> TokenRedemption::forget_link(const std::string& link_name) {
  for (const auto& [name, documents] : given()) {
    for (const Document& document : documents) {
      if (id_of(document) != ObjectId{"Link", link_name}) continue;
      TRY(forget_documents(name));
      sink_.on_tokens_changed();
      return {};
    }
  }
  return Error::config("no token gave a link '" + link_name + "'");
}

void TokenRedemption::cancel() {
  loop_.timers().cancel(retry_timer_);
  redeemer_.cancel();
}

}  // namespace istmo::control
