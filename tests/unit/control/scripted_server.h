// A server that says over HTTPS what a test tells it to.
#pragma once

#include <boost/test/unit_test.hpp>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "control/pki.h"
#include "dataplane/transport/tls_transport.h"
#include "grant_world.h"

namespace istmo::control::test {

// One connection at a time, at 127.0.0.1, with a certificate of `ca`.
class ScriptedServer : public transport::TransportSink {
 public:
  struct Reply {
    std::string text;
    bool is_last = false;  // then it ends the connection; without a text: with a reset
  };

  ScriptedServer() {
    const auto pair = issue_certificate(
        ca, {.common_name = "s", .hosts = {"127.0.0.1"}, .use = CertificateUse::server},
        wall_now());
    context_.emplace(transport::TlsContext::create(
                         {.role = transport::TlsRole::server,
                          .certificate_chain_pem = pair->certificate,
                          .private_key_pem = pair->private_key,
                          .remote_certificate = transport::RemoteCertificate::unchecked,
                          .alpn = {"http/1.1"}})
                         .value());
    listener_ = loop->listen(io::Address::parse("127.0.0.1", 0).value(), {}).value();
    loop->accept(accept_, listener_, io::SocketOptions{});
  }
  virtual ~ScriptedServer() {
    loop->cancel(accept_);
    while (!accept_.is_idle() || transport_) loop->run_turn(Duration::milliseconds(10));
    loop->close(listener_, io::Loop::Ending::orderly);
  }

  uint16_t port() const { return loop->local_address(listener_)->port(); }
  // Octets without a request: an event of a watch.
  void say(const std::string& text) {
    BOOST_REQUIRE(transport_.has_value());
    transport_->send(io::Chain::copy_of(text));
  }
  void cut() { transport_->close(io::Loop::Ending::abort, Error::closed("cut")); }

  std::unique_ptr<io::Loop> loop = make_test_loop();
  KeyPair ca = make_ca("ca", wall_now()).value();
  std::deque<Reply> script;        // a reply for each request
  std::optional<Reply> otherwise;  // for those behind them
  std::vector<std::string> requests;
  int connections = 0;

 private:
  void on_accepted(io::Completion&& done) {
    if (!done.fd.is_open()) return;
    waiting_.push_back(done.fd);
    if (!transport_) serve_next();
  }
  void serve_next() {
    ++connections;
    transport_.emplace(*loop, waiting_.front(), *context_, *this);
    waiting_.pop_front();
    transport_->start();
  }
  void on_transport_open() override {}
  void on_transport_data(io::Chain&& bytes) override {
    received_ += bytes.to_string();
    const size_t end = received_.find("\r\n\r\n");
    if (end == std::string::npos) return;
    requests.push_back(std::exchange(received_, {}));
    if (script.empty() && !otherwise) return;
    const Reply reply = script.empty() ? *otherwise : script.front();
    if (!script.empty()) script.pop_front();
    if (reply.text.empty()) return cut();
    transport_->send(io::Chain::copy_of(reply.text));
    if (reply.is_last) transport_->shutdown_send();
  }
  void on_transport_end() override {
    transport_->close(io::Loop::Ending::orderly, Error::closed("end"));
  }
  void on_transport_drained(uint64_t) override {}
  void on_transport_closed(const Error&) override {
    transport_.reset();
    if (!waiting_.empty()) serve_next();
  }

  std::string received_;
  std::deque<io::Fd> waiting_;
  io::Fd listener_;
  std::optional<transport::TlsContext> context_;
  std::optional<transport::TlsTransport> transport_;
  io::OpOf<ScriptedServer, &ScriptedServer::on_accepted> accept_{*this};
};

inline std::string reply(const std::string& body, const std::string& status = "200 OK") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

inline const std::string kChunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

inline std::string chunk(const std::string& text) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx", text.size());
  return std::string(size) + "\r\n" + text + "\r\n";
}

}  // namespace istmo::control::test
