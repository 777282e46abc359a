#include "control/news_pace.h"

#include <boost/test/unit_test.hpp>

using namespace istmo;
using control::NewsPace;

namespace {

constexpr Instant kStart{1'000'000'000};
constexpr Duration kMillisecond = Duration::milliseconds(1);

}  // namespace

BOOST_AUTO_TEST_SUITE(news_pace)

BOOST_AUTO_TEST_CASE(the_first_news_is_acted_upon_at_once_and_only_once) {
  NewsPace pace;
  BOOST_TEST(!pace.take(kStart));
  BOOST_TEST(bool(pace.due() == Instant::never()));
  pace.on_news();
  BOOST_TEST(bool(pace.due() <= kStart));
  BOOST_TEST(pace.take(kStart));
  BOOST_TEST(!pace.take(kStart + Duration::seconds(9)));
}

BOOST_AUTO_TEST_CASE(news_that_never_ends_is_acted_upon_twenty_times_a_second) {
  NewsPace pace;
  int acted = 0;
  for (Instant now = kStart; now < kStart + Duration::seconds(1); now = now + kMillisecond) {
    pace.on_news();
    acted += pace.take(now);
    BOOST_TEST(bool(pace.due() == Instant::never() || pace.due() > now));
  }
  BOOST_TEST(acted == 20);
}

BOOST_AUTO_TEST_CASE(what_takes_long_is_done_less_often) {
  NewsPace pace;
  pace.on_news();
  BOOST_TEST(pace.take(kStart));
  const Instant end = kStart + Duration::milliseconds(100);
  pace.on_acted(end, Duration::milliseconds(100));
  pace.on_news();
  BOOST_TEST(!pace.take(end + Duration::milliseconds(399)));
  BOOST_TEST(pace.take(end + Duration::milliseconds(400)));
}

BOOST_AUTO_TEST_SUITE_END()
