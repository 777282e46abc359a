#include "dataplane/io/cores.h"

#include <boost/test/unit_test.hpp>

using namespace istmo::io;

BOOST_AUTO_TEST_SUITE(cores)

BOOST_AUTO_TEST_CASE(without_a_quota_the_affinity_counts) {
  BOOST_TEST(count_cores({.affinity = 6}) == 6U);
  BOOST_TEST(count_cores({.affinity = 6, .cpu_max = "max 100000\n"}) == 6U);
  BOOST_TEST(count_cores({.affinity = 6, .cfs_quota_us = "-1\n", .cfs_period_us = "100000\n"}) ==
             6U);
}

BOOST_AUTO_TEST_CASE(quota_is_rounded_up_and_never_raises) {
  BOOST_TEST(count_cores({.affinity = 8, .cpu_max = "150000 100000\n"}) == 2U);
  BOOST_TEST(count_cores({.affinity = 8, .cpu_max = "200000 100000"}) == 2U);
  BOOST_TEST(count_cores({.affinity = 8, .cpu_max = "10000 100000"}) == 1U);
  BOOST_TEST(count_cores({.affinity = 2, .cpu_max = "900000 100000"}) == 2U);
  BOOST_TEST(count_cores({.affinity = 8, .cfs_quota_us = "250000", .cfs_period_us = "100000"}) ==
             3U);
}

BOOST_AUTO_TEST_CASE(nonsense_is_no_limit_and_one_is_the_least) {
  for (const char* text : {"", "x", "100000", "100000 0", "-5 100000", "1 x", " "}) {
    BOOST_TEST(count_cores({.affinity = 4, .cpu_max = text}) == 4U);
  }
  BOOST_TEST(count_cores({.affinity = 0}) == 1U);
}

BOOST_AUTO_TEST_CASE(no_site_has_more_workers_than_another_one_believes) {
  BOOST_TEST(count_cores({.affinity = 1000}) == kWorkersMax);
}

BOOST_AUTO_TEST_CASE(this_process_has_at_least_one) { BOOST_TEST(usable_cores() >= 1U); }

BOOST_AUTO_TEST_SUITE_END()
