#include "control/retry_pace.h"

#include <boost/test/unit_test.hpp>
#include <vector>

using namespace istmo;
using control::RetryPace;

namespace {

constexpr Instant kStart{1'000'000'000};

}  // namespace

BOOST_AUTO_TEST_SUITE(retry_pace)

BOOST_AUTO_TEST_CASE(pauses_double_up_to_the_longest) {
  RetryPace pace;
  BOOST_TEST(bool(pace.due() == Instant::never()));
  std::vector<int64_t> pauses;
  Instant now = kStart;
  for (int i = 0; i < 6; ++i) {
    pace.on_failed(now);
    pauses.push_back((pace.due() - now).to_milliseconds() / 1000);
    now = pace.due();
  }
  BOOST_TEST(pauses == (std::vector<int64_t>{1, 2, 4, 8, 10, 10}),
             boost::test_tools::per_element());
  pace.reset();
  BOOST_TEST(bool(pace.due() == Instant::never()));
  pace.on_failed(now);
  BOOST_TEST(bool(pace.due() == now + RetryPace::kFirst));
}

BOOST_AUTO_TEST_CASE(a_try_between_does_not_put_the_next_one_off) {
  RetryPace pace;
  pace.on_failed(kStart);
  const Instant due = pace.due();
  for (int i = 0; i < 100; ++i) pace.on_failed(kStart + Duration::milliseconds(i));
  BOOST_TEST(bool(pace.due() == due));
}

BOOST_AUTO_TEST_SUITE_END()
