// Channels and watched collections with a server that says what a test tells it to.
#include "control/kubernetes/api_channel.h"

#include <boost/test/unit_test.hpp>
#include <deque>

#include "../control_fixture.h"
#include "control/kubernetes/watched_collection.h"
#include "control/pki.h"
#include "dataplane/transport/tls_transport.h"

using namespace istmo;
using namespace istmo::control;

namespace {

// An HTTPS server for one connection at a time. Each request takes the next reply of the script.
class ScriptedServer final : public transport::TransportSink {
 public:
  struct Reply {
    std::string text;
    bool is_last = false;  // then it ends the connection
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
  ~ScriptedServer() {
    loop->cancel(accept_);
    while (!accept_.is_idle() || transport_) loop->run_turn(Duration::milliseconds(10));
    loop->close(listener_, io::Loop::Ending::orderly);
  }

  ApiServer access() {
    KubeAccess access;
    access.host = "127.0.0.1";
    access.port = loop->local_address(listener_)->port();
    access.path = "/prefix";
    access.ca_pem = ca.certificate;
    access.token = "secret";
    return ApiServer::create(access).value();
  }
  // Octets without a request: an event of a watch.
  void say(const std::string& text) {
    BOOST_REQUIRE(transport_.has_value());
    transport_->send(io::Chain::copy_of(text));
  }
  void cut() { transport_->close(io::Loop::Ending::abort, Error::closed("cut")); }

  std::unique_ptr<io::Loop> loop = make_test_loop();
  KeyPair ca = make_ca("ca", wall_now()).value();
  std::deque<Reply> script;
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
    if (script.empty()) return;
    const Reply reply = script.front();
    script.pop_front();
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

std::string reply(const std::string& body, const std::string& status = "200 OK") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

const std::string kWatchHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string chunk(const std::string& text) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx", text.size());
  return std::string(size) + "\r\n" + text + "\r\n";
}

struct Asker final : ApiChannelSink {
  explicit Asker(ScriptedServer& its_server)
      : server(its_server), api(server.access()), channel(*server.loop, api, *this) {}
  ~Asker() {
    channel.cancel();
    run_until(*server.loop, [&] { return channel.is_closed(); });
  }
  void on_api_line(std::string_view line) override {
    heard.push_back("line " + std::string(line));
    if (line == "stop") channel.cancel();
  }
  void on_api_reply(int status, std::string body) override {
    heard.push_back(std::to_string(status) + " " + body);
  }
  void on_api_failed(const Error& error) override { heard.push_back("failed " + error.text()); }

  std::string ask(ApiRequest request) {
    const size_t before = heard.size();
    channel.ask(std::move(request));
    run_until(*server.loop, [&] { return channel.is_free(); });
    return heard.size() == before ? "" : heard.back();
  }

  ScriptedServer& server;
  ApiServer api;
  std::vector<std::string> heard;
  ApiChannel channel;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(api_channel)

BOOST_AUTO_TEST_CASE(requests_follow_one_another_on_a_connection_that_is_kept) {
  ScriptedServer server;
  server.script = {{reply("one")}, {reply("no", "404 Not Found")}, {reply("three")}};
  Asker asker(server);
  BOOST_TEST(asker.ask({.target = "/a?b=c"}) == "200 one");
  BOOST_TEST(asker.ask({.target = "/d"}) == "404 no");
  BOOST_TEST(
      asker.ask(
          {.method = "POST", .target = "/e", .content_type = "application/json", .body = "{}"}) ==
      "200 three");
  BOOST_TEST(server.connections == 1);
  const std::string& first = server.requests.at(0);
  BOOST_TEST(first.starts_with("GET /prefix/a?b=c HTTP/1.1\r\nHost: 127.0.0.1:"), first);
  BOOST_TEST(first.contains("\r\nAuthorization: Bearer secret\r\n"), first);
  BOOST_TEST(server.requests.at(2).ends_with("Content-Length: 2\r\n\r\n{}"));
}

BOOST_AUTO_TEST_CASE(a_connection_that_the_server_ended_is_made_again) {
  ScriptedServer server;
  server.script = {{"HTTP/1.1 200 OK\r\n\r\nuntil the end", true},
                   {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", true},
                   {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", true},
                   {"HTTP/3 nonsense\r\n\r\n"},
                   {reply("again")}};
  Asker asker(server);
  BOOST_TEST(asker.ask({.target = "/"}) == "200 until the end");
  BOOST_TEST(asker.ask({.target = "/"}) == "200 x");
  BOOST_TEST(asker.ask({.target = "/"}).contains("failed API server https://127.0.0.1:"));
  BOOST_TEST(asker.ask({.target = "/"}).contains("failed the reply is malformed"));
  BOOST_TEST(asker.ask({.target = "/"}) == "200 again");
  BOOST_TEST(server.connections == 5);
}

BOOST_AUTO_TEST_CASE(a_watch_is_told_in_lines_until_it_ends_or_is_cancelled) {
  ScriptedServer server;
  server.script = {
      {kWatchHead + chunk("one\ntw") + chunk("o\n\n") + chunk("three") + chunk("\n") + "0\r\n\r\n"},
      {reply("gone", "410 Gone")},
      {kWatchHead + chunk("stop\nnot told\n")},
      {reply("next")}};
  Asker asker(server);
  BOOST_TEST(asker.ask({.target = "/", .is_watch = true}) == "200 ");
  BOOST_TEST(asker.ask({.target = "/", .is_watch = true}) == "410 gone");
  BOOST_TEST(asker.ask({.target = "/", .is_watch = true}) == "line stop");
  BOOST_TEST(asker.ask({.target = "/"}) == "200 next");
  const std::vector<std::string> expected{"line one", "line two",  "line three", "200 ",
                                          "410 gone", "line stop", "200 next"};
  BOOST_TEST(asker.heard == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(lines_and_replies_have_bounds) {
  ScriptedServer server;
  const std::string megabytes(ApiChannel::kLineBytesMax + 1, 'x');
  server.script = {{kWatchHead + chunk(megabytes)}};
  Asker asker(server);
  BOOST_TEST(asker.ask({.target = "/", .is_watch = true}).contains("longer than 4 MiB"));
  server.script = {{reply(std::string(ApiChannel::kBodyBytesMax + 1, 'x'))}};
  BOOST_TEST(asker.ask({.target = "/"}).contains("longer than 32 MiB"));
}

BOOST_AUTO_TEST_CASE(nobody_there_and_the_wrong_certificate_are_told) {
  ScriptedServer server;
  Asker asker(server);
  KubeAccess access = asker.api.access();
  access.ca_pem = make_ca("other", wall_now())->certificate;
  asker.api = ApiServer::create(access).value();
  BOOST_TEST(asker.ask({.target = "/"}).contains("certificate"));
  access.host = "api.invalid";
  asker.api = ApiServer::create(access).value();
  BOOST_TEST(asker.ask({.target = "/"}) == "failed host api.invalid is not known");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(watched_collection)

namespace {

struct Keeper final : CollectionSink {
  void on_object(const std::string& key, const Value&) override { keys.insert(key); }
  void on_object_gone(const std::string& key) override { keys.erase(key); }
  void on_synced() override { ++syncs; }
  void on_refused(int, const std::string& text) override { refusal = text; }
  void on_trouble(const std::string& text) override { trouble = text; }
  std::set<std::string> keys;
  int syncs = 0;
  std::string refusal;
  std::string trouble;
};

std::string listed(const std::string& items) {
  return reply(R"({"metadata":{"resourceVersion":"7"},"items":[)" + items + "]}");
}

std::string object(const std::string& name, int version) {
  return R"({"metadata":{"name":")" + name + R"(","resourceVersion":")" + std::to_string(version) +
         R"("}})";
}

}  // namespace

BOOST_AUTO_TEST_CASE(it_follows_the_server_through_events_cuts_and_410) {
  ScriptedServer server;
  server.script = {{listed(object("a", 3))},
                   {kWatchHead + chunk(R"({"type":"ADDED","object":)" + object("b", 8) + "}\n")},
                   {kWatchHead + chunk(R"({"type":"ERROR","object":{"code":410}})"
                                       "\n")},
                   {listed(object("c", 9))},
                   {kWatchHead}};
  Keeper keeper;
  Rng rng(1);
  ApiServer api = server.access();
  WatchedCollection collection(*server.loop, api, {.path = "/c"}, keeper, rng);
  collection.start();
  run_until(*server.loop, [&] { return keeper.keys == std::set<std::string>{"a", "b"}; });
  server.cut();  // it backs off, watches again from 8, and hears 410
  run_until(*server.loop, [&] { return keeper.keys == std::set<std::string>{"c"}; });
  run_until(*server.loop, [&] { return server.requests.size() == 5; });
  BOOST_TEST(server.requests.at(2).contains("resourceVersion=8&"));
  BOOST_TEST(server.requests.at(4).contains("resourceVersion=7&"));
  BOOST_TEST(keeper.syncs == 2);
  BOOST_TEST(!keeper.trouble.empty());
  collection.stop();
  run_until(*server.loop, [&] { return collection.is_idle(); });
}

BOOST_AUTO_TEST_CASE(what_the_server_refuses_is_told_with_its_words) {
  ScriptedServer server;
  server.script = {{reply(R"({"kind":"Status","message":"no right"})", "403 Forbidden")}};
  Keeper keeper;
  Rng rng(1);
  ApiServer api = server.access();
  WatchedCollection collection(*server.loop, api, {.path = "/c"}, keeper, rng);
  collection.start();
  run_until(*server.loop, [&] { return !keeper.refusal.empty(); });
  BOOST_TEST(keeper.refusal == "no right");
  BOOST_TEST(!collection.is_synced());
  collection.stop();
  run_until(*server.loop, [&] { return collection.is_idle(); });
}

BOOST_AUTO_TEST_SUITE_END()
