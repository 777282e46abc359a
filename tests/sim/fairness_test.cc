// A small frame beside bulk streams on one link: how much of the others goes before it.
#include <boost/test/unit_test.hpp>

#include "world.h"

namespace istmo::sim {
namespace {

constexpr uint64_t kRecordBytes = 16 * 1024 + 256;
constexpr uint64_t kSegmentsBytes = 2 * 1024;

// Counts what the clients' site hands to its kernel for the other site, and when it took the
// octets of the small stream from its client.
class LinkCounter final : public io::SimObserver {
 public:
  explicit LinkCounter(World& world) : world_(world) { world.network.set_observer(this); }
  ~LinkCounter() { world_.network.set_observer(nullptr); }

  void on_octets_sent(io::SimHost from, io::SimHost to, uint64_t count) override {
    if (from != world_.west_host || to != world_.east_host) return;
    sent_ += count;
    most_at_once_ = std::max(most_at_once_, count);
  }
  void on_octets_received(io::SimHost from, io::SimHost to, uint64_t count) override {
    if (from == world_.west_host && to == world_.east_host) received_ += count;
    if (from == small_host_ && to == world_.west_host) ready_at_ = sent_;
  }
  void watch(io::SimHost small_host) { small_host_ = small_host; }
  void mark_ready() { ready_at_ = sent_; }
  uint64_t most_at_once() const { return most_at_once_; }
  // Octets that went into the link's socket between the small frame's arrival at the site and its
  // own; call when it has come out. `received_` is where the other site is by then.
  uint64_t octets_before_it() const { return received_ > ready_at_ ? received_ - ready_at_ : 0; }

 private:
  World& world_;
  io::SimHost small_host_{UINT32_MAX};
  uint64_t sent_ = 0;
  uint64_t most_at_once_ = 0;
  uint64_t received_ = 0;
  uint64_t ready_at_ = 0;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(fairness)

// The small stream's client is on a host of its own, so that its octets can be told from others.
// The other site can read a frame when the whole TLS record that begins with it is there: that
// record, with what comes behind the small frame, is not counted. Nor are the last segments.
BOOST_AUTO_TEST_CASE(at_most_64_kib_of_others_leave_before_a_ready_small_frame) {
  FOR_SEEDS(12, seed) {
    WorldPlan plan{.west_workers = 1, .east_workers = 1, .east_dials = seed % 2 == 0};
    plan.options.segment_bytes_max = 1024;
    plan.options.delivery_bytes_max = 1024;
    World world(seed, plan);
    world.network.set_path(
        world.west_host, world.east_host,
        {.latency = Duration::milliseconds(2), .jitter = {}, .bytes_per_second = 12'500'000});
    BOOST_TEST(world.until_linked());
    LinkCounter counter(world);
    const io::SimHost small_host = world.network.add_host({"10.1.0.2"});
    io::SimLoop small_loop(world.network, small_host);
    const uint64_t bulk_streams = 1 + seed % 8;
    for (uint64_t i = 0; i < bulk_streams; ++i) {
      world.start({.bytes = 50'000'000, .finale = Finale::stay}, {.finale = Finale::stay});
    }
    // Eight octets go to and fro.
    const FlowPlan small{.bytes = 8 * 30,
                         .finale = Finale::stay,
                         .is_echo = true,
                         .write_bytes_min = 8,
                         .write_bytes_max = 8};
    world.run_for(Duration::milliseconds(500));
    const Exchange& exchange = world.book.start(small_loop, world.service(), small, small);
    uint64_t most = 0;
    counter.watch(small_host);
    for (uint64_t octets = 8; octets <= 8 * 30; octets += 8) {
      BOOST_REQUIRE(world.until(
          [&] { return !exchange.servers.empty() && exchange.servers[0]->received() >= octets; }));
      // The first one also waits for the attach of its stream.
      if (octets > 8) most = std::max(most, counter.octets_before_it());
    }
    BOOST_TEST(most >= 1000u);  // there was something to wait for
    BOOST_TEST(most <= 64u * 1024 + kRecordBytes + kSegmentsBytes);
    world.book.abort_all();
    BOOST_TEST(world.until_idle());
    world.finish();
  }
}

// A stream of the mesh beside a single bulk stream, which has the link for itself until then.
BOOST_AUTO_TEST_CASE(at_most_64_kib_of_one_bulk_stream_leave_before_a_mesh_frame) {
  FOR_SEEDS(12, seed) {
    WorldPlan plan{.east_dials = seed % 2 == 0};
    plan.options.segment_bytes_max = 1024;
    plan.options.delivery_bytes_max = 1024;
    plan.options.send_buffer_bytes = static_cast<uint32_t>(16 * 1024 << seed % 4);
    World world(seed, plan);
    world.mesh_bytes_max = 1024;
    world.network.set_path(
        world.west_host, world.east_host,
        {.latency = Duration::milliseconds(2), .jitter = {}, .bytes_per_second = 12'500'000});
    BOOST_TEST(world.until_linked());
    BOOST_TEST(world.until([&] { return world.west.is_mesh_open(); }));
    LinkCounter counter(world);
    world.start({.bytes = 50'000'000, .finale = Finale::stay}, {.finale = Finale::stay});
    world.run_for(Duration::milliseconds(300));
    uint64_t most = 0;
    for (int round = 0; round < 20; ++round) {
      // Longer than the other site pauses between two messages.
      world.run_for(Duration::microseconds(static_cast<int64_t>(world.random(150'000, 200'000))));
      const size_t before = world.east().mesh_messages.size();
      counter.mark_ready();
      world.west.worker(0).send_mesh(world.east().replica(), "news");
      BOOST_REQUIRE(world.until([&] { return world.east().mesh_messages.size() > before; }));
      most = std::max(most, counter.octets_before_it());
    }
    BOOST_TEST(most >= 1000u);
    BOOST_TEST(most <= 64u * 1024 + kRecordBytes + kSegmentsBytes);
    world.book.abort_all();
    BOOST_TEST(world.until_idle());
    world.finish();
  }
}

// A new stream leaves twice: with its attach, and with its message when that was answered. Between
// the two goes what the socket holds before the attach, and what fits into the time on the path.
BOOST_AUTO_TEST_CASE(at_most_64_kib_of_one_bulk_stream_leave_before_each_frame_of_a_new_one) {
  constexpr uint32_t kSocketBytes = 16 * 1024;
  constexpr uint64_t kPathBytes = 2 * 2'500;  // 0.2 ms to and fro, twice
  FOR_SEEDS(24, seed) {
    WorldPlan plan{.east_dials = seed % 2 == 0};
    plan.options.segment_bytes_max = 1024;
    plan.options.delivery_bytes_max = 1024;
    plan.options.send_buffer_bytes = kSocketBytes;
    World world(seed, plan);
    world.network.set_path(
        world.west_host, world.east_host,
        {.latency = Duration::microseconds(100), .jitter = {}, .bytes_per_second = 12'500'000});
    BOOST_TEST(world.until_linked());
    LinkCounter counter(world);
    const io::SimHost small_host = world.network.add_host({"10.1.0.2"});
    io::SimLoop small_loop(world.network, small_host);
    world.start({.bytes = 50'000'000, .finale = Finale::stay}, {.finale = Finale::stay});
    world.run_for(Duration::milliseconds(300));
    counter.watch(small_host);
    const FlowPlan small{.finale = Finale::stay};
    const Exchange& exchange = world.book.start(small_loop, world.service(), small, small);
    BOOST_REQUIRE(world.until(
        [&] { return !exchange.servers.empty() && exchange.servers[0]->received() >= 8; }));
    const uint64_t waited = counter.octets_before_it();
    BOOST_TEST(waited >= 1000u);
    BOOST_TEST(waited <= 2 * (64u * 1024 + kRecordBytes) + kSocketBytes + kPathBytes);
    world.book.abort_all();
    BOOST_TEST(world.until_idle());
    world.finish();
  }
}

// Fewer and larger sends cost less: what the socket takes at once has left, and waits before
// nobody.
BOOST_AUTO_TEST_CASE(what_the_socket_takes_at_once_goes_in_one_send) {
  World world(1, {});
  BOOST_TEST(world.until_linked());
  LinkCounter counter(world);
  world.start({.bytes = 5'000'000, .write_bytes_min = 64 * 1024, .write_bytes_max = 64 * 1024}, {});
  BOOST_TEST(world.until_idle());
  BOOST_TEST(counter.most_at_once() >= 80u * 1024);
  world.finish();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
