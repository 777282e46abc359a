#include "base/metrics.h"

#include <boost/test/unit_test.hpp>

#include <thread>
#include <vector>

using namespace istmo;

BOOST_AUTO_TEST_SUITE(metrics)

BOOST_AUTO_TEST_CASE(counter_counts_from_several_threads) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) counter.add();
    });
  }
  for (auto& thread : threads) thread.join();
  counter.add(5);
  BOOST_TEST(counter.value() == 40'005U);
}

BOOST_AUTO_TEST_CASE(gauge_goes_up_and_down) {
  Gauge gauge;
  gauge.add(5);
  gauge.add(-7);
  BOOST_TEST(gauge.value() == -2);
}

BOOST_AUTO_TEST_CASE(limited_gauge_never_passes_its_limit) {
  Gauge gauge;
  BOOST_TEST(gauge.try_add(10, 10));
  BOOST_TEST(!gauge.try_add(1, 10));
  BOOST_TEST(gauge.value() == 10);
  gauge.add(-10);
  std::vector<std::thread> threads;
  Counter taken;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) taken.add(gauge.try_add(1, 100) ? 1 : 0);
    });
  }
  for (auto& thread : threads) thread.join();
  BOOST_TEST(taken.value() <= 100U);
  BOOST_TEST(gauge.value() == static_cast<int64_t>(taken.value()));
}

BOOST_AUTO_TEST_SUITE_END()
