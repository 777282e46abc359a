#include "control/https_channel.h"

#include "scripted_server.h"

using namespace istmo;
using namespace istmo::control;
using namespace istmo::control::test;

namespace {

struct Asker final : HttpsSink {
  explicit Asker(ScriptedServer& its_server, const HttpsLimits& limits = {})
      : server(its_server), channel(*server.loop, *this, limits) {
    trust(server.ca);
  }
  ~Asker() {
    channel.cancel();
    run_until(*server.loop, [&] { return channel.is_closed(); });
  }
  void on_https_line(std::string_view line) override {
    heard.push_back("line " + std::string(line));
    if (line == "stop") channel.cancel();
  }
  void on_https_reply(int status, std::string body) override {
    heard.push_back(std::to_string(status) + " " + body);
  }
  void on_https_failed(HttpsFailure failure, const Error& error) override {
    const bool is_unsent = failure == HttpsFailure::unsent;
    heard.push_back((is_unsent ? "unsent " : "unanswered ") + error.text());
  }

  void trust(const KeyPair& ca) {
    tls.emplace(transport::TlsContext::create({.ca_pem = ca.certificate}).value());
  }
  HttpsPlace place(const std::string& host = "127.0.0.1") const {
    return {.address = io::Address::parse(host, server.port()).value(),
            .host = "127.0.0.1",
            .certificate_name = "127.0.0.1",
            .path = "/prefix"};
  }
  std::string ask(const Request& request, bool is_in_lines = false) {
    return ask_at({place()}, request, is_in_lines);
  }
  std::string ask_at(const std::vector<HttpsPlace>& places, const Request& request,
                     bool is_in_lines = false) {
    const size_t before = heard.size();
    channel.ask(places, *tls, {.request = request, .is_in_lines = is_in_lines});
    run_until(*server.loop, [&] { return channel.is_free(); });
    return heard.size() == before ? "" : heard.back();
  }

  ScriptedServer& server;
  std::optional<transport::TlsContext> tls;
  std::vector<std::string> heard;
  HttpsChannel channel;
};

Request get(const std::string& target) {
  return {.head = {.method = "GET", .target = target, .fields = {}}, .body = {}};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(https_channel)

BOOST_AUTO_TEST_CASE(requests_follow_one_another_on_a_connection_that_is_kept) {
  ScriptedServer server;
  server.script = {{reply("one")}, {reply("no", "404 Not Found")}, {reply("three")}};
  Asker asker(server);
  BOOST_TEST(asker.ask(get("/a?b=c")) == "200 one");
  BOOST_TEST(asker.ask(get("/d")) == "404 no");
  BOOST_TEST(asker.ask({.head = {"POST", "/e", {{"content-type", "a/b"}}}, .body = "{}"}) ==
             "200 three");
  BOOST_TEST(server.connections == 1);
  const std::string host = "host: 127.0.0.1:" + std::to_string(server.port()) + "\r\n";
  BOOST_TEST(server.requests.at(0) == "GET /prefix/a?b=c HTTP/1.1\r\n" + host + "\r\n");
  BOOST_TEST(server.requests.at(2) == "POST /prefix/e HTTP/1.1\r\ncontent-type: a/b\r\n" + host +
                                          "content-length: 2\r\n\r\n{}");
}

BOOST_AUTO_TEST_CASE(a_connection_that_the_server_ended_is_made_again) {
  ScriptedServer server;
  server.script = {{"HTTP/1.1 200 OK\r\n\r\nuntil the end", true},
                   {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", true},
                   {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", true},
                   {"", true},
                   {"HTTP/3 nonsense\r\n\r\n"},
                   {reply("again")}};
  Asker asker(server);
  BOOST_TEST(asker.ask(get("/")) == "200 until the end");
  BOOST_TEST(asker.ask(get("/")) == "200 x");
  BOOST_TEST(asker.ask(get("/")) == "unanswered the reply was cut off");
  BOOST_TEST(asker.ask(get("/")).contains("unanswered"));
  BOOST_TEST(asker.ask(get("/")).contains("unanswered the reply is malformed"));
  BOOST_TEST(asker.ask(get("/")) == "200 again");
  BOOST_TEST(server.connections == 6);
}

BOOST_AUTO_TEST_CASE(none_is_kept_where_none_is_to_be) {
  ScriptedServer server;
  server.otherwise = {reply("x")};
  Asker asker(server, {.kept_time = {}});
  for (int i = 1; i <= 3; ++i) {
    BOOST_TEST(asker.ask(get("/")) == "200 x");
    BOOST_TEST(asker.channel.is_closed());
    BOOST_TEST(server.connections == i);
  }
}

BOOST_AUTO_TEST_CASE(interim_replies_are_passed_over) {
  ScriptedServer server;
  server.script = {{"HTTP/1.1 100 Continue\r\n\r\n" + reply("x")},
                   {"HTTP/1.1 100 Continue\r\n\r\n", true}};
  Asker asker(server);
  BOOST_TEST(asker.ask(get("/")) == "200 x");
  BOOST_TEST(asker.ask(get("/")) == "unanswered the reply was cut off");
}

BOOST_AUTO_TEST_CASE(lines_are_told_until_the_reply_ends_or_is_cancelled) {
  ScriptedServer server;
  server.script = {{kChunkedHead + chunk("one\ntw") + chunk("o\n\n") + chunk("three") +
                    chunk("\n") + "0\r\n\r\n"},
                   {reply("gone", "410 Gone")},
                   {kChunkedHead + chunk("stop\nnot told\n")},
                   {reply("next")}};
  Asker asker(server);
  BOOST_TEST(asker.ask(get("/"), true) == "200 ");
  BOOST_TEST(asker.ask(get("/"), true) == "410 gone");
  BOOST_TEST(asker.ask(get("/"), true) == "line stop");
  BOOST_TEST(asker.ask(get("/")) == "200 next");
  const std::vector<std::string> expected{"line one", "line two",  "line three", "200 ",
                                          "410 gone", "line stop", "200 next"};
  BOOST_TEST(asker.heard == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(lines_and_replies_have_bounds) {
  ScriptedServer server;
  Asker asker(server, {.body_bytes_max = 100'000, .line_bytes_max = 50'000});
  server.script = {{kChunkedHead + chunk(std::string(50'001, 'x'))}};
  BOOST_TEST(asker.ask(get("/"), true).ends_with("is longer than 50000 octets"));
  server.script = {{reply(std::string(100'001, 'x'))}};
  BOOST_TEST(asker.ask(get("/")).ends_with("the reply is longer than 100000 octets"));
  server.script = {{reply(std::string(100'000, 'x'))}};
  BOOST_TEST(asker.ask(get("/")).size() == 100'004u);
}

BOOST_AUTO_TEST_CASE(silence_ends_at_its_time) {
  ScriptedServer server;
  server.script = {{kChunkedHead + chunk("one\n")}};
  Asker asker(server, {.reply_time = Duration::milliseconds(30),
                       .silence_time = Duration::milliseconds(20)});
  BOOST_TEST(asker.ask(get("/"), true) == "unanswered no answer in time");
  BOOST_TEST(asker.heard.front() == "line one");
  BOOST_TEST(asker.ask(get("/")) == "unanswered no answer in time");
}

BOOST_AUTO_TEST_CASE(places_are_tried_in_turn) {
  ScriptedServer server;
  server.otherwise = {reply("x")};
  Asker asker(server, {.kept_time = {}});
  const auto refusing = asker.place("127.0.0.2");  // nobody listens there
  HttpsPlace misnamed = asker.place();
  misnamed.certificate_name = "other.example";
  BOOST_TEST(asker.ask_at({refusing, misnamed, asker.place()}, get("/")) == "200 x");
  const std::string nowhere = asker.ask_at({refusing, misnamed}, get("/"));
  BOOST_TEST(nowhere.starts_with("unsent 127.0.0.2:"), nowhere);
  BOOST_TEST(nowhere.contains("connect: Connection refused; 127.0.0.1:"), nowhere);
  BOOST_TEST(asker.ask_at({}, get("/")) == "unsent ");
  asker.trust(make_ca("other", wall_now()).value());
  BOOST_TEST(asker.ask(get("/")).contains("certificate"));
  BOOST_TEST(server.requests.size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
