#include "base/slab.h"

#include <boost/test/unit_test.hpp>

#include <utility>
#include <vector>

#include "base/rng.h"

using namespace istmo;

namespace {

struct Item {
  explicit Item(int number_in, int* alive_in = nullptr) : number(number_in), alive(alive_in) {
    if (alive) ++*alive;
  }
  ~Item() {
    if (alive) --*alive;
  }
  int number;
  int* alive;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(slab)

BOOST_AUTO_TEST_CASE(handle_of_an_erased_object_finds_nothing) {
  Slab<Item> slab;
  Item& first = slab.emplace(1);
  const Handle<Item> handle = slab.handle_of(first);
  BOOST_TEST(slab.get(handle) == &first);
  slab.erase(first);
  BOOST_TEST(slab.get(handle) == nullptr);
  Item& second = slab.emplace(2);
  BOOST_TEST(&second == &first);  // the place is used again, under another generation
  BOOST_TEST(slab.get(handle) == nullptr);
  BOOST_TEST(slab.get(slab.handle_of(second)) == &second);
}

BOOST_AUTO_TEST_CASE(empty_handle_finds_nothing) {
  Slab<Item> slab;
  BOOST_TEST(!Handle<Item>{});
  BOOST_TEST(slab.get({}) == nullptr);
  BOOST_TEST(slab.get({.slot = 1'000'000, .generation = 1}) == nullptr);
}

BOOST_AUTO_TEST_CASE(every_object_is_destroyed_once) {
  int alive = 0;
  {
    Slab<Item, 4> slab;
    std::vector<Item*> items;
    for (int i = 0; i < 10; ++i) items.push_back(&slab.emplace(i, &alive));
    slab.erase(*items[3]);
    BOOST_TEST(alive == 9);
    BOOST_TEST(slab.size() == 9U);
  }
  BOOST_TEST(alive == 0);
}

BOOST_AUTO_TEST_CASE(visitor_may_erase_what_it_visits) {
  Slab<Item, 4> slab;
  for (int i = 0; i < 20; ++i) slab.emplace(i);
  slab.for_each([&](Item& item) {
    if (item.number % 2 == 0) slab.erase(item);
  });
  int sum = 0;
  slab.for_each([&](Item& item) { sum += item.number; });
  BOOST_TEST(sum == 100);
  slab.clear();
  BOOST_TEST(slab.empty());
}

BOOST_AUTO_TEST_CASE(objects_keep_their_address_and_handles_stay_true) {
  Rng rng(1);
  Slab<Item, 8> slab;
  struct Known {
    Item* item;
    int number;
    bool is_live;
  };
  std::vector<std::pair<Handle<Item>, Known>> known;
  for (int step = 0; step < 3000; ++step) {
    if (known.empty() || rng.chance(550'000)) {
      Item& item = slab.emplace(step);
      known.push_back({slab.handle_of(item), {&item, step, true}});
    } else {
      auto& [handle, one] = known[rng.below(known.size())];
      if (one.is_live) slab.erase(*one.item);
      one.is_live = false;
    }
    const auto& [handle, one] = known[rng.below(known.size())];
    BOOST_REQUIRE(slab.get(handle) == (one.is_live ? one.item : nullptr));
    if (one.is_live) BOOST_REQUIRE(one.item->number == one.number);
  }
}

BOOST_AUTO_TEST_SUITE_END()
