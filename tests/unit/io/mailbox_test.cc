#include "dataplane/io/mailbox.h"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <thread>
#include <vector>

using namespace istmo::io;

BOOST_AUTO_TEST_SUITE(mailbox)

BOOST_AUTO_TEST_CASE(letters_arrive_in_order_and_only_as_many_as_asked) {
  Mailbox mailbox;
  std::vector<int> arrived;
  BOOST_TEST(mailbox.is_empty());
  for (int i = 0; i < 5; ++i) mailbox.post(make_letter([&arrived, i] { arrived.push_back(i); }));
  BOOST_TEST(!mailbox.is_empty());
  BOOST_TEST(mailbox.deliver(3) == 3U);
  BOOST_TEST(!mailbox.is_empty());
  BOOST_TEST(mailbox.deliver(100) == 2U);
  BOOST_TEST(mailbox.is_empty());
  BOOST_TEST(mailbox.deliver(100) == 0U);
  BOOST_TEST(arrived == (std::vector{0, 1, 2, 3, 4}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(letter_may_post_a_letter) {
  Mailbox mailbox;
  int delivered = 0;
  mailbox.post(make_letter([&] {
    ++delivered;
    mailbox.post(make_letter([&] { ++delivered; }));
  }));
  while (!mailbox.is_empty()) mailbox.deliver(1);
  BOOST_TEST(delivered == 2);
}

BOOST_AUTO_TEST_CASE(undelivered_letters_are_destroyed) {
  const auto watched = std::make_shared<int>(0);
  {
    Mailbox mailbox;
    for (int i = 0; i < 3; ++i) mailbox.post(make_letter([watched] {}));
    BOOST_TEST(watched.use_count() == 4);
  }
  BOOST_TEST(watched.use_count() == 1);
}

BOOST_AUTO_TEST_CASE(many_threads_post_without_loss_and_each_in_order) {
  constexpr int kThreads = 4;
  constexpr int kLetters = 20'000;
  Mailbox mailbox;
  std::vector<int> next(kThreads, 0);
  int out_of_order = 0;
  std::vector<std::thread> senders;
  for (int thread = 0; thread < kThreads; ++thread) {
    senders.emplace_back([&, thread] {
      for (int i = 0; i < kLetters; ++i) {
        mailbox.post(make_letter([&, thread, i] { out_of_order += next[thread]++ != i; }));
      }
    });
  }
  size_t delivered = 0;
  while (delivered < size_t{kThreads} * kLetters) delivered += mailbox.deliver(100);
  for (auto& sender : senders) sender.join();
  BOOST_TEST(out_of_order == 0);
  BOOST_TEST(mailbox.is_empty());
}

BOOST_AUTO_TEST_SUITE_END()
