// Configuration that changes under load: live exchanges are not touched, unless a document says so.
#include <boost/test/unit_test.hpp>

#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;

constexpr uint64_t kLong = 100'000'000;

void start_long(World& world, int count) {
  for (int i = 0; i < count; ++i) {
    world.start({.bytes = kLong, .finale = Finale::stay}, {.bytes = kLong, .finale = Finale::stay});
  }
  world.run_for(Duration::milliseconds(50));
  BOOST_TEST(world.west.streams_open() == static_cast<uint64_t>(count));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(snapshots)

BOOST_AUTO_TEST_CASE(swaps_under_load_touch_no_exchange) {
  FOR_SEEDS(48, seed) {
    WorldPlan plan = arrangement_of(seed);
    plan.backends = 3;
    World world(seed, plan);
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    proxy::ListenerConfig second = world.listener();
    second.name = "second";
    second.addresses = {address("10.0.0.1:8081")};
    for (int swap = 0; swap < 12; ++swap) {
      for (int i = 0; i < 4; ++i) {
        const uint64_t bytes = world.random(0, 200'000);
        world.start({.bytes = bytes}, {.bytes = bytes, .is_echo = true});
      }
      world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(0, 40))));
      world.west.config.listeners = {world.listener()};
      if (world.random(0, 1) == 1) world.west.config.listeners.push_back(second);
      const auto backends = static_cast<uint32_t>(world.random(1, 3));
      world.east().config.connectors = {world.connector(backends)};
      world.publish(world.west);
      if (world.plan.has_link()) world.publish(world.east());
    }
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(exchanges_outlive_their_listener_and_their_connector) {
  FOR_SEEDS(36, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    const FlowPlan slow{.bytes = 500'000, .write_pause_max = Duration::milliseconds(50)};
    for (int i = 0; i < 5; ++i) world.start(slow, slow);
    world.run_for(Duration::milliseconds(100));
    world.west.config.listeners.clear();
    world.east().config.connectors.clear();
    world.publish(world.west);
    if (world.plan.has_link()) world.publish(world.east());
    const Exchange& refused = world.start({.bytes = 1}, {.bytes = 1});
    BOOST_TEST(world.until_idle());
    BOOST_TEST(refused.client->error() == ECONNREFUSED);
    for (const auto& [id, exchange] : world.book.exchanges()) {
      if (exchange.get() != &refused) check_complete(*exchange);
    }
    world.finish();
  }
}

// A process that has just begun: what serves the key is being found out, at either site.
BOOST_AUTO_TEST_CASE(an_exchange_waits_for_backends_that_are_not_known_yet) {
  for (const uint32_t east_workers : {0u, 2u}) {
    World world(1, {.west_workers = 2, .east_workers = east_workers});
    BOOST_TEST(world.until_linked());
    Site& site = world.east();
    site.config.connectors.clear();
    site.config.awaited_keys = {world.listener().routing_key};
    world.publish(site);
    const Exchange& waits = world.start({.bytes = 1000}, {.bytes = 1000});
    world.run_for(Duration::seconds(2));
    BOOST_TEST(!waits.client->is_done());
    site.config.awaited_keys.clear();
    site.config.connectors = {world.connector(1)};
    world.publish(site);
    BOOST_TEST(world.until_idle(Duration::seconds(2)));
    check_complete(waits);
    // They are known, and there are none.
    site.config.connectors.clear();
    world.publish(site);
    const Exchange& refused = world.start({.bytes = 1000}, {.bytes = 1000});
    BOOST_TEST(world.until([&] { return refused.client->is_done(); }, Duration::seconds(1)));
    BOOST_TEST(refused.client->was_reset());
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_deleted_listener_that_drops_ends_its_exchanges) {
  FOR_SEEDS(36, seed) {
    World world(seed, arrangement_of(seed));
    world.west.config.listeners[0].drops_connections = true;
    world.publish(world.west);
    BOOST_TEST(world.until_linked());
    start_long(world, 5);
    world.west.config.listeners.clear();
    world.publish(world.west);
    BOOST_TEST(world.until_idle(Duration::seconds(1)));
    world.for_each(check_reset);
    BOOST_TEST(world.until([&] { return world.west.closed(CloseReason::listener_deleted) == 5; }));
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_deleted_connector_that_drops_ends_its_exchanges) {
  FOR_SEEDS(36, seed) {
    World world(seed, arrangement_of(seed));
    world.east().config.connectors[0].drops_connections = true;
    world.publish(world.east());
    BOOST_TEST(world.until_linked());
    start_long(world, 5);
    world.east().config.connectors.clear();
    world.publish(world.east());
    BOOST_TEST(world.until_idle(Duration::seconds(1)));
    world.for_each(check_reset);
    BOOST_TEST(
        world.until([&] { return world.east().closed(CloseReason::connector_deleted) == 5; }));
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_drain_lets_exchanges_end_until_its_deadline) {
  FOR_SEEDS(36, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    const FlowPlan slow{.bytes = 300'000, .write_pause_max = Duration::milliseconds(20)};
    const Exchange& first = world.start(slow, slow);
    const FlowPlan long_and_slow{
        .bytes = kLong, .finale = Finale::stay, .write_pause_max = Duration::milliseconds(20)};
    const Exchange& endless = world.start(long_and_slow, long_and_slow);
    world.run_for(Duration::milliseconds(50));
    world.west.drain(Duration::seconds(10));
    world.run_for(Duration::milliseconds(50));
    const Exchange& late = world.start({.bytes = 1}, {.bytes = 1});
    BOOST_TEST(world.until([&] {
      return first.client->is_done() && first.servers[0]->is_done() && late.client->is_done();
    }));
    check_complete(first);
    BOOST_TEST(late.client->error() == ECONNREFUSED);
    BOOST_TEST(!endless.client->is_done());
    BOOST_TEST(world.until_idle(Duration::seconds(11)));
    check_reset(endless);
    world.finish();
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
