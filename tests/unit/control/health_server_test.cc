#include "control/health_server.h"

#include <boost/test/unit_test.hpp>
#include <list>
#include <optional>

#include "dataplane/transport/tcp_transport.h"
#include "grant_world.h"

using namespace istmo;
using namespace istmo::control;
using istmo::control::test::make_test_loop;
using istmo::control::test::run_until;

namespace {

const std::string kGet = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";

// Sends `text` and keeps what comes back.
class Client final : public transport::TransportSink {
 public:
  Client(io::Loop& loop, uint16_t port, std::string text) : loop_(loop), text_(std::move(text)) {
    loop_.connect(connect_, io::Address::parse("127.0.0.1", port).value(), io::SocketOptions{});
  }
  bool is_open() const { return transport_.has_value(); }
  bool is_done() const { return is_done_; }
  const std::string& reply() const { return reply_; }
  int status() const { return reply_.size() < 12 ? 0 : std::stoi(reply_.substr(9, 3)); }
  void end() { transport_->shutdown_send(); }
  void close() { transport_->close(io::Loop::Ending::abort, Error::closed("test")); }

 private:
  void on_connected(io::Completion&& done) {
    BOOST_REQUIRE(!done.failed());
    transport_.emplace(loop_, done.fd, *this);
    transport_->start();
  }
  void on_transport_open() override {
    if (!text_.empty()) transport_->send(io::Chain::copy_of(text_));
  }
  void on_transport_data(io::Chain&& bytes) override { reply_ += bytes.to_string(); }
  void on_transport_end() override { close(); }
  void on_transport_drained(uint64_t) override {}
  void on_transport_closed(const Error&) override {
    transport_.reset();
    is_done_ = true;
  }

  io::Loop& loop_;
  std::string text_;
  std::string reply_;
  bool is_done_ = false;
  std::optional<transport::TcpTransport> transport_;
  io::OpOf<Client, &Client::on_connected> connect_{*this};
};

class Pages final : public HealthSink {
 public:
  explicit Pages(HealthServerOptions options = {}) : server(*loop, *this, options) {
    BOOST_REQUIRE(server.open({.host = "127.0.0.1", .port = 0}).has_value());
  }
  ~Pages() {
    server.close();
    run_until(*loop, [&] { return server.is_idle(); });
    run_until(*loop, [&] { return std::ranges::all_of(clients, &Client::is_done); });
  }
  Client& connect(const std::string& text) {
    return clients.emplace_back(*loop, server.port(), text);
  }
  const Client& ask(const std::string& text) {
    Client& client = connect(text);
    run_until(*loop, [&] { return client.is_done(); });
    return client;
  }

  std::unique_ptr<io::Loop> loop = make_test_loop();
  HealthServer server;
  std::list<Client> clients;
  std::vector<std::string> paths;
  std::vector<HealthRequestId> waiting;
  bool answers_at_once = true;

 private:
  void on_health_request(HealthRequestId id, std::string_view path) override {
    paths.emplace_back(path);
    waiting.push_back(id);
    if (answers_at_once) server.answer(id, {.text = "fine\n"});
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(health_server)

BOOST_AUTO_TEST_CASE(a_get_is_answered_with_the_page_and_a_head_without_it) {
  Pages pages;
  const Client& got = pages.ask(kGet);
  BOOST_TEST(got.status() == 200);
  BOOST_TEST(got.reply().ends_with("Content-Length: 5\r\n\r\nfine\n"));
  BOOST_TEST(got.reply().find("Connection: close\r\n") != std::string::npos);
  const Client& head = pages.ask("HEAD /page?q=1 HTTP/1.1\r\nHost: a\r\n\r\n");
  BOOST_TEST(head.reply().ends_with("Content-Length: 5\r\n\r\n"));
  BOOST_TEST((pages.paths == std::vector<std::string>{"/page", "/page"}));
}

BOOST_AUTO_TEST_CASE(what_is_no_plain_question_is_refused_and_nobody_is_asked) {
  Pages pages;
  const Client& post = pages.ask("POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  BOOST_TEST(post.status() == 405);
  BOOST_TEST(post.reply().find("Allow: GET, HEAD\r\n") != std::string::npos);
  BOOST_TEST(pages.ask("GET /page HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").status() ==
             400);
  BOOST_TEST(
      pages.ask("GET /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").status() ==
      400);
  BOOST_TEST(pages.ask(kGet + kGet).status() == 400);
  BOOST_TEST(pages.ask("GET http://a/page HTTP/1.1\r\nHost: a\r\n\r\n").status() == 400);
  BOOST_TEST(pages.ask("\x16\x03\x01 tls?\r\n\r\n").status() == 501);
  BOOST_TEST(pages.ask("GET /" + std::string(9000, 'x') + " HTTP/1.1\r\n").status() == 431);
  BOOST_TEST(pages.paths.empty());
}

BOOST_AUTO_TEST_CASE(who_says_nothing_makes_room_for_who_asks) {
  Pages pages({.connections_max = 3});
  for (int i = 0; i < 3; ++i) pages.connect(i == 0 ? "GET /pa" : "");
  run_until(*pages.loop, [&] { return std::ranges::all_of(pages.clients, &Client::is_open); });
  BOOST_TEST(pages.ask(kGet).status() == 200);
  run_until(*pages.loop, [&] { return pages.clients.front().is_done(); });
  BOOST_TEST(pages.clients.front().reply().empty());
  BOOST_TEST(!std::next(pages.clients.begin())->is_done());
}

BOOST_AUTO_TEST_CASE(who_waits_for_an_answer_keeps_the_place_while_others_say_nothing) {
  Pages pages({.connections_max = 2});
  pages.answers_at_once = false;
  Client& waiting = pages.connect(kGet);
  run_until(*pages.loop, [&] { return !pages.waiting.empty(); });
  for (int i = 0; i < 5; ++i) {
    Client& silent = pages.connect("");
    run_until(*pages.loop, [&] { return silent.is_open(); });
    for (int turn = 0; turn < 5; ++turn) pages.loop->run_turn(Duration{});
  }
  pages.server.answer(pages.waiting.front(), {.text = "late\n"});
  run_until(*pages.loop, [&] { return waiting.is_done(); });
  BOOST_TEST(waiting.reply().ends_with("late\n"));
}

BOOST_AUTO_TEST_CASE(an_answer_that_does_not_come_is_a_503_and_a_request_that_does_not_an_end) {
  Pages pages({.deadline = Duration::milliseconds(500)});
  pages.answers_at_once = false;
  BOOST_TEST(pages.ask(kGet).status() == 503);
  BOOST_TEST(pages.ask("GET /page HTTP/1.1\r\n").status() == 0);
}

BOOST_AUTO_TEST_CASE(who_ends_its_direction_after_asking_gets_the_answer) {
  Pages pages;
  pages.answers_at_once = false;
  Client& client = pages.connect(kGet);
  run_until(*pages.loop, [&] { return !pages.waiting.empty(); });
  client.end();
  for (int turn = 0; turn < 5; ++turn) pages.loop->run_turn(Duration{});
  pages.server.answer(pages.waiting.front(), {.text = "fine\n"});
  run_until(*pages.loop, [&] { return client.is_done(); });
  BOOST_TEST(client.status() == 200);
}

BOOST_AUTO_TEST_CASE(an_answer_for_who_is_gone_is_dropped) {
  Pages pages;
  pages.answers_at_once = false;
  Client& client = pages.connect(kGet);
  run_until(*pages.loop, [&] { return !pages.waiting.empty(); });
  client.close();
  run_until(*pages.loop, [&] { return client.is_done(); });
  for (int turn = 0; turn < 5; ++turn) pages.loop->run_turn(Duration{});
  pages.server.answer(pages.waiting.front(), {.text = "fine\n"});
  pages.answers_at_once = true;
  BOOST_TEST(pages.ask(kGet).status() == 200);
}

BOOST_AUTO_TEST_CASE(a_large_page_arrives_whole) {
  Pages pages;
  pages.answers_at_once = false;
  Client& client = pages.connect(kGet);
  run_until(*pages.loop, [&] { return !pages.waiting.empty(); });
  const std::string page(3'000'000, 'x');
  pages.server.answer(pages.waiting.front(), {.text = page});
  run_until(*pages.loop, [&] { return client.is_done(); });
  BOOST_TEST(client.reply().ends_with(page));
}

BOOST_AUTO_TEST_CASE(addresses_are_a_port_or_a_numeric_host_and_a_port) {
  BOOST_TEST(HealthAddress::parse(":9901")->host.empty());
  BOOST_TEST(HealthAddress::parse(":9901")->port == 9901);
  BOOST_TEST(HealthAddress::parse("127.0.0.1:80")->host == "127.0.0.1");
  BOOST_TEST(HealthAddress::parse("[::1]:80")->host == "::1");
  for (const char* text : {"", ":", ":x", ":70000", "9901", "localhost:1", "127.0.0.1", ":1x"}) {
    BOOST_TEST(!HealthAddress::parse(text).has_value(), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()
