#include "dataplane/proxy/balancer.h"

#include <array>
#include <boost/test/unit_test.hpp>

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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::proxy
