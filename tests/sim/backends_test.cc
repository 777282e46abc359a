// Backends that refuse, are set aside, probed and taken back; balance; limits.
#include <boost/test/unit_test.hpp>

#include <algorithm>

#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;

WorldPlan with_backends(uint64_t seed, uint32_t backends) {
  WorldPlan plan = arrangement_of(seed);
  plan.backends = backends;
  return plan;
}

void close(World& world, Server& server) {
  server.close();
  BOOST_TEST(world.until([&] { return server.is_idle(); }));
}

// On the worker that has had to do with it.
bool is_any_set_aside(Site& site) {
  return std::ranges::any_of(site.backends(), [](const auto& each) { return each.is_set_aside; });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(backends)

BOOST_AUTO_TEST_CASE(one_that_refuses_is_replaced_before_any_octet_is_lost) {
  FOR_SEEDS(48, seed) {
    World world(seed, with_backends(seed, 2));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    close(world, *world.servers[0]);
    for (int i = 0; i < 20; ++i) world.start({.bytes = 5000}, {.bytes = 5000});
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
    BOOST_TEST(world.servers[1]->accepted() == 20u);
    world.servers[0]->open();
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(one_that_keeps_refusing_is_set_aside_probed_and_taken_back) {
  FOR_SEEDS(36, seed) {
    World world(seed, with_backends(seed, 2));
    BOOST_TEST(world.until_linked());
    close(world, *world.servers[0]);
    const auto fails_enough = [&] {
      world.start({.bytes = 10}, {.bytes = 10});
      world.until_idle();
      return is_any_set_aside(world.east());
    };
    for (int i = 0; i < 200 && !fails_enough(); ++i) {
    }
    BOOST_TEST(is_any_set_aside(world.east()));
    world.servers[0]->open();
    BOOST_TEST(world.until([&] { return !is_any_set_aside(world.east()); }, Duration::seconds(40)));
    BOOST_TEST(world.until_idle());  // the probe, seen from the server
    world.for_each(check_complete);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(when_all_refuse_the_client_is_reset) {
  FOR_SEEDS(36, seed) {
    World world(seed, with_backends(seed, 2));
    BOOST_TEST(world.until_linked());
    for (auto& server : world.servers) close(world, *server);
    for (int i = 0; i < 5; ++i) world.start({.bytes = 100}, {.bytes = 100});
    BOOST_TEST(world.until_idle(Duration::seconds(6)));
    for (const auto& [id, exchange] : world.book.exchanges()) {
      BOOST_TEST(exchange->client->was_reset());
      BOOST_TEST(!exchange->client->has_end());
    }
    // Every link connection is tried: at the other site each try is an exchange of its own.
    BOOST_TEST(world.east().closed(CloseReason::connect_refused) >= 5u);
    for (auto& server : world.servers) server->open();
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(one_that_is_silent_costs_half_of_the_connect_timeout) {
  FOR_SEEDS(24, seed) {
    World world(seed, with_backends(seed, 1));
    BOOST_TEST(world.until_linked());
    world.network.cut(world.east().host(), world.server_host);
    const Exchange& exchange = world.start({.bytes = 100}, {.bytes = 100});
    BOOST_TEST(world.until_idle(Duration::seconds(6)));
    BOOST_TEST(exchange.client->was_reset());
    world.network.restore(world.east().host(), world.server_host);
    const Exchange& next = world.start({.bytes = 100}, {.bytes = 100});
    BOOST_TEST(world.until_idle(Duration::seconds(6)));
    check_complete(next);
    world.finish();
  }
}

// Those of its connector, on one site and behind a link; the listener keeps its defaults.
BOOST_AUTO_TEST_CASE(one_that_is_silent_is_waited_for_as_its_connector_says) {
  FOR_SEEDS(24, seed) {
    World world(seed, with_backends(seed, 1));
    world.east().config.connectors[0].tcp.connect_timeout = Duration::milliseconds(300);
    world.publish(world.east());
    BOOST_TEST(world.until_linked());
    world.network.cut(world.east().host(), world.server_host);
    const Exchange& exchange = world.start({.bytes = 100}, {.bytes = 100});
    BOOST_TEST(world.until_idle(Duration::seconds(2)));  // each link connection is tried
    BOOST_TEST(exchange.client->was_reset());
    BOOST_TEST(world.west.closed(CloseReason::connect_timeout) == 1u);
    world.network.restore(world.east().host(), world.server_host);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(the_stricter_limit_of_listener_and_connector_ends_an_exchange) {
  FOR_SEEDS(24, seed) {
    World world(seed, with_backends(seed, 1));
    proxy::TcpSettings& tcp = world.east().config.connectors[0].tcp;
    const bool is_half_closed = seed % 2 == 0;
    if (is_half_closed) tcp.half_close_timeout = Duration::milliseconds(300);
    else tcp.idle_timeout = Duration::milliseconds(300);
    world.west.config.listeners[0].tcp.idle_timeout = Duration::seconds(100);
    world.publish(world.east());
    world.publish(world.west);
    BOOST_TEST(world.until_linked());
    world.start({.bytes = 10, .finale = is_half_closed ? Finale::finish : Finale::stay},
                {.bytes = 1000, .finale = Finale::stay, .is_echo = true});  // waits for more
    const auto reason =
        is_half_closed ? CloseReason::half_close_timeout : CloseReason::idle_timeout;
    const auto has_ended = [&] { return world.east().closed(reason) == 1; };
    BOOST_TEST(world.until(has_ended, Duration::seconds(1)));
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(open_exchanges_are_spread_evenly) {
  FOR_SEEDS(24, seed) {
    WorldPlan plan = with_backends(seed, 3);
    plan.west_workers = 1;
    plan.east_workers = std::min(plan.east_workers, 1u);
    World world(seed, plan);
    BOOST_TEST(world.until_linked());
    for (int i = 0; i < 30; ++i) {
      world.start({.bytes = 10, .finale = Finale::stay}, {.bytes = 10, .finale = Finale::stay});
      world.run_for(Duration::milliseconds(20));
    }
    for (const auto& server : world.servers) BOOST_TEST(server->accepted() == 10u);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_listener_takes_no_more_than_its_limit) {
  FOR_SEEDS(24, seed) {
    World world(seed, with_backends(seed, 1));
    world.west.config.listeners[0].connections_max = 5;
    world.publish(world.west);
    BOOST_TEST(world.until_linked());
    for (int i = 0; i < 12; ++i) {
      world.start({.bytes = 10, .finale = Finale::stay}, {.bytes = 10, .finale = Finale::stay});
    }
    world.run_for(Duration::seconds(1));
    BOOST_TEST(world.book.flows_live() == 10u);  // five clients and five servers
    BOOST_TEST(world.west.streams_open() == 5u);
    BOOST_TEST(world.servers[0]->accepted() == 5u);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(the_process_takes_no_more_streams_than_its_limit) {
  FOR_SEEDS(12, seed) {
    World world(seed, with_backends(seed, 1));
    world.west.config.limits.streams_max = 5;
    world.publish(world.west);
    BOOST_TEST(world.until_linked());
    for (int i = 0; i < 12; ++i) {
      world.start({.bytes = 10, .finale = Finale::stay}, {.bytes = 10, .finale = Finale::stay});
    }
    world.run_for(Duration::seconds(1));
    BOOST_TEST(world.west.streams_open() == 5u);
    BOOST_TEST(world.west.closed(CloseReason::connections_limit) == 7u);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(without_descriptors_accepting_waits_and_goes_on) {
  FOR_SEEDS(24, seed) {
    World world(seed, with_backends(seed, 1));
    BOOST_TEST(world.until_linked());
    world.network.set_sockets_max(world.west_host, world.network.open_sockets(world.west_host) + 4);
    const FlowPlan some{.bytes = 20'000};
    for (int i = 0; i < 20; ++i) world.start(some, some);
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete_or_reset);  // one site: a connect may find no descriptor
    for (const auto& backend : world.east().backends()) {
      BOOST_TEST(!backend.is_set_aside);
      BOOST_TEST(backend.failures_total == 0u);  // it was not the backend's fault
    }
    BOOST_TEST(world.west.closed(CloseReason::connect_refused) == 0u);
    BOOST_TEST(world.book.outcomes().completed > 0u);
    world.network.set_sockets_max(world.west_host, UINT32_MAX);
    const Exchange& next = world.start(some, some);
    BOOST_TEST(world.until_idle());
    check_complete(next);
    world.finish();
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
