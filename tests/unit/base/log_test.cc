#include "base/log.h"

#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <string>

#include "base/log_limiter.h"

using namespace istmo;

namespace {

// What `write` puts on stderr.
template <class Write>
std::string written_by(Write&& write) {
  int ends[2];
  BOOST_REQUIRE(pipe(ends) == 0);
  const int saved = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  write();
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(ends[1]);
  std::string text(4096, '\0');
  const ssize_t size = read(ends[0], text.data(), text.size());
  close(ends[0]);
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return text;
}

bool ends_with(const std::string& text, std::string_view end) {
  BOOST_TEST_MESSAGE(text);
  return text.ends_with(end);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(log_lines)

BOOST_AUTO_TEST_CASE(line_has_time_level_text_and_pairs) {
  const std::string line =
      written_by([] { LOG_INFO("link open", "site", "leste", "connection", 2, "dialed", true); });
  BOOST_TEST(ends_with(line, "Z info link open site=leste connection=2 dialed=true\n"));
  BOOST_TEST(line.size() > 25U);
  BOOST_TEST(line[4] == '-');
  BOOST_TEST(line[10] == 'T');
}

// Or input from outside could forge pairs and lines.
BOOST_AUTO_TEST_CASE(values_with_special_characters_are_quoted) {
  const std::string line = written_by([] {
    LOG_ERROR("odd", "blank", "a b", "quote", "a\"b", "equals", "a=b", "empty", "", "newline",
              std::string("a\nb"), "backslash", "a\\b", "utf8", "é");
  });
  BOOST_TEST(ends_with(line,
                       "error odd blank=\"a b\" quote=\"a\\\"b\" equals=\"a=b\" empty=\"\" "
                       "newline=\"a\\x0ab\" backslash=\"a\\\\b\" utf8=é\n"));
}

BOOST_AUTO_TEST_CASE(levels_below_the_set_one_are_silent) {
  log::set_level(log::Level::warning);
  BOOST_TEST(written_by([] { LOG_INFO("not this"); }) == "");
  BOOST_TEST(ends_with(written_by([] { LOG_WARNING("this"); }), "warning this\n"));
  log::set_level(log::Level::info);
}

BOOST_AUTO_TEST_CASE(limiter_lets_a_few_lines_of_each_window_pass_and_counts_the_rest) {
  LogLimiter limiter;
  Instant now{1'000'000'000};
  const auto count = [&](int calls) {
    uint32_t allowed = 0;
    for (int i = 0; i < calls; ++i) allowed += limiter.allows(now);
    return allowed;
  };
  BOOST_TEST(count(100) == LogLimiter::kLinesMax);
  BOOST_TEST(limiter.take_left_out() == 90u);
  BOOST_TEST(limiter.take_left_out() == 0u);
  now = now + Duration::milliseconds(9'999);
  BOOST_TEST(count(1) == 0u);
  now = now + Duration::milliseconds(1);
  BOOST_TEST(count(1) == 1u);
  BOOST_TEST(limiter.take_left_out() == 1u);
}

BOOST_AUTO_TEST_CASE(level_names_round_trip) {
  using log::Level;
  for (const Level level : {Level::debug, Level::info, Level::warning, Level::error}) {
    BOOST_TEST((log::level_from(log::to_string(level)) == level));
  }
  BOOST_TEST(!log::level_from("loud").has_value());
}

BOOST_AUTO_TEST_SUITE_END()
