#include "dataplane/codec/http1_parser.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

using namespace istmo::codec;
using Role = Http1Parser::Role;

namespace {

// Writes down what it is told.
struct Recorder final : Http1Sink {
  void on_http_head(Http1Head&& head) override {
    log += head.method.empty() ? std::to_string(head.status) : head.method + " " + head.target;
    for (const auto& field : head.fields) log += " [" + field.name + "=" + field.value + "]";
    log += "\n";
  }
  void on_http_body(std::string_view octets) override { body.append(octets); }
  void on_http_end(std::vector<Http1Field>&& trailers) override {
    log += "body " + std::exchange(body, {});
    for (const auto& field : trailers) log += " [" + field.name + "=" + field.value + "]";
    log += "\n";
  }
  std::string log;
  std::string body;
};

struct Outcome {
  std::string log;
  int status = 0;  // of the error; 0: none
};

// Fed in two parts; messages that follow one another too.
Outcome parse(Role role, std::string_view text, size_t cut, const Http1Limits& limits = {}) {
  Recorder recorder;
  Http1Parser parser(role, recorder, limits);
  for (std::string_view part : {text.substr(0, cut), text.substr(cut)}) {
    while (!part.empty()) {
      const auto used = parser.feed(part);
      if (!used) return {recorder.log, used.error().status};
      BOOST_TEST_REQUIRE(*used > 0u);
      part.remove_prefix(*used);
    }
  }
  if (const auto ended = parser.end(); !ended) return {recorder.log, ended.error().status};
  return {recorder.log, 0};
}

void check_at_every_cut(Role role, const std::string& text, const std::string& log) {
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const auto outcome = parse(role, text, cut);
    BOOST_TEST_REQUIRE(outcome.log == log, "cut at " << cut);
    BOOST_TEST_REQUIRE(outcome.status == 0, "cut at " << cut);
  }
}

struct Attack {
  const char* name;
  const char* text;
  int status;
};
std::ostream& operator<<(std::ostream& out, const Attack& attack) { return out << attack.name; }

constexpr Attack kAttacks[] = {
    {"empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"bare line feed", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
    {"bare carriage return", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},
    {"folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400},
    {"folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400},
    {"no field name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400},
    {"blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
    {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
    {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400},
    {"zero octet in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400},
    {"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"HTTP/0.9", "GET /\r\n\r\n", 505},
    {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
    {"unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    {"length and coding",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"coding and length",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
    {"coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
     501},
    {"coding that is not last",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n", 400},
    {"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
     400},
    {"list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400},
    {"signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
    {"length beyond 64 bits",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", 400},
    {"no chunk length",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\nab\r\n", 400},
    {"chunk that goes on",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400},
    {"chunk line with a bare line feed",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400},
    {"last chunk with a bare line feed",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", 400},
    {"cut off in the head", "GET / HTTP/1.1\r\nHost: a\r\n", 400},
    {"cut off in the body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", 400},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(http1_parser)

BOOST_AUTO_TEST_CASE(requests_that_follow_one_another_are_read_at_every_cut) {
  check_at_every_cut(Role::request,
                     "GET /a?b HTTP/1.1\r\nHost: x\r\nX-Y: 1 2\r\nx-y:\r\n\r\n"
                     "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                     "POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3;e=f\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\n"
                     "GET /e HTTP/1.1\r\nHost: x\r\n\r\n",
                     "GET /a?b [Host=x] [X-Y=1 2] [x-y=]\nbody \n"
                     "POST /c [Host=x] [Content-Length=3]\nbody abc\n"
                     "POST /d [Host=x] [Transfer-Encoding=chunked]\nbody abcd [T=u]\n"
                     "GET /e [Host=x]\nbody \n");
}

BOOST_AUTO_TEST_CASE(replies_are_read_at_every_cut) {
  check_at_every_cut(Role::reply,
                     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
                     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
                     "HTTP/1.1 404 Not Found\r\n\r\nuntil the end",
                     "100\nbody \n204\nbody \n200 [Content-Length=2]\nbody ab\n"
                     "404\nbody until the end\n");
}

BOOST_DATA_TEST_CASE(what_is_unusual_is_refused_at_every_cut,
                     boost::unit_test::data::make(kAttacks), attack) {
  const std::string text = attack.text;
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    BOOST_TEST_REQUIRE(parse(Role::request, text, cut).status == attack.status, "cut at " << cut);
  }
}

BOOST_AUTO_TEST_CASE(replies_with_another_version_or_status_are_refused) {
  for (const char* text :
       {"HTTP/2 200\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "ICY 200 OK\r\n\r\n"}) {
    BOOST_TEST(parse(Role::reply, text, 0).status != 0, text);
  }
}

BOOST_AUTO_TEST_CASE(heads_fields_and_trailers_have_bounds) {
  const Http1Limits limits{.head_bytes_max = 200, .fields_max = 4};
  const auto status_of = [&](const std::string& text) {
    return parse(Role::request, text, text.size() / 2, limits).status;
  };
  const std::string begin = "GET / HTTP/1.1\r\nHost: a\r\n";
  BOOST_TEST(status_of(begin + "a: " + std::string(166, 'x') + "\r\n\r\n") == 0);
  BOOST_TEST(status_of(begin + "a: " + std::string(200, 'x') + "\r\n\r\n") == 431);
  BOOST_TEST(status_of(std::string(201, 'G')) == 431);
  BOOST_TEST(status_of(begin + "a: 1\r\nb: 2\r\nc: 3\r\n\r\n") == 0);
  BOOST_TEST(status_of(begin + "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n") == 431);
  const std::string chunked =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  BOOST_TEST(status_of(chunked + "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n") == 0);
  BOOST_TEST(status_of(chunked + "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\n\r\n") == 431);
  BOOST_TEST(status_of(chunked + "a: " + std::string(200, 'x') + "\r\n\r\n") == 431);
}

BOOST_AUTO_TEST_CASE(octets_around_chunks_have_a_bound) {
  std::string text = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 1000; ++i) text += "1\r\na\r\n";
  BOOST_TEST(parse(Role::request, text + "0\r\n\r\n", 1000).status == 0);
  BOOST_TEST(parse(Role::request, text + std::string(60'000, '0') + "\r\n\r\n", 1000).status ==
             400);
  BOOST_TEST(
      parse(Role::request, text + "1;" + std::string(60'000, 'x') + "\r\na\r\n", 1000).status ==
      400);
}

BOOST_AUTO_TEST_SUITE_END()
