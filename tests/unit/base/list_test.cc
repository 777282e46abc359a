#include "base/list.h"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <string>

using namespace istmo;

namespace {

struct OtherList {};
struct Item : ListNode<Item>, ListNode<OtherList> {
  explicit Item(char name_in) : name(name_in) {}
  char name;
};
using Items = List<Item>;

bool is_in(Item& item) { return static_cast<ListNode<Item>&>(item).is_linked(); }

std::string names_of(Items& items) {
  std::string names;
  for (Item* item = items.first(); item; item = items.next_of(*item)) names += item->name;
  return names;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(list)

BOOST_AUTO_TEST_CASE(elements_keep_their_order) {
  Item a('a'), b('b'), c('c');
  Items items;
  BOOST_TEST(items.empty());
  BOOST_TEST(items.first() == nullptr);
  items.push_back(b);
  items.push_back(c);
  items.push_front(a);
  BOOST_TEST(names_of(items) == "abc");
  BOOST_TEST(items.count() == 3u);
  BOOST_TEST(items.pop_front().name == 'a');
  BOOST_TEST(!is_in(a));
  BOOST_TEST(names_of(items) == "bc");
}

BOOST_AUTO_TEST_CASE(destroyed_element_leaves_the_list) {
  Item a('a');
  auto b = std::make_unique<Item>('b');
  Items items;
  items.push_back(a);
  items.push_back(*b);
  b.reset();
  BOOST_TEST(names_of(items) == "a");
}

BOOST_AUTO_TEST_CASE(destroyed_list_lets_its_elements_go) {
  Item a('a');
  {
    Items items;
    items.push_back(a);
  }
  BOOST_TEST(!is_in(a));
  Items others;
  others.push_back(a);
  BOOST_TEST(names_of(others) == "a");
}

BOOST_AUTO_TEST_CASE(element_is_in_two_lists_by_two_tags) {
  Item a('a');
  Items items;
  List<Item, OtherList> others;
  items.push_back(a);
  others.push_back(a);
  BOOST_TEST(&items.front() == &a);
  BOOST_TEST(&others.front() == &a);
  others.pop_front();
  BOOST_TEST(names_of(items) == "a");
}

BOOST_AUTO_TEST_CASE(splice_moves_everything_to_the_end) {
  Item a('a'), b('b'), c('c');
  Items to, from;
  to.push_back(a);
  from.push_back(b);
  from.push_back(c);
  to.splice_back(from);
  BOOST_TEST(from.empty());
  BOOST_TEST(names_of(to) == "abc");
}

BOOST_AUTO_TEST_CASE(walk_survives_unlinking) {
  Item a('a'), b('b'), c('c');
  Items items;
  for (Item* item : {&a, &b, &c}) items.push_back(*item);
  for (Item* item = items.first(); item;) {
    Item* next = items.next_of(*item);
    if (item->name == 'b') static_cast<ListNode<Item>&>(*item).unlink();
    item = next;
  }
  BOOST_TEST(names_of(items) == "ac");
}

BOOST_AUTO_TEST_SUITE_END()
