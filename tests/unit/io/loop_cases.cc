// The cases of loop_suite.h that need nothing but a Loop.
#include <boost/test/unit_test.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "loop_suite.h"

namespace istmo::io::suite {
namespace {

constexpr uint32_t kMiB = 1024 * 1024;

void queue_pattern(End& end, uint64_t seed, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += 64 * 1024) end.queue(pattern(seed, at, 64 * 1024));
}

// The chain holds exactly the first octets of the stream `seed`.
bool is_pattern(const Chain& chain, uint64_t seed) { return matches_pattern(chain, seed, 0); }

void echo_of_random_sizes(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  pair.server.checker = [&](const Chain& bytes) { pair.server.queue(bytes.to_string()); };
  pair.server.start_receiving();
  pair.client.start_receiving();
  Rng rng(7);
  uint64_t total = 0;
  for (int round = 0; round < 100; ++round) {
    const auto bytes = static_cast<uint32_t>(rng.between(1, round % 10 == 0 ? 200'000 : 2'000));
    pair.client.queue(pattern(3, total, bytes));
    total += bytes;
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.client.received_bytes == total; }));
  }
  BOOST_TEST(is_pattern(pair.client.received, 3));
}

void connect_to_a_closed_port_is_refused(const LoopFactory& make) {
  const auto loop = make({});
  Address address;
  {
    Door door(*loop);
    address = door.address();
  }
  loop->run_turn(Duration{});
  End client(*loop);
  client.connect(address);
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !client.is_connecting(); }));
  BOOST_TEST(client.connect_result == -ECONNREFUSED);
}

// A listener that never accepts, with a full queue, leaves connects hanging.
void connect_can_be_cancelled(const LoopFactory& make) {
  const auto loop = make({});
  Door door(*loop, {.backlog = 0});
  std::vector<std::unique_ptr<End>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<End>(*loop));
    clients.back()->connect(door.address());
  }
  for (int turn = 0; turn < 5; ++turn) loop->run_turn(Duration::milliseconds(1));
  for (auto& client : clients) client->cancel_connect();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] {
    return std::ranges::none_of(clients, [](auto& client) { return client->is_connecting(); });
  }));
  uint32_t cancelled = 0;
  for (auto& client : clients) {
    cancelled += client->connect_result == -ECANCELED;
    BOOST_TEST((client->connect_result == -ECANCELED || client->is_connected()));
  }
  BOOST_TEST((cancelled > 0 || loop->kind() == LoopKind::sim));
}

void half_close_keeps_both_directions_whole(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  queue_pattern(pair.client, 1, 2 * kMiB);
  pair.client.finish_sending();
  for (int turn = 0; turn < 10; ++turn) loop->run_turn(Duration::milliseconds(1));
  pair.server.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_receiving(); }));
  BOOST_TEST(pair.server.receive_result == 0);
  BOOST_TEST(pair.server.received_bytes == 2 * kMiB);
  BOOST_TEST(is_pattern(pair.server.received, 1));

  queue_pattern(pair.server, 2, 2 * kMiB);
  pair.server.finish_sending();
  pair.client.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.client.is_receiving(); }));
  BOOST_TEST(pair.client.receive_result == 0);
  BOOST_TEST(pair.client.received_bytes == 2 * kMiB);
  BOOST_TEST(is_pattern(pair.client.received, 2));
}

void abort_is_seen_as_reset(const LoopFactory& make) {
  const auto loop = make({});
  for (const bool from_client : {true, false}) {
    Pair pair(*loop);
    End& aborts = from_client ? pair.client : pair.server;
    End& watches = from_client ? pair.server : pair.client;
    watches.start_receiving();
    aborts.queue("last words");
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return watches.received_bytes == 10; }));
    aborts.close(Loop::Ending::abort);
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !watches.is_receiving(); }));
    BOOST_TEST(watches.receive_result == -ECONNRESET);
  }
}

// Also with a megabyte on its way, part of it still in the sender's queue.
void abort_with_bytes_in_flight_is_a_reset(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  queue_pattern(pair.client, 1, 8 * kMiB);
  for (int turn = 0; turn < 10; ++turn) loop->run_turn(Duration::milliseconds(1));
  pair.client.close(Loop::Ending::abort);
  pair.server.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_receiving(); }));
  BOOST_TEST(pair.server.receive_result == -ECONNRESET);
  BOOST_TEST(is_pattern(pair.server.received, 1));
}

void send_after_a_reset_fails(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  pair.client.close(Loop::Ending::abort);
  pair.server.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_receiving(); }));
  pair.server.queue("anybody there?");
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_sending(); }));
  BOOST_TEST((pair.server.send_error == -EPIPE || pair.server.send_error == -ECONNRESET));
}

void pausing_loses_nothing(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  queue_pattern(pair.client, 5, 4 * kMiB);
  pair.client.finish_sending();
  uint32_t pauses = 0;
  pair.server.after_receive = [&] {
    if (pair.server.is_receiving()) pair.server.pause();
  };
  while (pair.server.receive_result != 0) {
    pair.server.start_receiving();
    ++pauses;
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_receiving(); }));
    BOOST_TEST_REQUIRE(pair.server.receive_result <= 0);
  }
  BOOST_TEST(pauses > 4);
  BOOST_TEST(pair.server.received_bytes == 4 * kMiB);
  BOOST_TEST(is_pattern(pair.server.received, 5));
}

void send_to_a_slow_reader_completes_whole(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  queue_pattern(pair.client, 6, 16 * kMiB);
  for (int turn = 0; turn < 20; ++turn) loop->run_turn(Duration::milliseconds(1));
  BOOST_TEST(pair.client.is_sending());  // the socket's buffers are full
  pair.server.checker = [&, position = uint64_t{0}](const Chain& bytes) mutable {
    uint8_t first = 0;
    bytes.copy_out(0, {&first, 1});
    BOOST_TEST_REQUIRE(first == pattern_at(6, position));
    position += bytes.size();
  };
  pair.server.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.server.received_bytes == 16 * kMiB; }));
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.client.has_sent_all(); }));
  // All but the first and the last, for which less was queued.
  for (size_t i = 1; i + 1 < pair.client.send_results.size(); ++i) {
    BOOST_TEST_REQUIRE(pair.client.send_results[i] == int{Loop::kSendBytesMax});
  }
}

void cancelled_send_ends(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  queue_pattern(pair.client, 6, 16 * kMiB);
  for (int turn = 0; turn < 20; ++turn) loop->run_turn(Duration::milliseconds(1));
  BOOST_TEST_REQUIRE(pair.client.is_sending());
  pair.client.to_send.drop_front(0);
  pair.client.close(Loop::Ending::abort);  // cancels; fails if the op stays busy
  BOOST_TEST(!pair.client.is_sending());
}

void cancel_of_an_idle_op_does_nothing(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  pair.client.cancel_receive();
  pair.client.cancel_send();
  pair.client.cancel_connect();
  loop->run_turn(Duration{});
  pair.client.start_receiving();
  pair.server.queue("hello");
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.client.received_bytes == 5; }));
  BOOST_TEST(pair.client.receive_ends == 0U);
}

void cancel_twice_completes_once(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  pair.client.start_receiving();
  pair.client.cancel_receive();
  pair.client.cancel_receive();
  BOOST_TEST(pair.client.is_receiving());  // told from a turn, never from a verb
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.client.is_receiving(); }));
  BOOST_TEST(pair.client.receive_result == -ECANCELED);
  for (int turn = 0; turn < 5; ++turn) loop->run_turn(Duration::milliseconds(1));
  BOOST_TEST(pair.client.receive_ends == 1U);
  pair.client.start_receiving();
  pair.server.queue("again");
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.client.received_bytes == 5; }));
}

// The number of a closed descriptor comes back at once; what was asked for under the old one must
// not reach the new.
void closed_descriptor_leaves_no_trace(const LoopFactory& make) {
  const auto loop = make({});
  Door door(*loop);
  door.start();
  for (uint64_t round = 0; round < 200; ++round) {
    End client(*loop);
    client.connect(door.address());
    End server(*loop);
    server.own(door.take());
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return client.is_connected(); }));
    server.start_receiving();
    client.start_receiving();
    client.queue(pattern(round, 0, 3000));
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return server.received_bytes == 3000; }));
    BOOST_TEST_REQUIRE(is_pattern(server.received, round));
    server.queue(pattern(round, 0, 100'000));
    server.close(round % 2 ? Loop::Ending::orderly : Loop::Ending::abort);
    client.close();
  }
}

void receive_goes_on_with_a_tiny_pool(const LoopFactory& make) {
  const auto loop = make({.block_bytes = 4096, .block_count = 4, .block_count_max = 4});
  std::vector<std::unique_ptr<Pair>> pairs;
  for (int i = 0; i < 8; ++i) {
    pairs.push_back(std::make_unique<Pair>(*loop));
    queue_pattern(pairs.back()->client, static_cast<uint64_t>(i), 256 * 1024);
    pairs.back()->server.start_receiving();  // and keeps every slice
  }
  BOOST_TEST_REQUIRE(run_until(*loop, [&] {
    return std::ranges::all_of(pairs, [](auto& p) { return p->server.received_bytes == 262144; });
  }));
  for (uint64_t i = 0; i < pairs.size(); ++i) BOOST_TEST(is_pattern(pairs[i]->server.received, i));
}

void pool_grows_and_comes_back(const LoopFactory& make) {
  const auto loop = make({.block_bytes = 4096, .block_count = 8, .block_count_max = 64});
  for (int round = 0; round < 2; ++round) {
    Pair pair(*loop);
    queue_pattern(pair.client, 1, kMiB);
    pair.server.start_receiving();
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.server.received_bytes == kMiB; }));
    BOOST_TEST(is_pattern(pair.server.received, 1));
    pair.server.received.clear();
    pair.server.close();
    const Instant later = loop->now() + Duration::milliseconds(1500);
    while (loop->now() < later) loop->run_turn(Duration::milliseconds(100));
  }
}

void addresses_of_both_ends_agree(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  const auto client_local = loop->local_address(pair.client.fd());
  const auto client_remote = loop->remote_address(pair.client.fd());
  BOOST_TEST_REQUIRE((client_local && client_remote));
  BOOST_TEST((loop->remote_address(pair.server.fd()).value() == *client_local));
  BOOST_TEST((loop->local_address(pair.server.fd()).value() == *client_remote));
  BOOST_TEST(client_local->host() == "127.0.0.1");
}

void many_connections_are_accepted(const LoopFactory& make) {
  const auto loop = make({});
  Door door(*loop);
  door.start();
  std::vector<std::unique_ptr<End>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<End>(*loop));
    clients.back()->connect(door.address());
  }
  BOOST_TEST(run_until(*loop, [&] { return door.waiting() == 200; }));
  BOOST_TEST(run_until(*loop, [&] {
    return std::ranges::all_of(clients, [](auto& client) { return client->is_connected(); });
  }));
  door.stop();
  BOOST_TEST(door.last_error == -ECANCELED);
  BOOST_TEST(door.ends == 1U);
}

struct Alarm {
  Alarm(std::vector<int>& rang_in, int number_in) : rang(rang_in), number(number_in) {}
  void on_time() { rang.push_back(number); }
  std::vector<int>& rang;
  int number;
  TimerOf<Alarm, &Alarm::on_time> timer{*this};
};

void timers_fire_in_order(const LoopFactory& make) {
  const auto loop = make({});
  std::vector<int> rang;
  Alarm late(rang, 3), early(rang, 1), middle(rang, 2), never(rang, 4);
  const Instant start = loop->now();
  loop->timers().arm(late.timer, start + Duration::milliseconds(30));
  loop->timers().arm(early.timer, start + Duration::milliseconds(5));
  loop->timers().arm(middle.timer, start + Duration::milliseconds(15));
  loop->timers().arm(never.timer, start + Duration::milliseconds(10));
  loop->timers().cancel(never.timer);
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return rang.size() == 3; }));
  BOOST_TEST(rang == (std::vector{1, 2, 3}), boost::test_tools::per_element());
  BOOST_TEST((loop->now() - start >= Duration::milliseconds(30)));
}

struct Late {
  void run() {
    if (++runs < 3) loop.defer(deferred);
  }
  Loop& loop;
  int runs = 0;
  DeferredOf<Late, &Late::run> deferred{*this};
};

void deferred_work_runs_in_the_same_turn(const LoopFactory& make) {
  const auto loop = make({});
  Late late{*loop};
  loop->defer(late.deferred);
  loop->defer(late.deferred);
  BOOST_TEST(late.runs == 0);
  loop->run_turn(Duration{});
  BOOST_TEST(late.runs == 3);
}

}  // namespace

void check_overshoot(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  const int bytes = 4 * kMiB;
  for (const int name : {SO_RCVBUF, SO_RCVBUFFORCE}) {
    static_cast<void>(
        setsockopt(pair.server.fd().number(), SOL_SOCKET, name, &bytes, sizeof bytes));
  }
  queue_pattern(pair.client, 1, 8 * kMiB);
  for (int turn = 0; turn < 20; ++turn) loop->run_turn(Duration::milliseconds(1));
  for (int round = 0; round < 4; ++round) {
    const uint64_t before = pair.server.received_bytes;
    pair.server.after_receive = [&] { pair.server.pause(); };
    pair.server.start_receiving();
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return !pair.server.is_receiving(); }));
    BOOST_TEST(pair.server.receive_result == -ECANCELED);
    BOOST_TEST(pair.server.received_bytes > before);
    BOOST_TEST(pair.server.received_bytes - before <= 256U * 1024);
  }
}

void check_crowd(const LoopFactory& make) {
  constexpr uint32_t kConnections = 40;
  constexpr uint32_t kBytes = 64 * 1024;
  const auto loop = make({});
  std::vector<std::unique_ptr<Pair>> pairs;
  for (uint32_t i = 0; i < kConnections; ++i) {
    pairs.push_back(std::make_unique<Pair>(*loop));
    pairs.back()->server.start_receiving();
  }
  const auto send_to_all = [&](uint64_t round) {
    for (auto& pair : pairs) {
      pair->client.queue(pattern(1, 0, kBytes));
      pair->server.received = {};
    }
    return run_until(*loop, [&] {
      return std::ranges::all_of(
          pairs, [&](auto& pair) { return pair->server.received_bytes == round * kBytes; });
    });
  };
  uint64_t round = 0;
  while (round < 10) BOOST_TEST_REQUIRE(send_to_all(++round));
  const uint64_t before = loop->metrics().starvations.value();
  BOOST_TEST(before > 0u);
  while (round < 40) BOOST_TEST_REQUIRE(send_to_all(++round));
  BOOST_TEST(loop->metrics().starvations.value() == before);
}

std::vector<Case> network_cases() {
#define CASE(name) \
  Case { #name, &name }
  std::vector<Case> cases = {CASE(echo_of_random_sizes),
                             CASE(connect_to_a_closed_port_is_refused),
                             CASE(connect_can_be_cancelled),
                             CASE(half_close_keeps_both_directions_whole),
                             CASE(abort_is_seen_as_reset),
                             CASE(abort_with_bytes_in_flight_is_a_reset),
                             CASE(send_after_a_reset_fails),
                             CASE(pausing_loses_nothing),
                             CASE(send_to_a_slow_reader_completes_whole),
                             CASE(cancelled_send_ends),
                             CASE(cancel_of_an_idle_op_does_nothing),
                             CASE(cancel_twice_completes_once),
                             CASE(closed_descriptor_leaves_no_trace),
                             CASE(receive_goes_on_with_a_tiny_pool),
                             CASE(pool_grows_and_comes_back),
                             CASE(addresses_of_both_ends_agree),
                             CASE(many_connections_are_accepted),
                             CASE(timers_fire_in_order),
                             CASE(deferred_work_runs_in_the_same_turn)};
#undef CASE
  for (const Case& named : reset_cases()) cases.push_back(named);
  return cases;
}

}  // namespace istmo::io::suite
