// Links between two sites: how many there are, and what a link that dies silently does.
#include <boost/test/unit_test.hpp>

#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;

// Two sites only.
WorldPlan linked_of(uint64_t seed) {
  WorldPlan plan = arrangement_of(seed * 2 + 2);
  if (!plan.has_link()) plan.east_workers = 1;
  return plan;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(links)

BOOST_AUTO_TEST_CASE(every_arrangement_has_the_connections_that_its_workers_need) {
  FOR_SEEDS(48, seed) {
    World world(seed, linked_of(seed));
    world.disturb(seed);
    BOOST_TEST(world.until_linked());
    const uint32_t wanted = std::max(world.plan.west_workers, world.plan.east_workers);
    BOOST_TEST(world.west.links_open() == wanted);
    BOOST_TEST(world.east().links_open() == wanted);
    BOOST_TEST(
        world.until([&] { return world.west.is_mesh_open() && world.east().is_mesh_open(); }));
    world.finish();
  }
}

// By silence, by a reset from outside, and by an end in order.
BOOST_AUTO_TEST_CASE(each_loss_of_a_connection_is_told_once) {
  enum class Loss : uint8_t { silence, reset, end };
  for (const Loss loss : {Loss::silence, Loss::reset, Loss::end}) {
    World world(7, {.east_dials = false});
    BOOST_TEST(world.until_linked());
    switch (loss) {
      case Loss::silence: world.cut_link(); break;
      case Loss::reset: world.network.set_faults({.reset = 1'000'000}); break;
      case Loss::end:
        world.west.config.links.clear();
        world.publish(world.west);
        break;
    }
    const auto is_lost = [&] { return world.west.links_lost() + world.east().links_lost() >= 2; };
    BOOST_TEST(world.until(is_lost));
    world.network.set_faults({});
    world.run_for(Duration::milliseconds(20));
    BOOST_TEST(world.west.links_lost() == 1u);
    BOOST_TEST(world.east().links_lost() == 1u);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(streams_of_a_dead_link_end_with_resets_within_six_seconds) {
  FOR_SEEDS(30, seed) {
    World world(seed, linked_of(seed));
    BOOST_TEST(world.until_linked());
    for (int i = 0; i < 6; ++i) {
      // Some busy, some silent.
      const uint64_t bytes = i % 2 == 0 ? 2000 : 100'000'000;
      world.start({.bytes = bytes, .finale = Finale::stay},
                  {.bytes = bytes, .finale = Finale::stay});
    }
    world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(100, 900))));
    world.cut_link();
    BOOST_TEST(world.until_idle(Duration::seconds(6)));
    world.for_each(check_reset);
    BOOST_TEST(world.west.closed(CloseReason::link_lost) == 6u);
    BOOST_TEST(world.east().closed(CloseReason::link_lost) == 6u);
    world.finish();
  }
}

// A record of 16 KiB takes longer than the idle timeout here, and no frame is read before its end.
BOOST_AUTO_TEST_CASE(link_on_which_octets_come_slowly_is_alive) {
  WorldPlan plan;
  plan.options.segment_bytes_max = 1000;
  World world(11, plan);
  BOOST_TEST(world.until_linked());
  world.west.config.listeners[0].tcp.connect_timeout = Duration::seconds(100);
  world.publish(world.west);
  world.network.set_path(
      world.west_host, world.east_host,
      {.latency = Duration::milliseconds(2), .jitter = {}, .bytes_per_second = 2'500});
  const Exchange& exchange = world.start({.bytes = 200'000}, {});
  world.run_for(Duration::seconds(60));
  BOOST_TEST(world.west.links_lost() + world.east().links_lost() == 0u);
  BOOST_REQUIRE(exchange.servers.size() == 1u);
  BOOST_TEST(!exchange.servers[0]->is_done());
  BOOST_TEST(world.until_idle());
  check_complete(exchange);
  world.finish();
}

BOOST_AUTO_TEST_CASE(without_a_link_new_connections_wait_and_are_then_reset) {
  FOR_SEEDS(36, seed) {
    World world(seed, linked_of(seed));
    BOOST_TEST(world.until_linked());
    world.cut_link();
    world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(0, 9000))));
    for (int i = 0; i < 5; ++i) world.start({.bytes = 100}, {.bytes = 100});
    const Duration longest = world.listener().tcp.connect_timeout + Duration::milliseconds(200);
    BOOST_TEST(world.until_idle(longest + Duration::seconds(1)));
    for (const auto& [id, exchange] : world.book.exchanges()) {
      BOOST_TEST(exchange->client->was_reset());
      const Duration waited = exchange->client->done_at() - exchange->client->started_at();
      BOOST_TEST(waited.to_milliseconds() <= longest.to_milliseconds());
    }
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(within_two_seconds_of_restoration_new_streams_pass) {
  FOR_SEEDS(30, seed) {
    World world(seed, linked_of(seed));
    BOOST_TEST(world.until_linked());
    world.start({.bytes = 100'000'000}, {.bytes = 100'000'000});
    world.cut_link();
    world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(6'000, 40'000))));
    BOOST_TEST(world.book.is_idle());
    world.restore_link();
    const Exchange& next = world.start({.bytes = 100}, {.bytes = 100});
    BOOST_TEST(world.until([&] { return next.client->is_done(); }, Duration::seconds(2)));
    check_complete(next);
    BOOST_TEST(world.until_linked(Duration::seconds(3)));
    world.finish();
  }
}

// A site that refuses what we are, each time we come: both would do nothing but shake hands.
BOOST_AUTO_TEST_CASE(a_link_that_always_ends_soon_after_it_opened_is_dialed_less_and_less_often) {
  FOR_SEEDS(12, seed) {
    World world(seed, linked_of(seed));
    Site& dialer = world.plan.east_dials ? world.east() : world.west;
    Site& acceptor = world.plan.east_dials ? world.west : world.east();
    dialer.mesh_greeting = "not what is expected";
    acceptor.mesh_refusal = "not what was expected";
    world.run_for(Duration::seconds(20));
    const uint64_t links = acceptor.links_lost();
    BOOST_TEST(links >= 4u);
    // The mesh, which is what is refused, moves to the next connection each time.
    BOOST_TEST(links <= 30u * std::max(dialer.workers(), acceptor.workers()));
    acceptor.mesh_refusal.clear();
    BOOST_TEST(world.until_linked(Duration::seconds(20)));  // 10 s apart in the end
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_link_that_flaps_leaves_nothing) {
  FOR_SEEDS(30, seed) {
    World world(seed, linked_of(seed));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    // Open until the first cut, which lasts long enough to be noticed.
    world.start({.bytes = 100, .finale = Finale::stay}, {.bytes = 100, .finale = Finale::stay});
    world.run_for(Duration::milliseconds(100));
    for (int flap = 0; flap < 5; ++flap) {
      for (int i = 0; i < 5; ++i) {
        world.start({.bytes = world.random(0, 400'000)}, {.bytes = world.random(0, 400'000)});
      }
      world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(0, 300))));
      world.cut_link();
      const uint64_t shortest_ms = flap == 0 ? 6'000 : 0;
      world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(shortest_ms, 8'000))));
      world.restore_link();
      world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(0, 3'000))));
    }
    BOOST_TEST(world.until_linked(Duration::seconds(20)));
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete_or_reset);
    BOOST_TEST(world.book.outcomes().completed > 0u);
    BOOST_TEST(world.book.outcomes().resets > 0u);
    world.finish();
  }
}

// An exchange on a link that is lost before its answer may have reached a server already.
BOOST_AUTO_TEST_CASE(what_left_on_a_lost_link_is_never_sent_to_a_second_server) {
  uint64_t resets = 0;
  FOR_SEEDS(48, seed) {
    World world(seed, {.west_workers = 1, .east_workers = 4, .backends = 2});
    world.network.set_path(world.east().host(), world.server_host,
                           {.latency = Duration::milliseconds(20), .bytes_per_second = 25'000'000});
    BOOST_TEST(world.until_linked());
    world.network.set_faults({.reset = 10'000});
    for (int i = 0; i < 60; ++i) {
      world.start({.bytes = 10}, {.bytes = 10});
      world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(0, 20))));
    }
    BOOST_TEST(world.until_idle());
    resets += world.book.outcomes().resets;
    for (const auto& [id, exchange] : world.book.exchanges()) {
      BOOST_TEST(exchange->servers.size() <= 1u);
    }
    world.finish();
  }
  BOOST_TEST(resets > 0u);
}

BOOST_AUTO_TEST_CASE(a_short_interruption_is_survived) {
  FOR_SEEDS(36, seed) {
    World world(seed, linked_of(seed));
    BOOST_TEST(world.until_linked());
    for (int i = 0; i < 5; ++i) world.start({.bytes = 800'000}, {.bytes = 800'000});
    world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(0, 20))));
    world.cut_link();
    world.run_for(Duration::milliseconds(1000));  // TCP sends again within 2 s of the cut
    world.restore_link();
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
    BOOST_TEST(world.book.outcomes().resets == 0u);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_deleted_link_resets_its_streams_and_comes_back_with_its_document) {
  FOR_SEEDS(36, seed) {
    World world(seed, linked_of(seed));
    BOOST_TEST(world.until_linked());
    Site& dialer = world.plan.east_dials ? world.east() : world.west;
    const auto links = dialer.config.links;
    world.start({.bytes = 100'000'000}, {.bytes = 100'000'000});
    world.run_for(Duration::milliseconds(50));
    dialer.config.links.clear();
    world.publish(dialer);
    BOOST_TEST(world.until_idle(Duration::seconds(3)));
    world.for_each(check_complete_or_reset);
    BOOST_TEST(world.book.outcomes().resets == 1u);
    BOOST_TEST(
        world.until([&] { return world.west.links_open() + world.east().links_open() == 0; }));
    dialer.config.links = links;
    world.publish(dialer);
    const Exchange& next = world.start({.bytes = 100}, {.bytes = 100});
    BOOST_TEST(world.until_idle());
    check_complete(next);
    world.finish();
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
