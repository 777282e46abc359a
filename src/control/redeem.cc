#include "control/redeem.h"

#include <netdb.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "control/access_documents.h"
#include "control/document_text.h"
#include "control/http_message.h"
#include "dataplane/transport/tls_transport.h"

namespace istmo::control {

using transport::TlsContext;
using transport::TlsTransport;

namespace {

// A site closes its port when no token can be redeemed any more.
constexpr const char* kNobody =
    "; the site does not run, or the token expired or was used up: then ask for a new one with "
    "`istmo token create`";

bool is_numeric(const std::string& host) { return io::Address::parse(host, 0).has_value(); }

// One address to try, and the name that its certificate must carry.
struct Place {
  HttpsUrl url;
  io::Address address;
};

std::vector<Place> places_of(const AccessTokenDocument& token, const RedeemAddresses& addresses,
                             std::string& problems) {
  std::vector<Place> places;
  const auto complain = [&](const std::string& text) {
    problems += (problems.empty() ? "" : "; ") + text;
  };
  for (const std::string& url : token_urls(token)) {
    const auto parsed = parse_https_url(url);
    if (!parsed) {
      complain(parsed.error().text());
      continue;
    }
    const auto known = addresses.find(parsed->host);
    const std::vector<std::string> hosts = is_numeric(parsed->host)   ? std::vector{parsed->host}
                                           : known == addresses.end() ? std::vector<std::string>()
                                                                      : known->second;
    if (hosts.empty()) complain("host " + parsed->host + " is not known");
    for (const std::string& host : hosts) {
      if (const auto address = io::Address::parse(host, parsed->port)) {
        places.push_back({*parsed, *address});
      }
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

Error refusal(const Reply& reply) {
  const std::string text = trimmed(reply.body);
  switch (reply.status) {
    case 404:
      return Error::config("redemption refused: " + (text.empty() ? "No such claim" : text) +
                           " (token expired, used up or unknown); ask for a new token with "
                           "`istmo token create`");
    case 403:
      return Error::config("redemption refused: " + text +
                           " (the code is wrong); ask for a new token with `istmo token create`");
    case 429: return Error::limit("redemption refused: " + text);
    default:
      if (reply.status >= 300 && reply.status < 400) {
        return Error::protocol("redemption failed: the server answered with a redirect (" +
                               std::to_string(reply.status) + "), which is not followed");
      }
      return Error::refused("redemption failed: the server answered " +
                            std::to_string(reply.status) + (text.empty() ? "" : ": " + text));
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
    if (parsed && !is_numeric(parsed->host) &&
        std::ranges::find(hosts, parsed->host) == hosts.end()) {
      hosts.push_back(parsed->host);
    }
  }
  return hosts;
}

// States: idle -> connecting -> handshaking -> asking -> closing -> idle; a failure before asking
// goes on to connecting with the next place. `next_` says what follows closing.
class Redeemer::State final : public transport::TransportSink {
 public:
  State(io::Loop& loop, RedeemSink& sink) : loop_(loop), sink_(sink) {}
  ~State() { ASSERT(phase_ == Phase::idle && connect_op_.is_idle() && !transport_); }

  void start(const AccessTokenDocument& token, const std::string& site_id,
             const RedeemAddresses& addresses, const transport::KeyLog* key_log) {
    ASSERT(phase_ == Phase::idle && !finish_.is_linked());
    token_ = token;
    site_id_ = site_id;
    key_log_ = key_log;
    errors_.clear();
    was_refused_ = false;
    is_cancelled_ = false;
    result_.reset();
    places_ = places_of(token, addresses, errors_);
    place_ = 0;
    // A host may become known; a text that is no URL stays none.
    if (places_.empty() && redeem_hosts(token).empty()) {
      return finish(Error::config("redemption failed: " +
                                  (errors_.empty() ? "the token has no url" : errors_)));
    }
    try_place();
  }

  void cancel() {
    is_cancelled_ = true;
    deadline_.unlink();
    finish_.unlink();
    if (phase_ == Phase::connecting) loop_.cancel(connect_op_);
    else if (transport_) close_transport(Error::closed("cancelled"));
    else phase_ = Phase::idle;
  }

  bool is_idle() const { return phase_ == Phase::idle; }

 private:
  enum class Phase : uint8_t { idle, connecting, handshaking, asking, closing, done };

  void try_place() {
    if (place_ == places_.size()) {
      return finish(
          Error::refused("redemption failed: " + errors_ + (was_refused_ ? kNobody : "")));
    }
    phase_ = Phase::connecting;
    is_late_ = false;
    const bool is_last = place_ + 1 == places_.size();
    loop_.timers().arm(deadline_, loop_.now() + (is_last ? kRedeemTimeout : kRedeemTryTimeout));
    loop_.connect(connect_op_, places_[place_].address, io::SocketOptions{});
  }

  void try_next(const std::string& why) {
    errors_ += (errors_.empty() ? "" : "; ") + places_[place_].address.to_string() + ": " + why;
    ++place_;
    try_place();
  }

  void on_connected(io::Completion&& done) {
    if (is_cancelled_ || is_late_) {
      if (done.fd.is_open()) loop_.close(done.fd, io::Loop::Ending::abort);
      if (!is_cancelled_) return try_next("no answer in time");
      phase_ = Phase::idle;
      return;
    }
    if (done.failed()) {
      was_refused_ |= done.result == -ECONNREFUSED;
      return try_next(Error::from_errno(-done.result, "connect").text());
    }
    const std::string& host = places_[place_].url.host;
    auto context = TlsContext::create({.role = transport::TlsRole::client,
                                       .ca_pem = token_.ca,
                                       .minimum_version = transport::TlsVersion::v1_3,
                                       .key_log = key_log_});
    if (!context) {
      loop_.close(done.fd, io::Loop::Ending::abort);
      return finish(std::move(context).error().at("token " + token_.name()));
    }
    phase_ = Phase::handshaking;
    received_.clear();
    codec::TlsEngineOptions options;
    options.expected_names = {host};
    if (!is_numeric(host)) options.server_name = host;
    transport_.emplace(loop_, done.fd, *context, *this, std::move(options));
    transport_->start();
  }

  void on_transport_open() override {
    phase_ = Phase::asking;
    loop_.timers().arm(deadline_, loop_.now() + kRedeemTimeout);
    const HttpsUrl& url = places_[place_].url;
    const std::string host =
        (url.host.contains(':') ? "[" + url.host + "]" : url.host) + ":" + std::to_string(url.port);
    const std::string text = write_request(
        host, url.path, {{"name", token_.name()}, {"subject", site_id_}}, token_.code);
    transport_->send(io::Chain::copy_of(text));
  }

  void on_transport_data(io::Chain&& bytes) override {
    if (phase_ != Phase::asking) return;
    received_ += bytes.to_string();
    on_input(InputEnd::open);
  }
  void on_transport_end() override {
    if (phase_ == Phase::asking) return on_input(InputEnd::ended);
    if (phase_ == Phase::handshaking) close_transport(Error::reset("the server ended it"));
  }
  void on_transport_drained(uint64_t) override {}

  void on_input(InputEnd end) {
    auto reply = read_reply(received_, end, kRedeemReplyBytesMax);
    if (reply && !*reply) return;
    if (!reply) result_ = std::move(reply).error().at("redemption failed");
    else if ((*reply)->status != 200) result_ = refusal(**reply);
    else result_ = read_redemption(token_, (*reply)->body);
    close_transport(Error::closed("answered"));
  }

  void close_transport(Error why) {
    if (phase_ == Phase::asking || phase_ == Phase::handshaking) closed_from_ = phase_;
    phase_ = Phase::closing;
    deadline_.unlink();
    transport_->close(io::Loop::Ending::orderly, std::move(why));
  }

  void on_transport_closed(const Error& error) override {
    const Phase from = phase_ == Phase::closing ? closed_from_ : phase_;
    const std::string why = error.text();
    deadline_.unlink();
    transport_.reset();
    if (is_cancelled_) {
      phase_ = Phase::idle;
      return;
    }
    if (result_) return finish(std::move(*result_));
    if (from == Phase::handshaking) return try_next(why);
    // The server may have counted the redemption: only it knows.
    finish(Error(error.error_class(), "redemption failed: " + why +
                                          " before the answer came; if the token is refused "
                                          "now, ask for a new one with `istmo token create`"));
  }

  void on_deadline() {
    if (phase_ == Phase::connecting) {
      is_late_ = true;
      return loop_.cancel(connect_op_);
    }
    close_transport(Error::timeout("no answer in time"));
  }

  // The sink is told later, from the loop: start() may be our caller.
  void finish(Result<Redemption> result) {
    deadline_.unlink();
    result_ = std::move(result);
    phase_ = Phase::done;
    loop_.defer(finish_);
  }
  void on_finished() {
    phase_ = Phase::idle;
    Result<Redemption> result = std::move(*result_);
    result_.reset();
    sink_.on_redeemed(std::move(result));  // may start again or end us
  }

  io::Loop& loop_;
  RedeemSink& sink_;
  Phase phase_ = Phase::idle;
  Phase closed_from_ = Phase::idle;
  bool is_cancelled_ = false;
  bool is_late_ = false;
  AccessTokenDocument token_;
  std::string site_id_;
  const transport::KeyLog* key_log_ = nullptr;
  std::vector<Place> places_;
  size_t place_ = 0;
  std::string errors_;        // of the places tried so far
  bool was_refused_ = false;  // at one of them nobody listens
  std::string received_;
  std::optional<Result<Redemption>> result_;
  std::optional<TlsTransport> transport_;
  io::OpOf<State, &State::on_connected> connect_op_{*this};
  io::TimerOf<State, &State::on_deadline> deadline_{*this};
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
std::vector<std::string> resolve_blocking(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  std::vector<std::string> addresses;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return addresses;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    addresses.push_back(io::Address::from_sockaddr(at->ai_addr, at->ai_addrlen).host());
  }
  freeaddrinfo(found);
  return addresses;
}

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
  while (!sink.result()) loop->run_turn(Duration::milliseconds(200));
  return std::move(*sink.result());
}

}  // namespace istmo::control
