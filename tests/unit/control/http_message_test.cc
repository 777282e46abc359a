#include "control/http_message.h"

#include <initializer_list>

#include <boost/test/unit_test.hpp>

#include "control/failure_limiter.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string kRequest = write_request(
    {.head = {"POST", "/uid", {{"host", "west:9090"}, {"subject", "s"}}}, .body = "code"});

// Of the verdict on what comes in these pieces; 0: there is none.
int status_of(std::initializer_list<std::string_view> pieces) {
  RequestReader reader;
  for (const std::string_view piece : pieces) {
    const auto read = reader.feed(piece);
    if (const auto* bad = std::get_if<BadRequest>(&read)) return bad->status;
    if (std::holds_alternative<Request>(read)) return 200;
  }
  return 0;
}
int status_of(std::string_view text) {
  const int status = status_of({text});
  for (size_t cut = 1; cut < std::min<size_t>(text.size(), 200); ++cut) {
    const int other = status_of({text.substr(0, cut), text.substr(cut)});
    // What follows a request is looked at only if it came with it.
    BOOST_TEST_REQUIRE((other == status || (status == 400 && other == 200)), text);
  }
  return status;
}

std::string post(const std::string& fields, const std::string& body = "") {
  return "POST /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(http_message)

BOOST_AUTO_TEST_CASE(request_is_read_at_its_last_octet_and_not_before) {
  RequestReader reader;
  for (size_t i = 0; i + 1 < kRequest.size(); ++i) {
    BOOST_TEST(std::holds_alternative<NeedMore>(reader.feed(kRequest.substr(i, 1))));
  }
  const auto request = std::get<Request>(reader.feed(kRequest.substr(kRequest.size() - 1)));
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
