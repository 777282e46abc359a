// A site with a grant server, and clients, on one real loop. Ports are ephemeral.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/access_documents.h"
#include "control/grant_server.h"
#include "control/redeem.h"
#include "dataplane/transport/tls_transport.h"
#include "site_folder.h"

namespace istmo::control::test {

inline constexpr const char* kRedeemingSite = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

inline std::unique_ptr<io::Loop> make_test_loop() {
  return io::make_loop({.kind = io::LoopKind::epoll}, {.block_count = 32}).value();
}

// Turns until `condition`; a test that waits in vain fails after a long while.
inline void run_until(io::Loop& loop, const std::function<bool()>& condition) {
  const Instant end = monotonic_now() + Duration::seconds(30);
  while (!condition()) {
    BOOST_REQUIRE((monotonic_now() < end));
    loop.run_turn(Duration::milliseconds(10));
  }
}

inline std::string request_to(const std::string& target, const std::string& subject,
                              const std::string& code) {
  return write_request(
      {.head = {"POST", target, {{"host", "west"}, {"name", "t"}, {"subject", subject}}},
       .body = code});
}

// Sends `text` over TLS and keeps what comes back.
class RawClient final : public transport::TransportSink {
 public:
  RawClient(io::Loop& loop, uint16_t port, std::string text) : loop_(loop), text_(std::move(text)) {
    context_.emplace(transport::TlsContext::create(
                         {.role = transport::TlsRole::client,
                          .remote_certificate = transport::RemoteCertificate::unchecked})
                         .value());
    loop_.connect(connect_, io::Address::parse("127.0.0.1", port).value(), io::SocketOptions{});
  }
  bool is_done() const { return is_done_; }
  bool was_opened() const { return was_opened_; }
  void send_more(const std::string& text) { transport_->send(io::Chain::copy_of(text)); }
  const std::string& reply() const { return reply_; }
  int status() const { return reply_.size() < 12 ? 0 : std::stoi(reply_.substr(9, 3)); }

 private:
  void on_connected(io::Completion&& done) {
    if (done.failed()) {  // nobody listens
      is_done_ = true;
      return;
    }
    transport_.emplace(loop_, done.fd, *context_, *this);
    transport_->start();
  }
  void on_transport_open() override {
    was_opened_ = true;
    transport_->send(io::Chain::copy_of(text_));
  }
  void on_transport_data(io::Chain&& bytes) override { reply_ += bytes.to_string(); }
  void on_transport_end() override {
    transport_->close(io::Loop::Ending::orderly, Error::closed("end"));
  }
  void on_transport_drained(uint64_t) override {}
  void on_transport_closed(const Error&) override {
    transport_.reset();
    is_done_ = true;
  }

  io::Loop& loop_;
  std::string text_;
  std::string reply_;
  bool is_done_ = false;
  bool was_opened_ = false;
  std::optional<transport::TlsContext> context_;
  std::optional<transport::TlsTransport> transport_;
  io::OpOf<RawClient, &RawClient::on_connected> connect_{*this};
};

class ResultSink final : public RedeemSink {
 public:
  void on_redeemed(Result<Redemption> result) override { result_ = std::move(result); }
  bool has_result() const { return result_.has_value(); }
  Result<Redemption>& result() { return *result_; }

 private:
  std::optional<Result<Redemption>> result_;
};

class GrantWorld final : public GrantServerSink {
 public:
  explicit GrantWorld(GrantServerOptions options = {}) {
    state.emplace(
        SiteState::open({.runtime = folder.path(), .site_name = "west", .site_id = {}}, now)
            .value());
    options.clock = [this] { return now; };
    server.emplace(*loop, *state, *this, std::move(options));
    BOOST_REQUIRE(server->open({"127.0.0.1"}, 0).has_value());
    const auto credentials = state->server_credentials(kGrantServerSecret, {"127.0.0.1"}, now);
    BOOST_REQUIRE(server->set_certificate(*credentials).has_value());
    server->set_link_addresses({{"192.0.2.1", 55671}, {"2001:db8::1", 55671}});
    grant = state->put_grant({.name = "g", .code = {}}, now).value();
  }
  ~GrantWorld() {
    server->close();
    while (!server->is_idle()) loop->run_turn(Duration::milliseconds(10));
  }

  std::vector<std::string> urls(const std::vector<std::string>& hosts = {"127.0.0.1"}) const {
    std::vector<LinkAddress> places;
    for (const std::string& host : hosts) places.push_back({host, server->port()});
    return grant_urls(places, grant.uid);
  }
  AccessTokenDocument token() const {
    return make_access_token("west-token", grant, urls(), state->ca_certificates(), std::nullopt);
  }
  Result<Redemption> redeem(const AccessTokenDocument& token,
                            const std::string& site = kRedeemingSite) {
    ResultSink sink;
    Redeemer redeemer(*loop, sink);
    redeemer.start(token, site, {}, nullptr);
    run_until(*loop, [&] { return sink.has_result(); });
    return std::move(sink.result());
  }
  std::string redeem_error(const AccessTokenDocument& token) {
    const auto result = redeem(token);
    return result ? "redeemed" : result.error().text();
  }
  // The status of the reply to a raw request; 0: none came.
  int ask(const std::string& text) {
    RawClient client(*loop, server->port(), text);
    run_until(*loop, [&] { return client.is_done(); });
    return client.status();
  }
  std::string request(const std::string& code) const {
    return request_to("/" + grant.uid, kRedeemingSite, code);
  }
  uint32_t redemptions() const { return state->find_grant(grant.uid)->redemptions(); }

  WallTime now = wall_now();
  TemporaryFolder folder;
  std::unique_ptr<io::Loop> loop = make_test_loop();
  std::optional<SiteState> state;
  std::optional<GrantServer> server;
  Grant grant;
  std::vector<std::string> redeemed_grants;

 private:
  void on_grant_redeemed(const Grant& redeemed) override {
    redeemed_grants.push_back(redeemed.name);
  }
};

}  // namespace istmo::control::test
