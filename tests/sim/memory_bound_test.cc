// The bound for what waits in all exchanges of a process: who is refused, who is slowed down, who
// is reset, and that the others notice nothing.
#include <boost/test/unit_test.hpp>

#include "link_program.h"
#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;

// To a client that stops reading.
Exchange& start_stalled(World& world, uint64_t bytes) {
  return world.start({.finale = Finale::stay, .read_limit = 1'000},
                     {.bytes = bytes, .finale = Finale::stay});
}

// What the west holds once nothing moves any more.
uint64_t settle(World& world) {
  uint64_t held = 0;
  world.until([&] {
    const uint64_t before = std::exchange(held, world.west.buffered_bytes());
    world.run_for(Duration::milliseconds(500));
    return held > 0 && held == before;
  });
  return held;
}

void set_bound(World& world, uint64_t bytes) {
  world.west.config.limits.buffered_bytes_max = bytes;
  world.publish(world.west);
}

// And refusals.
uint64_t resets(World& world) { return world.west.closed(CloseReason::memory_limit); }

void check_is_served(World& world) {
  const Exchange& exchange = world.start({.bytes = 1000}, {.bytes = 1000});
  BOOST_TEST(world.until([&] { return exchange.client->is_done(); }));
  check_complete(exchange);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(memory_bound)

BOOST_AUTO_TEST_CASE(above_it_new_exchanges_are_refused_until_what_stalled_is_reset) {
  FOR_SEEDS(12, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    start_stalled(world, 4'000'000);
    const Instant began = world.network.now();
    const uint64_t held = settle(world);
    set_bound(world, held / 10 * 9);
    const Exchange& refused = world.start({.bytes = 10}, {.bytes = 10});
    BOOST_TEST(world.until([&] { return refused.client->is_done(); }, Duration::seconds(1)));
    BOOST_TEST(refused.client->was_reset());
    BOOST_TEST(resets(world) == 1u);
    BOOST_TEST(world.until([&] { return resets(world) == 2; }, Duration::seconds(6)));
    // What came a moment ago has not stalled.
    BOOST_TEST((world.network.now() - began >= proxy::MemoryBound::kStalledAfter));
    check_is_served(world);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_quarter_above_it_the_largest_are_reset_at_once) {
  FOR_SEEDS(12, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    start_stalled(world, 60'000);
    const uint64_t small_bytes = settle(world);
    start_stalled(world, 4'000'000);
    const uint64_t held = settle(world);
    BOOST_TEST_REQUIRE(held > 3 * small_bytes);
    set_bound(world, held / 2);
    BOOST_TEST(world.until([&] { return resets(world) == 1; }, Duration::seconds(1)));
    check_is_served(world);
    BOOST_TEST(world.west.buffered_bytes() == small_bytes);
    BOOST_TEST(resets(world) == 1u);
    world.finish();
  }
}

// Slow readers hold their full windows, and together a third more than the bound allows at ease.
BOOST_AUTO_TEST_CASE(slow_readers_share_what_there_is_and_lose_nothing) {
  FOR_SEEDS(12, seed) {
    constexpr uint64_t kReaders = 12;
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    for (uint64_t i = 0; i < kReaders; ++i) {
      world.start({.read_pause_max = Duration::milliseconds(400)}, {.bytes = 4'000'000});
    }
    world.run_for(Duration::milliseconds(1500));
    const uint64_t full = world.west.buffered_bytes();
    BOOST_TEST_REQUIRE(full > kReaders * 100'000);
    set_bound(world, full);
    const auto has_room = [&] { return world.west.buffered_bytes() <= full / 20 * 17; };
    BOOST_TEST(world.until(has_room, Duration::seconds(2)));
    BOOST_TEST(world.west.streams_open() == kReaders);
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
    BOOST_TEST(resets(world) == 0u);
    world.finish();
  }
}

// The neighbour accepts a link and then only lives: it answers neither attach nor detach.
BOOST_AUTO_TEST_CASE(what_was_reset_does_not_count_while_the_neighbour_keeps_silent) {
  World world(1, {.west_workers = 1, .east_workers = 0});
  const io::SimHost host = world.network.add_host({"10.3.0.1"});
  io::SimLoop loop(world.network, host);
  const auto at = address("10.3.0.1:55671");
  LinkPort port(loop, "bob", at);
  port.script = welcome();
  port.open();
  auto& config = world.west.config;
  config.connectors.clear();
  config.remote_services = {{.routing_key = config.listeners[0].routing_key, .site_id = "bob"}};
  config.links = {{.name = "to-bob",
                   .targets = {{.host = "bob", .addresses = {at}}},
                   .credentials = credentials_of("west")}};
  world.publish(world.west);
  BOOST_TEST(world.until([&] { return world.west.links_open() == 1u; }));
  const Exchange& exchange = world.start({.bytes = 1'000'000}, {});
  BOOST_TEST(world.until([&] { return world.west.buffered_bytes() > 100'000; }));
  BOOST_TEST(world.until([&] { return exchange.client->is_done(); }));
  BOOST_TEST(exchange.client->was_reset());
  BOOST_TEST(world.west.streams_open() == 1u);  // the AMQP links are still there
  BOOST_TEST(world.west.buffered_bytes() == 0u);
  port.close();
  BOOST_TEST(world.until([&] { return port.is_idle(); }));
  world.finish();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
