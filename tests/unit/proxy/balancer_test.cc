#include "dataplane/proxy/balancer.h"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <map>

namespace istmo::proxy {

BOOST_AUTO_TEST_SUITE(balancer)

BOOST_AUTO_TEST_CASE(fewest_open_streams_win) {
  Rng rng(1);
  const std::array candidates{Candidate{3}, Candidate{1}, Candidate{2}};
  BOOST_TEST(pick_fewest_streams(candidates, rng).value() == 1u);
}

BOOST_AUTO_TEST_CASE(unusable_ones_are_never_picked) {
  Rng rng(1);
  const std::array candidates{Candidate{0, false}, Candidate{9}, Candidate{1, false}};
  BOOST_TEST(pick_fewest_streams(candidates, rng).value() == 1u);
  const std::array nobody{Candidate{0, false}};
  BOOST_TEST(!pick_fewest_streams(nobody, rng).has_value());
  BOOST_TEST(!pick_fewest_streams({}, rng).has_value());
}

BOOST_AUTO_TEST_CASE(ties_are_spread_evenly) {
  Rng rng(7);
  const std::array candidates{Candidate{2}, Candidate{2}, Candidate{5}, Candidate{2}};
  std::array<int, 4> picked{};
  for (int i = 0; i < 3000; ++i) ++picked[pick_fewest_streams(candidates, rng).value()];
  BOOST_TEST(picked[2] == 0);
  for (const size_t i : {0u, 1u, 3u}) {
    BOOST_TEST(picked[i] > 850);
    BOOST_TEST(picked[i] < 1150);
  }
}

BOOST_AUTO_TEST_CASE(keys_by_priority_stay_as_they_stand) {
  Rng rng(1);
  const auto order =
      order_keys({.by = KeyChoice::By::priority, .keys = {{"b"}, {"a"}, {"c"}}}, rng);
  BOOST_TEST(order == (std::vector<std::string>{"b", "a", "c"}), boost::test_tools::per_element());
}

// Whichever keys are reachable, those share what comes in proportion to their weights.
BOOST_AUTO_TEST_CASE(keys_by_weight_come_first_in_proportion) {
  Rng rng(5);
  const KeyChoice choice{.by = KeyChoice::By::weight,
                         .keys = {{"one", 1}, {"never", 0}, {"two", 2}, {"five", 5}}};
  std::map<std::string, int> first;
  int one_before_two = 0;
  for (int i = 0; i < 8000; ++i) {
    const auto order = order_keys(choice, rng);
    BOOST_REQUIRE(order.size() == 3u);
    ++first[order.front()];
    one_before_two += std::ranges::find(order, "one") < std::ranges::find(order, "two");
  }
  BOOST_TEST(std::abs(first["one"] - 1000) < 150);
  BOOST_TEST(std::abs(first["two"] - 2000) < 200);
  BOOST_TEST(std::abs(first["five"] - 5000) < 250);
  BOOST_TEST(std::abs(one_before_two - 8000 / 3) < 220);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::proxy
