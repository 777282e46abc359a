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

}  // namespace

std::vector<Case> reset_cases() {
#define CASE(name) \
  Case { #name, &name }
  return {CASE(reset_behind_many_octets_ends_a_receive),
          CASE(reset_together_with_octets_ends_a_receive)};
#undef CASE
}

}  // namespace istmo::io::suite
