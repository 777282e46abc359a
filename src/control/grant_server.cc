#include "control/grant_server.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "control/document_text.h"
#include "dataplane/transport/tls_transport.h"

namespace istmo::control {

using transport::TlsContext;
using transport::TlsTransport;

namespace {

constexpr Duration kReadingTime = Duration::seconds(2);  // for the client to take the reply
constexpr size_t kSubjectBytesMax = 63;
constexpr const char* kInternalError = "Internal error, see the log of the site\n";

bool is_subject(std::string_view text) {
  return !text.empty() && text.size() <= kSubjectBytesMax && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

std::string field(const RequestHead& head, const std::string& name) {
  const auto found = head.fields.find(name);
  return found == head.fields.end() ? std::string() : found->second;
}

}  // namespace

struct GrantServer::Answer {
  int status = 200;
  std::string text;
  std::string_view content_type = "text/plain; charset=utf-8";
};

// A certificate that its site gets if the claim lasts.
struct GrantServer::Given {
  std::string grant_uid;
  std::string grant_name;
  Claim claim;
  proxy::Credentials credentials;
};

// One client: TLS, one request, one answer. Owned by the server's list, which it leaves when its
// transport has closed. States: reading -> (claiming ->) answered -> closing.
class GrantServer::Connection final : public transport::TransportSink, private PendingClaimSink {
 public:
  Connection(GrantServer& server, io::Fd fd, std::string source)
      : server_(server),
        source_(std::move(source)),
        transport_(server.loop_, fd, *server.context_, *this) {
    server_.loop_.timers().arm(deadline_, server_.loop_.now() + server_.options_.deadline);
    transport_.start();
  }

  const std::string& source() const { return source_; }
  void close(io::Loop::Ending ending, std::string why) {
    if (state_ == State::closing) return;
    if (state_ == State::claiming) claim_->withdraw();
    state_ = State::closing;
    deadline_.unlink();
    transport_.close(ending, Error::closed(std::move(why)));
  }

 private:
  enum class State : uint8_t { reading, claiming, answered, closing };

  void on_transport_open() override { is_open_ = true; }
  void on_transport_drained(uint64_t) override {}

  void on_transport_data(io::Chain&& bytes) override {
    if (state_ != State::reading) return;  // an answered client may still be sending
    auto read = reader_.feed(bytes.to_string());
    if (const auto* bad = std::get_if<BadRequest>(&read)) {
      server_.metrics_.bad_requests.add();
      server_.failures_.on_failure(source_, server_.loop_.now());
      return send_answer({.status = bad->status, .text = bad->text + "\n"});
    }
    if (auto* request = std::get_if<Request>(&read)) {
      auto judged = server_.judge(*request, source_);
      if (auto* given = std::get_if<Given>(&judged)) return claim(std::move(*given));
      send_answer(std::get<Answer>(judged));
    }
  }

  void claim(Given&& given) {
    state_ = State::claiming;
    given_.emplace(std::move(given));
    server_.loop_.timers().arm(deadline_, server_.loop_.now() + server_.options_.claim_deadline);
    PendingClaimSink& sink = *this;
    claim_.emplace(server_.state_, sink, given_->grant_uid, given_->claim, server_.options_.clock);
    claim_->start();  // last: may answer
  }
  void on_claim(ClaimOutcome outcome, const std::string& error) override {
    send_answer(server_.answer_to(*given_, outcome, error, source_));
  }

  void on_transport_end() override { close(io::Loop::Ending::orderly, "the client has ended"); }

  void on_transport_closed(const Error& error) override {
    // Who connects and says nothing looks whether somebody listens, and costs nothing.
    const bool has_begun = transport_.received_at() != Instant{};
    if (!is_open_ && has_begun && !server_.is_ended_) {
      server_.metrics_.handshakes_failed.add();
      server_.failures_.on_failure(source_, server_.loop_.now());
      LOG_DEBUG("grant server: handshake failed", "source", source_, "error", error.text());
    } else if (error.error_class() == ErrorClass::protocol) {
      server_.metrics_.bad_requests.add();
      LOG_DEBUG("grant server: connection failed", "source", source_, "error", error.text());
    }
    if (state_ == State::claiming) claim_->withdraw();
    deadline_.unlink();
    server_.remove(*this);  // ends this object
  }

  void send_answer(const Answer& answer) {
    state_ = State::answered;
    transport_.send(
        io::Chain::copy_of(write_reply(answer.status, answer.content_type, answer.text)));
    transport_.shutdown_send();
    // The client closes. Closing first could reset the connection under the reply, when octets
    // that were not read are left.
    server_.loop_.timers().arm(deadline_, server_.loop_.now() + kReadingTime);
  }

  void on_deadline() {
    if (state_ == State::answered) return close(io::Loop::Ending::orderly, "answered");
    if (state_ == State::claiming) {
      claim_->withdraw();
      return on_claim(ClaimOutcome::refused, "it was not written in time");
    }
    server_.metrics_.timeouts.add();
    close(io::Loop::Ending::abort, "no request came in time");
  }

  GrantServer& server_;
  std::string source_;
  State state_ = State::reading;
  bool is_open_ = false;  // the TLS handshake is done
  RequestReader reader_;
  std::optional<Given> given_;
  std::optional<PendingClaim> claim_;
  TlsTransport transport_;
  io::TimerOf<Connection, &Connection::on_deadline> deadline_{*this};
};

GrantServer::GrantServer(io::Loop& loop, SiteState& state, GrantServerSink& sink,
                         GrantServerOptions options)
    : loop_(loop),
      state_(state),
      sink_(sink),
      options_(std::move(options)),
      failures_(options_.failures),
      dummy_code_(random_code()),
      metrics_(options_.metrics ? *options_.metrics : own_metrics_) {}

GrantServer::~GrantServer() { ASSERT(is_idle()); }

Result<> GrantServer::open(const std::vector<std::string>& hosts, uint16_t first_port,
                           uint32_t ports_tried_max) {
  ASSERT(listening_.empty());
  if (hosts.empty()) {
    if (open({"::"}, first_port, ports_tried_max)) return {};
    return open({"0.0.0.0"}, first_port, ports_tried_max);  // a kernel without IPv6
  }
  const uint32_t tries = std::min<uint32_t>(ports_tried_max, UINT16_MAX - first_port + 1u);
  for (uint32_t i = 0;; ++i) {
    const auto port = static_cast<uint16_t>(first_port == 0 ? 0 : first_port + i);
    auto opened = open_port(hosts, port);
    // An address that is not this machine's stays so at every port.
    if (opened || i + 1 == tries || opened.error().error_class() != ErrorClass::taken) {
      return opened;
    }
  }
}

Result<> GrantServer::open_port(const std::vector<std::string>& hosts, uint16_t port) {
  std::vector<io::Fd> sockets;
  const auto close_all = [&] {
    for (const io::Fd fd : sockets) loop_.close(fd, io::Loop::Ending::orderly);
  };
  for (const std::string& host : hosts) {
    const auto address = io::Address::parse(host, port);
    if (!address) {
      close_all();
      return std::unexpected(address.error());
    }
    // Without reuse_port, so that two sites never share a port by accident.
    auto fd = loop_.listen(*address, {.backlog = 128, .reuse_port = false, .ipv6_only = false});
    if (!fd) {
      close_all();
      return std::move(fd).error().at("grant server");
    }
    sockets.push_back(*fd);
    if (port != 0) continue;
    if (const auto chosen = loop_.local_address(*fd)) port = chosen->port();
  }
  AcceptSink& sink = *this;
  for (const io::Fd fd : sockets) listening_.emplace_back(loop_, sink, fd, "grant server");
  port_ = port;
  return {};
}

Result<> GrantServer::set_certificate(const proxy::Credentials& credentials) {
  auto context =
      TRY(TlsContext::create({.role = transport::TlsRole::server,
                              .certificate_chain_pem = credentials.certificate,
                              .private_key_pem = credentials.private_key,
                              .remote_certificate = transport::RemoteCertificate::unchecked,
                              .minimum_version = transport::TlsVersion::v1_3,
                              .key_log = options_.key_log}));
  context_ = std::make_unique<TlsContext>(std::move(context));
  return {};
}

void GrantServer::set_link_addresses(std::vector<LinkAddress> addresses) {
  link_addresses_ = std::move(addresses);
}

void GrantServer::on_accepted(io::Fd fd) {
  const auto remote = loop_.remote_address(fd);
  const std::string source = remote ? remote->source() : std::string();
  const bool is_limited = !remote || !has_room_for(source) ||
                          failures_.judge(source, loop_.now()) == FailureLimiter::Verdict::dropped;
  if (is_closing_ || !context_ || is_limited) {
    if (is_limited) metrics_.limited.add();
    return loop_.close(fd, io::Loop::Ending::abort);
  }
  ++per_source_[source];
  connections_.emplace_back(*this, fd, source);
}

bool GrantServer::has_room_for(const std::string& source) {
  const auto found = per_source_.find(source);
  return connections_.size() < options_.connections_max &&
         (found == per_source_.end() || found->second < options_.connections_per_source_max);
}

void GrantServer::remove(Connection& connection) {
  const auto count = per_source_.find(connection.source());
  if (--count->second == 0) per_source_.erase(count);
  connections_.remove_if([&](const Connection& other) { return &other == &connection; });
}

std::variant<GrantServer::Answer, GrantServer::Given> GrantServer::judge(
    const Request& request, const std::string& source) {
  if (failures_.judge(source, loop_.now()) != FailureLimiter::Verdict::allowed) {
    metrics_.limited.add();
    failures_.on_failure(source, loop_.now());
    return Answer{.status = 429, .text = "Too many failed attempts, try again in a minute\n"};
  }
  const std::string name = field(request.head, "name");
  const std::string subject = field(request.head, "subject");
  if (!check_object_name(name) || !is_subject(subject) || subject == state_.site_id()) {
    metrics_.bad_requests.add();
    failures_.on_failure(source, loop_.now());
    if (subject == state_.site_id()) {
      return Answer{.status = 400, .text = "A site cannot link to itself\n"};
    }
    return Answer{.status = 400, .text = "Headers name and subject must say who asks\n"};
  }
  const Grant* grant = state_.find_grant(std::string_view(request.head.target).substr(1));
  // Always one comparison of as many octets, so that time does not tell whether a grant exists.
  const std::string& code = grant ? grant->code : dummy_code_;
  const bool is_right = equals_in_constant_time(sha256_hex(code), sha256_hex(request.body));
  // Another process may be making the same grant, with another code.
  if (grant && !state_.is_stored(*grant)) {
    metrics_.failed.add();
    return Answer{.status = 503, .text = "The grant is not written yet, try again\n"};
  }
  if (grant && grant->is_open(options_.clock()) && is_right) {
    if (grant->is_wanted) return give(*grant, name, subject);
    metrics_.failed.add();
    return Answer{.status = 503, .text = "This site cannot read the document of the grant\n"};
  }
  const bool is_there = grant && grant->is_open(options_.clock());
  LOG_WARNING("token refused", "source", source, "site", subject, "reason",
              is_there ? "wrong code" : "no such claim");
  if (!is_there) return no_claim(source);
  metrics_.refused.add();
  failures_.on_failure(source, loop_.now());
  return Answer{.status = 403, .text = "Redemption of access token refused\n"};
}

GrantServer::Answer GrantServer::no_claim(const std::string& source) {
  metrics_.refused.add();
  failures_.on_failure(source, loop_.now());
  return {.status = 404, .text = "No such claim\n"};
}

std::variant<GrantServer::Answer, GrantServer::Given> GrantServer::give(
    const Grant& grant, const std::string& name, const std::string& subject) {
  if (link_addresses_.empty()) {
    metrics_.failed.add();
    return Answer{.status = 503, .text = "This site does not accept links yet\n"};
  }
  const WallTime now = options_.clock();
  const CertificateRequest wanted{.common_name = subject,
                                  .hosts = {},
                                  .site_id = subject,
                                  .use = CertificateUse::client,
                                  .lifetime = kGivenLifetime};
  auto credentials = state_.issue_for(wanted, "grant " + grant.uid, now);
  if (!credentials) {
    metrics_.failed.add();
    LOG_ERROR("grant server: no certificate", "error", credentials.error().text());
    return Answer{.status = 500, .text = kInternalError};
  }
  const auto info = inspect_certificate(credentials->certificate, name);
  return Given{.grant_uid = grant.uid,
               .grant_name = grant.name,
               .claim = {.name = name,
                         .subject = subject,
                         .serial = info ? info->serial : std::string(),
                         .time = now},
               .credentials = std::move(*credentials)};
}

GrantServer::Answer GrantServer::answer_to(const Given& given, ClaimOutcome outcome,
                                           const std::string& error, const std::string& source) {
  switch (outcome) {
    case ClaimOutcome::counted: break;
    case ClaimOutcome::closed:
      LOG_WARNING("token refused", "source", source, "site", given.claim.subject, "reason",
                  "another site was faster");
      return no_claim(source);
    case ClaimOutcome::failed:
      metrics_.failed.add();
      LOG_ERROR("grant server: claim not recorded", "error", error);
      return {.status = 500, .text = kInternalError};
    case ClaimOutcome::refused:
      metrics_.failed.add();
      LOG_WARNING("grant server: claim not recorded", "error", error);
      return {.status = 503, .text = "This site cannot record the redemption now, try again\n"};
  }
  metrics_.redeemed.add();
  LOG_INFO("token redeemed", "grant", given.grant_name, "site", given.claim.subject);
  const auto documents =
      make_link_documents(given.claim.name, given.credentials, link_addresses_, 1);
  if (const Grant* grant = state_.find_grant(given.grant_uid)) sink_.on_grant_redeemed(*grant);
  return {.status = 200,
          .text = write_documents(documents, Format::yaml),
          .content_type = "application/yaml"};
}

void GrantServer::stop_accepting() {
  is_closing_ = true;
  for (AcceptingSocket& socket : listening_) socket.close();
}

void GrantServer::close() {
  stop_accepting();
  is_ended_ = true;
  for (Connection& connection : connections_) {
    connection.close(io::Loop::Ending::abort, "the site stops");
  }
}

bool GrantServer::is_idle() const {
  return connections_.empty() && std::ranges::none_of(listening_, &AcceptingSocket::is_open);
}

}  // namespace istmo::control
