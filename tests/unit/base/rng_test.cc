#include "base/rng.h"

#include <boost/test/unit_test.hpp>

#include <array>

using namespace istmo;

BOOST_AUTO_TEST_SUITE(rng)

BOOST_AUTO_TEST_CASE(seed_decides_the_sequence) {
  Rng one(42), same(42), other(43);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t number = one.next();
    BOOST_TEST(number == same.next());
    differs = differs || number != other.next();
  }
  BOOST_TEST(differs);
}

BOOST_AUTO_TEST_CASE(below_stays_below_and_spreads) {
  Rng rng(1);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70'000; ++i) {
    const uint64_t number = rng.below(7);
    BOOST_REQUIRE(number < 7);
    ++counts[number];
  }
  for (const int count : counts) BOOST_TEST((count > 9'000 && count < 11'000));
  BOOST_TEST(rng.below(1) == 0U);
}

BOOST_AUTO_TEST_CASE(between_reaches_both_ends) {
  Rng rng(2);
  bool has_low = false, has_high = false;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t number = rng.between(5, 8);
    BOOST_REQUIRE((number >= 5 && number <= 8));
    has_low = has_low || number == 5;
    has_high = has_high || number == 8;
  }
  BOOST_TEST((has_low && has_high));
}

BOOST_AUTO_TEST_CASE(chance_is_in_millionths) {
  Rng rng(3);
  int hits = 0;
  for (int i = 0; i < 100'000; ++i) hits += rng.chance(250'000);
  BOOST_TEST((hits > 24'000 && hits < 26'000));
  BOOST_TEST(!rng.chance(0));
  BOOST_TEST(rng.chance(1'000'000));
}

BOOST_AUTO_TEST_SUITE_END()
