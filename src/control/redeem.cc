#include "control/redeem.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "control/access_documents.h"
#include "control/document_text.h"
#include "control/https_channel.h"
#include "control/resolver.h"

namespace istmo::control {

using transport::TlsContext;

namespace {

// A site closes its port when no token can be redeemed any more.
constexpr const char* kNobody =
    "; the site does not run, or the token expired or was used up: then ask for a new one with "
    "`istmo token create`";

// The server ends the connection, and another token leads elsewhere: none is kept.
constexpr HttpsLimits kLimits{.connect_time = kRedeemTryTimeout,
                              .last_connect_time = kRedeemTimeout,
                              .reply_time = kRedeemTimeout,
                              .kept_time = {},
                              .body_bytes_max = kRedeemReplyBytesMax};

std::vector<HttpsPlace> places_of(const AccessTokenDocument& token,
                                  const RedeemAddresses& addresses, std::string& problems) {
  std::vector<HttpsPlace> places;
  const auto complain = [&](const std::string& text) {
    problems += (problems.empty() ? "" : "; ") + text;
  };
  for (const std::string& url : token_urls(token)) {
    const auto parsed = parse_https_url(url);
    if (!parsed) {
      complain(parsed.error().text());
      continue;
    }
    const auto& [name, port, path] = *parsed;
    const auto known = addresses.find(name);
    const std::vector<std::string> hosts = io::Address::is_numeric(name) ? std::vector{name}
                                           : known == addresses.end() ? std::vector<std::string>()
                                                                      : known->second;
    if (hosts.empty()) complain("host " + name + " is not known");
    for (const std::string& host : hosts) {
      const auto address = io::Address::parse(host, port);
      if (!address) continue;
      places.push_back({.address = *address, .host = name, .certificate_name = name, .path = path});
    }
  }
  return places;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  // It goes to a terminal and a log.
  std::ranges::replace_if(text, [](char c) { return static_cast<uint8_t>(c) < ' '; }, ' ');
  constexpr size_t kTextBytesMax = 200;
  if (text.size() > kTextBytesMax) text.resize(kTextBytesMax);
  return text;
}

Error refusal(int status, std::string body) {
  const std::string text = trimmed(std::move(body));
  switch (status) {
    case 404:
      return Error::config("redemption refused: " + (text.empty() ? "No such claim" : text) +
                           " (token expired, used up or unknown); ask for a new token with "
                           "`istmo token create`");
    case 403:
      return Error::config("redemption refused: " + text +
                           " (the code is wrong); ask for a new token with `istmo token create`");
    case 429: return Error::limit("redemption refused: " + text);
    default:
      if (status >= 300 && status < 400) {
        return Error::protocol("redemption failed: the server answered with a redirect (" +
                               std::to_string(status) + "), which is not followed");
      }
      return Error::refused("redemption failed: the server answered " + std::to_string(status) +
                            (text.empty() ? "" : ": " + text));
  }
}

bool is_name_of(const std::string& link, const std::string& token) {
  return link == token || link.starts_with(token + "-");
}

// The reply comes from another site: it may only define what the token was for.
Result<Redemption> read_redemption(const AccessTokenDocument& token, const std::string& text) {
  const auto bad = [](const std::string& why) {
    return Error::protocol("redemption failed: the reply of the server is wrong: " + why);
  };
  ParsedDocuments parsed = parse_documents(text, "reply");
  if (parsed.is_cut || parsed.has_errors()) {
    return bad(parsed.problems.empty() ? "not understood" : parsed.problems.front().to_string());
  }
  std::optional<Redemption> redemption;
  std::vector<LinkDocument> links;
  for (Document& document : parsed.documents) {
    if (auto* secret = std::get_if<SecretDocument>(&document)) {
      if (redemption) return bad("more than one Secret");
      redemption = Redemption{.secret = std::move(*secret), .links = {}};
    } else if (auto* link = std::get_if<LinkDocument>(&document)) {
      if (token.link_cost) link->cost = *token.link_cost;
      links.push_back(std::move(*link));
    } else {
      return bad("a " + std::string(kind_of(document)) + " does not belong there");
    }
  }
  if (!redemption || links.empty()) return bad("a Secret and a Link belong there");
  const std::string& name = redemption->secret.name();
  if (name != token.name()) return bad("Secret is called " + name);
  for (LinkDocument& link : links) {
    link.origin = {};
    if (!is_name_of(link.name(), name) || link.tls_credentials != name || link.endpoints.empty()) {
      return bad("Link " + link.name());
    }
  }
  redemption->secret.origin = {};
  redemption->links = std::move(links);
  auto& data = redemption->secret.data;
  const auto checked = check_credentials(
      {.certificate = data["tls.crt"], .private_key = data["tls.key"], .ca = data["ca.crt"]},
      "Secret " + name, wall_now());
  if (!checked) return bad(checked.error().text());
  return std::move(*redemption);
}

}  // namespace

std::string Redemption::to_yaml() const {
  std::vector<Document> documents{secret};
  documents.insert(documents.end(), links.begin(), links.end());
  return write_documents(documents, Format::yaml);
}

std::vector<std::string> redeem_hosts(const AccessTokenDocument& token) {
  std::vector<std::string> hosts;
  for (const std::string& url : token_urls(token)) {
    const auto parsed = parse_https_url(url);
    if (parsed && !io::Address::is_numeric(parsed->host) &&
        std::ranges::find(hosts, parsed->host) == hosts.end()) {
      hosts.push_back(parsed->host);
    }
  }
  return hosts;
}

class Redeemer::State final : private HttpsSink {
 public:
  State(io::Loop& loop, RedeemSink& sink)
      : loop_(loop), sink_(sink), channel_(loop, *this, kLimits) {}

  void start(const AccessTokenDocument& token, const std::string& site_id,
             const RedeemAddresses& addresses, const transport::KeyLog* key_log) {
    ASSERT(channel_.is_free() && !finish_.is_linked());
    token_ = token;
    problems_.clear();
    auto places = places_of(token, addresses, problems_);
    // A host may become known; a text that is no URL stays none.
    if (places.empty() && redeem_hosts(token).empty()) {
      return finish(Error::config("redemption failed: " +
                                  (problems_.empty() ? "the token has no url" : problems_)));
    }
    auto context = TlsContext::create({.role = transport::TlsRole::client,
                                       .ca_pem = token_.ca,
                                       .minimum_version = transport::TlsVersion::v1_3,
                                       .key_log = key_log});
    if (!context) return finish(std::move(context).error().at("token " + token_.name()));
    context_.emplace(std::move(*context));
    const RequestHead head{
        .method = "POST",
        .target = "",  // the path of each place
        .fields = {{"connection", "close"}, {"name", token_.name()}, {"subject", site_id}}};
    channel_.ask(std::move(places), *context_,
                 {.request = {.head = head, .body = token_.code}, .is_in_lines = false});
  }

  void cancel() {
    finish_.unlink();
    channel_.cancel();
  }

  bool is_idle() const { return channel_.is_closed() && !finish_.is_linked(); }

 private:
  void on_https_line(std::string_view) override {}
  void on_https_reply(int status, std::string body) override {
    if (status != 200) return tell(refusal(status, std::move(body)));
    tell(read_redemption(token_, body));
  }
  void on_https_failed(HttpsFailure failure, const Error& error) override {
    std::string text = error.text();
    if (failure == HttpsFailure::unsent && !problems_.empty()) {
      text = problems_ + (text.empty() ? "" : "; ") + text;
    }
    const bool is_reply_bad =
        error.error_class() == ErrorClass::protocol || error.error_class() == ErrorClass::limit;
    // The server may have counted the redemption: only it knows.
    if (failure == HttpsFailure::unanswered && !is_reply_bad) {
      text +=
          " before the answer came; if the token is refused now, ask for a new one with `istmo "
          "token create`";
    }
    const bool is_nobody_there =
        failure == HttpsFailure::unsent && error.error_class() == ErrorClass::refused;
    if (is_nobody_there) text += kNobody;
    tell(Error(error.error_class(), "redemption failed: " + text));
  }

  // The sink is told from the loop: start() may be our caller.
  void finish(Error error) {
    error_ = std::move(error);
    loop_.defer(finish_);
  }
  void on_finished() { tell(std::exchange(error_, Error::closed(""))); }
  // Last: the sink may start again or end us.
  void tell(Result<Redemption> result) { sink_.on_redeemed(std::move(result)); }

  io::Loop& loop_;
  RedeemSink& sink_;
  AccessTokenDocument token_;
  std::string problems_;             // of its URLs
  Error error_ = Error::closed("");  // why there is nothing to ask
  std::optional<TlsContext> context_;
  HttpsChannel channel_;
  io::DeferredOf<State, &State::on_finished> finish_{*this};
};

Redeemer::Redeemer(io::Loop& loop, RedeemSink& sink)
    : state_(std::make_unique<State>(loop, sink)) {}
Redeemer::~Redeemer() = default;

void Redeemer::start(const AccessTokenDocument& token, const std::string& site_id,
                     const RedeemAddresses& addresses, const transport::KeyLog* key_log) {
  state_->start(token, site_id, addresses, key_log);
}
void Redeemer::cancel() { state_->cancel(); }
bool Redeemer::is_idle() const { return state_->is_idle(); }

namespace {

// Blocks: for commands only.
class BlockingSink final : public RedeemSink {
 public:
  void on_redeemed(Result<Redemption> result) override { result_ = std::move(result); }
  std::optional<Result<Redemption>>& result() { return result_; }

 private:
  std::optional<Result<Redemption>> result_;
};

}  // namespace

Result<Redemption> redeem_blocking(const AccessTokenDocument& token, const std::string& site_id) {
  const auto loop = TRY(io::make_loop({.kind = io::LoopKind::epoll}, {.block_count = 16}));
  RedeemAddresses addresses;
  for (const std::string& host : redeem_hosts(token)) addresses[host] = resolve_blocking(host);
  BlockingSink sink;
  Redeemer redeemer(*loop, sink);
  redeemer.start(token, site_id, addresses, nullptr);
  loop->run_until([&] { return sink.result().has_value(); });
  return std::move(*sink.result());
}

}  // namespace istmo::control
