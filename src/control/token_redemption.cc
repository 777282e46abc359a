#include "control/token_redemption.h"

#include "base/log.h"
#include "control/document_text.h"

namespace istmo::control {

TokenRedemption::TokenRedemption(io::Loop& loop, SiteState& state, TokenRedemptionSink& sink,
                                 const transport::KeyLog* key_log)
    : loop_(loop), state_(state), sink_(sink), key_log_(key_log), redeemer_(loop, *this) {}

void TokenRedemption::add_redeemed(Desired& desired) const {
  for (const auto& [name, token] : state_.redeemed()) {
    for (Document& document : parse_documents(token.documents, "token " + name).documents) {
      if (!desired.find(id_of(document))) desired.put(std::move(document));
    }
  }
}

bool TokenRedemption::is_redeemed(const AccessTokenDocument& token) const {
  const auto known = state_.redeemed().find(token.name());
  return known != state_.redeemed().end() && known->second.code_sha256 == sha256_hex(token.code);
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

void TokenRedemption::update(const Desired& desired, Observed& observed) {
  observed.tokens.clear();
  std::erase_if(failures_, [&](const auto& entry) {
    const auto token = desired.tokens.find(entry.first);
    return token == desired.tokens.end() || !(token->second == entry.second.token);
  });
  for (const auto& [name, token] : desired.tokens) {
    TokenState& state = observed.tokens[name];
    state.is_redeemed = is_redeemed(token);
    if (state.is_redeemed) continue;
    const auto failure = failures_.find(name);
    if (failure != failures_.end()) {
      state.error = failure->second.text;
      if (failure->second.is_final || failure->second.retry_at > loop_.now()) continue;
    }
    RedeemAddresses addresses;
    if (running_ || !redeemer_.is_idle() || !are_hosts_known(token, observed, addresses)) continue;
    running_ = token;
    redeemer_.start(token, state_.site_id(), addresses, key_log_);
  }
}

void TokenRedemption::on_redeemed(Result<Redemption> result) {
  const AccessTokenDocument token = std::move(*running_);
  running_.reset();
  Result<> stored;
  if (result) {
    stored = state_.put_redeemed({.name = token.name(),
                                  .url = token.url,
                                  .code_sha256 = sha256_hex(token.code),
                                  .documents = result->to_yaml(),
                                  .time = wall_now()});
    LOG_INFO("token redeemed", "token", token.name(), "url", token.url);
  }
  if (!result || !stored) {
    const Error& error = result ? stored.error() : result.error();
    const bool is_final = !result && error.error_class() == ErrorClass::refused;
    LOG_WARNING("token not redeemed", "token", token.name(), "error", error.text());
    failures_.insert_or_assign(token.name(),
                               Failure{token, error.text(), is_final, loop_.now() + kRetryTime});
    loop_.timers().arm(retry_timer_, loop_.now() + kRetryTime);
  }
  sink_.on_tokens_changed();
}

void TokenRedemption::on_retry() { sink_.on_tokens_changed(); }

Result<> TokenRedemption::forget_link(const std::string& link_name) {
  for (const auto& [name, token] : state_.redeemed()) {
    for (const Document& document : parse_documents(token.documents, name).documents) {
      if (id_of(document) != ObjectId{"Link", link_name}) continue;
      // The record stays, so that a token document that is still there is not redeemed again.
      RedeemedToken emptied = token;
      emptied.documents.clear();
      TRY(state_.put_redeemed(emptied));
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
