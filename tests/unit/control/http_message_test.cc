#include "control/http_message.h"

#include <boost/test/unit_test.hpp>

#include "control/failure_limiter.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string kRequest =
    write_request("west:9090", "/uid", {{"name", "t"}, {"subject", "s"}}, "code");

int status_of(std::string_view text) {
  const auto read = read_request(text);
  if (const auto* bad = std::get_if<BadRequest>(&read)) return bad->status;
  return std::holds_alternative<NeedMore>(read) ? 0 : 200;
}

std::string post(const std::string& fields, const std::string& body = "") {
  return "POST /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(http_message)

BOOST_AUTO_TEST_CASE(request_is_read_at_its_last_octet_and_not_before) {
  for (size_t i = 0; i < kRequest.size(); ++i) BOOST_TEST(status_of(kRequest.substr(0, i)) == 0);
  const auto request = std::get<Request>(read_request(kRequest));
  BOOST_TEST(request.head.target == "/uid");
  BOOST_TEST(request.head.fields.at("subject") == "s");
  BOOST_TEST(request.body == "code");
}

BOOST_AUTO_TEST_CASE(requests_that_are_unusual_are_refused) {
  BOOST_TEST(status_of("GET /x HTTP/1.1\r\nHost: a\r\n\r\n") == 405);
  BOOST_TEST(status_of("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n") == 405);
  BOOST_TEST(status_of(post("")) == 411);
  BOOST_TEST(status_of(post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")) == 411);
  BOOST_TEST(status_of(post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")) == 400);
  BOOST_TEST(status_of(post("Content-Length: 1025\r\n")) == 413);
  BOOST_TEST(status_of(post("Content-Length: 99999999999999999999999\r\n")) == 400);
  BOOST_TEST(status_of(post("Content-Length: -1\r\n")) == 400);
  BOOST_TEST(status_of(post("Content-Length: +1\r\n")) == 400);
  BOOST_TEST(status_of(post("Content-Length: 1\r\nContent-Length: 1\r\n", "x")) == 400);
  BOOST_TEST(status_of(post("Content-Length: 1\r\n", "xy")) == 400);
  BOOST_TEST(status_of(post("Content-Length : 1\r\n", "x")) == 400);
  BOOST_TEST(status_of(post(" folded: 1\r\n")) == 400);
  BOOST_TEST(status_of("POST /x HTTP/2.0\r\nHost: a\r\n\r\n") == 505);
  BOOST_TEST(status_of("POST x HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
  BOOST_TEST(status_of("POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n") == 400);
  BOOST_TEST(status_of("\r\n\r\n") == 400);
  BOOST_TEST(status_of(std::string(kRequestHeadBytesMax + 1, 'a')) == 431);
  BOOST_TEST(status_of(post("a: " + std::string(kRequestHeadBytesMax, 'b') + "\r\n")) == 431);
}

BOOST_AUTO_TEST_CASE(replies_with_length_chunks_or_until_the_end) {
  const std::string with_length = write_reply(200, "text/plain", "hello");
  for (size_t i = 0; i < with_length.size(); ++i) {
    BOOST_TEST(!read_reply(with_length.substr(0, i), InputEnd::open, 1000)->has_value());
    BOOST_TEST(!read_reply(with_length.substr(0, i), InputEnd::ended, 1000).has_value());
  }
  BOOST_TEST((*read_reply(with_length, InputEnd::open, 1000))->body == "hello");
  const std::string chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
  for (size_t i = 0; i < chunked.size(); ++i) {
    BOOST_TEST(!read_reply(chunked.substr(0, i), InputEnd::open, 1000)->has_value());
  }
  BOOST_TEST((*read_reply(chunked, InputEnd::open, 1000))->body == "hello");
  const std::string until_end = "HTTP/1.0 404 Not Found\r\n\r\nNo such claim";
  BOOST_TEST(!read_reply(until_end, InputEnd::open, 1000)->has_value());
  BOOST_TEST((*read_reply(until_end, InputEnd::ended, 1000))->status == 404);
  const std::string interim = "HTTP/1.1 100 Continue\r\n\r\n";
  BOOST_TEST(!read_reply(interim, InputEnd::open, 1000)->has_value());
  BOOST_TEST(!read_reply(interim, InputEnd::ended, 1000).has_value());
  BOOST_TEST((*read_reply(interim + with_length, InputEnd::open, 1000))->body == "hello");
}

BOOST_AUTO_TEST_CASE(replies_that_are_too_long_or_malformed_are_errors) {
  BOOST_TEST(!read_reply(std::string(1001, 'a'), InputEnd::open, 1000).has_value());
  for (const char* text :
       {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n"}) {
    BOOST_TEST(!read_reply(text, InputEnd::open, 1000).has_value(), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(failure_limiter)

BOOST_AUTO_TEST_CASE(a_source_is_refused_then_dropped_and_forgiven_after_the_window) {
  using Verdict = FailureLimiter::Verdict;
  FailureLimiter limiter({.per_source_max = 2});
  const Instant start{1};
  BOOST_TEST((limiter.judge("a", start) == Verdict::allowed));
  for (int i = 0; i < 2; ++i) limiter.on_failure("a", start);
  BOOST_TEST((limiter.judge("a", start) == Verdict::refused));
  BOOST_TEST((limiter.judge("b", start) == Verdict::allowed));
  for (int i = 0; i < 2; ++i) limiter.on_failure("a", start);
  BOOST_TEST((limiter.judge("a", start) == Verdict::dropped));
  BOOST_TEST((limiter.judge("a", start + Duration::seconds(60)) == Verdict::allowed));
}

BOOST_AUTO_TEST_CASE(many_sources_together_leave_one_failure_each) {
  using Verdict = FailureLimiter::Verdict;
  FailureLimiter limiter({.total_max = 3, .sources_max = 2});
  const Instant now{1};
  for (const char* source : {"a", "b", "c"}) limiter.on_failure(source, now);
  BOOST_TEST((limiter.judge("c", now) == Verdict::refused));
  BOOST_TEST((limiter.judge("new", now) == Verdict::allowed));
}

BOOST_AUTO_TEST_SUITE_END()
