#include "base/backoff.h"

#include <boost/test/unit_test.hpp>
#include <vector>

using namespace istmo;

BOOST_AUTO_TEST_SUITE(backoff)

BOOST_AUTO_TEST_CASE(pauses_double_up_to_the_longest_and_begin_again) {
  Backoff backoff(Duration::milliseconds(10), Duration::milliseconds(100));
  std::vector<int64_t> pauses;
  for (int i = 0; i < 6; ++i) pauses.push_back(backoff.next().to_milliseconds());
  BOOST_TEST(pauses == (std::vector<int64_t>{10, 20, 40, 80, 100, 100}),
             boost::test_tools::per_element());
  backoff.reset();
  BOOST_TEST(backoff.next().to_milliseconds() == 10);
}

BOOST_AUTO_TEST_CASE(chance_leaves_half_at_least) {
  Rng rng(1);
  int64_t shortest = INT64_MAX;
  int64_t longest = 0;
  for (int i = 0; i < 10'000; ++i) {
    const int64_t pause = by_chance({.ns = 1000}, rng).ns;
    shortest = std::min(shortest, pause);
    longest = std::max(longest, pause);
  }
  BOOST_TEST(shortest == 500);
  BOOST_TEST(longest == 1000);
}

BOOST_AUTO_TEST_SUITE_END()
