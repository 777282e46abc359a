// The cases of loop_suite.h about resets: they are seen, whatever else waits on the socket.
#include <boost/test/unit_test.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "loop_suite.h"

namespace istmo::io::suite {
namespace {

// Room for a megabyte in both directions, as far as the system lets us.
void enlarge_buffers(Loop& loop, Fd fd) {
  if (loop.kind() == LoopKind::sim) return;
  const int bytes = 4 * 1024 * 1024;
  for (const int name : {SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE}) {
    static_cast<void>(setsockopt(fd.number(), SOL_SOCKET, name, &bytes, sizeof bytes));
  }
}

// More than one completion brings, or a multishot receive takes in one go.
void reset_behind_many_octets_ends_a_receive(const LoopFactory& make) {
  const auto loop = make({});
  for (const uint32_t bytes : {10U, 250'000U, 300'000U, 600'000U, 1024U * 1024}) {
    Pair pair(*loop);
    enlarge_buffers(*loop, pair.client.fd());
    enlarge_buffers(*loop, pair.server.fd());
    pair.client.queue(pattern(1, 0, bytes));
    for (int turn = 0; turn < 10; ++turn) loop->run_turn(Duration::milliseconds(1));
    pair.client.close(Loop::Ending::abort);
    for (int turn = 0; turn < 5; ++turn) loop->run_turn(Duration::milliseconds(1));
    pair.server.start_receiving();
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_receiving(); }),
                       "the reset behind " << bytes << " octets was lost");
    BOOST_TEST(pair.server.receive_result == -ECONNRESET);
    BOOST_TEST(matches_pattern(pair.server.received, 1, 0));
  }
}

// Both come between two entries of the kernel: one wake-up for two things.
void reset_together_with_octets_ends_a_receive(const LoopFactory& make) {
  const auto loop = make({});
  if (loop->kind() == LoopKind::sim) return;
  for (const uint32_t bytes : {10U, 20'000U, 100'000U}) {
    Pair pair(*loop);
    pair.server.start_receiving();
    for (int turn = 0; turn < 3; ++turn) loop->run_turn(Duration::milliseconds(1));
    const Slice octets = pattern(2, 0, bytes);
    BOOST_TEST_REQUIRE(::send(pair.client.fd().number(), octets.data(), bytes, MSG_DONTWAIT) > 0);
    pair.client.close(Loop::Ending::abort);
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_receiving(); }),
                       "the reset behind " << bytes << " octets was lost");
    BOOST_TEST(pair.server.receive_result == -ECONNRESET);
    BOOST_TEST(matches_pattern(pair.server.received, 2, 0));
  }
}

void run_turns(Loop& loop, int count) {
  for (int turn = 0; turn < count; ++turn) loop.run_turn(Duration::milliseconds(1));
}

void end_of_client_is_received(Loop& loop, Pair& pair) {
  pair.server.start_receiving();
  pair.client.finish_sending();
  BOOST_TEST_REQUIRE(run_until(loop, [&] { return !pair.server.is_receiving(); }));
  BOOST_TEST_REQUIRE(pair.server.receive_result == 0);
}

void receiving_is_paused(Loop& loop, Pair& pair) {
  pair.server.start_receiving();
  pair.client.queue("first");
  BOOST_TEST_REQUIRE(run_until(loop, [&] { return pair.server.received_bytes == 5; }));
  pair.server.pause();
  BOOST_TEST_REQUIRE(run_until(loop, [&] { return !pair.server.is_receiving(); }));
}

// Paused: also when octets wait that nobody receives.
void watch_sees_a_reset_behind_the_end_and_while_receiving_is_paused(const LoopFactory& make) {
  const auto loop = make({});
  for (const bool is_paused : {false, true}) {
    for (const bool is_late : {false, true}) {
      Pair pair(*loop);
      Watcher watcher(*loop);
      if (is_paused) receiving_is_paused(*loop, pair);
      else end_of_client_is_received(*loop, pair);
      if (!is_late) watcher.start(pair.server);
      if (is_paused) pair.client.queue("never received");
      BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.client.has_sent_all(); }));
      run_turns(*loop, 5);
      BOOST_TEST(watcher.result == 0);
      pair.client.close(Loop::Ending::abort);
      run_turns(*loop, 5);
      if (is_late) watcher.start(pair.server);
      BOOST_TEST(run_until(*loop, [&] { return !watcher.is_watching(); }));
      BOOST_TEST(watcher.result == -ECONNRESET);
    }
  }
}

void watch_keeps_silent_at_an_orderly_end(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  Watcher watcher(*loop);
  end_of_client_is_received(*loop, pair);
  watcher.start(pair.server);
  pair.client.start_receiving();
  pair.server.queue("last words");
  pair.server.finish_sending();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.client.is_receiving(); }));
  pair.client.close();
  run_turns(*loop, 10);
  BOOST_TEST(watcher.is_watching());
  BOOST_TEST(watcher.result == 0);
  watcher.stop();
  BOOST_TEST(!watcher.is_watching());
}

// The watch ends in the verb, and the socket can be received on, and closed, at once.
void unwatch_leaves_no_trace(const LoopFactory& make) {
  const auto loop = make({});
  for (int round = 0; round < 50; ++round) {
    Pair pair(*loop);
    Watcher watcher(*loop);
    for (int again = 0; again < 3; ++again) {
      watcher.start(pair.server);
      if (again > 0) run_turns(*loop, 1);
      watcher.stop();
      watcher.stop();
    }
    pair.server.start_receiving();
    pair.client.queue("hello");
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.server.received_bytes == 5; }));
    pair.server.close();
    watcher.start(pair.client);
    if (round % 2 != 0) run_turns(*loop, 1);
    watcher.stop();
    pair.client.close(Loop::Ending::abort);
    BOOST_TEST(watcher.result == 0);
  }
}

}  // namespace

std::vector<Case> reset_cases() {
#define CASE(name) \
  Case { #name, &name }
  return {CASE(reset_behind_many_octets_ends_a_receive),
          CASE(reset_together_with_octets_ends_a_receive),
          CASE(watch_sees_a_reset_behind_the_end_and_while_receiving_is_paused),
          CASE(watch_keeps_silent_at_an_orderly_end), CASE(unwatch_leaves_no_trace)};
#undef CASE
}

}  // namespace istmo::io::suite
