// The cases of loop_suite.h that need a kernel: threads, processes, foreign descriptors.
#include <boost/test/unit_test.hpp>

#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>

#include "loop_suite.h"

namespace istmo::io::suite {
namespace {

// Each letter is posted only when the one before was delivered, so the loop parks in between.
void letters_from_another_thread_wake(const LoopFactory& make) {
  constexpr int kLetters = 2000;
  const auto loop = make({});
  std::atomic<int> delivered{0};
  std::thread sender([&] {
    for (int i = 0; i < kLetters; ++i) {
      loop->post(make_letter([&] { delivered.fetch_add(1); }));
      while (delivered.load() <= i) std::this_thread::yield();
    }
    loop->post(make_letter([&] { loop->stop(); }));
  });
  loop->run();  // a lost wake would leave it asleep for an hour
  sender.join();
  BOOST_TEST(delivered.load() == kLetters);
}

void letters_from_many_threads_all_arrive(const LoopFactory& make) {
  constexpr int kThreads = 4;
  constexpr int kLetters = 5000;
  const auto loop = make({});
  int delivered = 0;
  std::vector<std::thread> senders;
  for (int thread = 0; thread < kThreads; ++thread) {
    senders.emplace_back([&] {
      for (int i = 0; i < kLetters; ++i) {
        loop->post(make_letter([&] {
          if (++delivered == kThreads * kLetters) loop->stop();
        }));
      }
    });
  }
  loop->run();
  for (auto& sender : senders) sender.join();
  BOOST_TEST(delivered == kThreads * kLetters);
}

// In a child, because the limit is the process's. The exit status tells what went wrong.
int run_out_of_descriptors(const LoopFactory& make) {
  const auto loop = make({});
  Door door(*loop);
  std::vector<std::unique_ptr<End>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<End>(*loop));
    clients.back()->connect(door.address());
  }
  if (!run_until(*loop, [&] {
        return std::ranges::all_of(clients, [](auto& client) { return client->is_connected(); });
      })) {
    return 2;
  }
  const int next_free = dup(0);
  ::close(next_free);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = static_cast<rlim_t>(next_free) + 5;  // five more
  setrlimit(RLIMIT_NOFILE, &limit);
  door.start();
  const uint64_t turns = loop->metrics().turns.value();
  const Instant start = loop->now();
  while (loop->now() < start + Duration::milliseconds(300)) {
    loop->run_turn(Duration::milliseconds(100));
  }
  if (door.waiting() != 5) return 3;
  if (loop->metrics().accept_limit_hits.value() == 0) return 4;
  if (loop->metrics().turns.value() - turns > 100) return 5;  // it spins
  limit.rlim_cur = before;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (!run_until(*loop, [&] { return door.waiting() == 20; })) return 6;
  return 0;
}

void out_of_descriptors_rests_and_recovers(const LoopFactory& make) {
  const pid_t child = fork();
  if (child == 0) _exit(run_out_of_descriptors(make));
  int status = 0;
  BOOST_TEST_REQUIRE(waitpid(child, &status, 0) == child);
  BOOST_TEST(WIFEXITED(status));
  BOOST_TEST(WEXITSTATUS(status) == 0);
}

struct Poller {
  void on_ready(Completion&& done) {
    result = done.result;
    ++calls;
  }
  int result = 0;
  int calls = 0;
  OpOf<Poller, &Poller::on_ready> op{*this};
};

void poll_sees_a_pipe(const LoopFactory& make) {
  const auto loop = make({});
  int ends[2];
  BOOST_TEST_REQUIRE(pipe(ends) == 0);
  Poller poller;
  loop->poll(poller.op, Fd(ends[0]), POLLIN);
  for (int turn = 0; turn < 3; ++turn) loop->run_turn(Duration::milliseconds(1));
  BOOST_TEST(poller.calls == 0);
  BOOST_TEST_REQUIRE(write(ends[1], "x", 1) == 1);
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return poller.calls == 1; }));
  BOOST_TEST((poller.result & POLLIN) != 0);
  // What is ready already is told too, and one-shot means once.
  loop->poll(poller.op, Fd(ends[0]), POLLIN);
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return poller.calls == 2; }));
  char octet = 0;
  BOOST_TEST_REQUIRE(read(ends[0], &octet, 1) == 1);
  loop->poll(poller.op, Fd(ends[0]), POLLIN);
  for (int turn = 0; turn < 3; ++turn) loop->run_turn(Duration::milliseconds(1));
  BOOST_TEST(poller.calls == 2);
  loop->cancel(poller.op);
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return poller.op.is_idle(); }));
  BOOST_TEST(poller.result == -ECANCELED);
  ::close(ends[0]);
  ::close(ends[1]);
}

void adopted_socket_works_on_another_loop(const LoopFactory& make) {
  const auto first = make({});
  const auto second = make({});
  Door door(*first);
  End client(*first);
  client.connect(door.address());
  End before(*first);
  before.own(door.take());
  client.queue("hello");
  before.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*first, [&] { return before.received_bytes == 5; }));
  before.pause();
  BOOST_TEST_REQUIRE(run_until(*first, [&] { return !before.is_receiving(); }));
  first->release(before.fd());
  second->adopt(before.fd(), {});
  End after(*second);
  after.own(before.fd());
  before.own(Fd());
  client.queue("world");
  BOOST_TEST_REQUIRE(run_until(*first, [&] { return client.has_sent_all(); }));
  after.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*second, [&] { return after.received_bytes == 5; }));
  BOOST_TEST(after.received.to_string() == "world");
}

void options_reach_accepted_and_connected_sockets(const LoopFactory& make) {
  const auto loop = make({});
  Pair pair(*loop);
  for (const End* end : {&pair.client, &pair.server}) {
    const auto option = [end](int level, int name) {
      int value = 0;
      socklen_t length = sizeof value;
      getsockopt(end->fd().number(), level, name, &value, &length);
      return value;
    };
    BOOST_TEST(option(IPPROTO_TCP, TCP_NODELAY) == 1);
    BOOST_TEST(option(SOL_SOCKET, SO_KEEPALIVE) == 1);
    BOOST_TEST(option(IPPROTO_TCP, TCP_KEEPIDLE) == 60);
  }
}

// Nobody reads, so that what the kernel did not take at once would wait for ever.
void what_there_is_room_for_is_taken_at_once(const LoopFactory& make) {
  constexpr int kUnsentMax = 128 * 1024;
  const auto loop = make({});
  Pair pair(*loop);
  BOOST_REQUIRE(setsockopt(pair.client.fd().number(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentMax,
                           sizeof kUnsentMax) == 0);
  uint64_t sent = 0;
  while (true) {
    const uint64_t room = loop->send_room(pair.client.fd(), kUnsentMax);
    if (room < 4096) break;
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(room, Loop::kSendBytesMax));
    pair.client.queue(pattern(1, sent, count));
    BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.client.has_sent_all(); }));
    sent += count;
  }
  BOOST_TEST(sent >= 64 * 1024u);
  pair.server.start_receiving();
  BOOST_TEST_REQUIRE(run_until(*loop, [&] { return pair.server.received_bytes == sent; }));
  BOOST_TEST(loop->send_room(pair.client.fd(), kUnsentMax) >= 64 * 1024u);
}

}  // namespace

std::vector<Case> kernel_cases() {
#define CASE(name) \
  Case { #name, &name }
  return {CASE(letters_from_another_thread_wake),
          CASE(letters_from_many_threads_all_arrive),
          CASE(out_of_descriptors_rests_and_recovers),
          CASE(poll_sees_a_pipe),
          CASE(adopted_socket_works_on_another_loop),
          CASE(options_reach_accepted_and_connected_sockets),
          CASE(what_there_is_room_for_is_taken_at_once)};
#undef CASE
}

}  // namespace istmo::io::suite
