// Exchanges over one site and over two, in every arrangement of workers, with disturbances that
// break nothing: what the programs see must be exactly what they did.
#define BOOST_TEST_MODULE sim
#include <boost/test/unit_test.hpp>

#include "base/log.h"
#include "world.h"

namespace istmo::sim {
namespace {

struct Quiet {
  Quiet() { log::set_level(log::Level::error); }
};

constexpr uint64_t kMebibyte = 1024 * 1024;

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(Quiet);

BOOST_AUTO_TEST_SUITE(exchanges)

BOOST_AUTO_TEST_CASE(echo_is_exact) {
  FOR_SEEDS(48, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    for (int i = 0; i < 10; ++i) {
      const uint64_t bytes = world.random(0, 60'000);
      world.start({.bytes = bytes}, {.bytes = bytes, .is_echo = true});
    }
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_run_of_two_sites_repeats_from_its_seed) {
  const auto trace_of = [](uint64_t seed) {
    World world(seed, arrangement_of(seed));
    world.disturb(seed);
    for (int i = 0; i < 5; ++i) world.start({.bytes = 50'000}, {.bytes = 50'000});
    BOOST_TEST(world.until_idle());
    world.finish();
    return world.network.trace_hash();
  };
  FOR_SEEDS(12, seed) {
    BOOST_TEST(trace_of(seed) == trace_of(seed));
    BOOST_TEST(trace_of(seed) != trace_of(seed + 12));
  }
}

BOOST_AUTO_TEST_CASE(half_close_is_kept_with_a_mebibyte_in_flight) {
  FOR_SEEDS(48, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    // Request, end, then the answer; and the other way round.
    world.start({.bytes = kMebibyte + world.random(0, 99'999)},
                {.bytes = kMebibyte, .waits_for_end = true});
    world.start({.bytes = kMebibyte, .waits_for_end = true},
                {.bytes = kMebibyte + world.random(0, 99'999)});
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_reset_by_the_client_is_a_reset_at_the_server) {
  FOR_SEEDS(48, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    for (int i = 0; i < 4; ++i) {
      world.start({.bytes = world.random(0, 3 * kMebibyte / 2),
                   .finale = Finale::reset,
                   .read_pause_max = Duration::milliseconds(seed % 2 * 5)},
                  {.bytes = 4 * kMebibyte,
                   .finale = Finale::stay,
                   .read_pause_max = Duration::milliseconds(i % 2 * 5)});
    }
    BOOST_TEST(world.until_idle());
    world.for_each(check_reset);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_reset_by_the_server_is_a_reset_at_the_client) {
  FOR_SEEDS(48, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    for (int i = 0; i < 4; ++i) {
      world.start({.bytes = 4 * kMebibyte,
                   .finale = Finale::stay,
                   .read_pause_max = Duration::milliseconds(seed % 2 * 5)},
                  {.bytes = world.random(0, 3 * kMebibyte / 2),
                   .finale = Finale::reset,
                   .read_pause_max = Duration::milliseconds(i % 2 * 5)});
    }
    BOOST_TEST(world.until_idle());
    world.for_each(check_reset);
    world.finish();
  }
}

// The client's direction ended in order long before; the other one must not end.
BOOST_AUTO_TEST_CASE(a_reset_after_a_half_close_is_still_a_reset) {
  FOR_SEEDS(30, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    const Exchange& exchange = world.start(
        {.bytes = 1000}, {.bytes = kMebibyte, .finale = Finale::reset, .waits_for_end = true});
    BOOST_TEST(world.until_idle());
    BOOST_TEST(exchange.client->was_reset());
    BOOST_TEST(!exchange.client->has_end());
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(a_reader_that_stops_holds_its_window_and_no_more) {
  FOR_SEEDS(24, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    const bool is_client = seed % 2 == 0;
    FlowPlan sender{.bytes = 8 * kMebibyte, .finale = Finale::stay};
    FlowPlan reader{.finale = Finale::stay, .read_limit = 1000};
    world.start(is_client ? reader : sender, is_client ? sender : reader);
    world.run_for(Duration::seconds(3));  // every step checks the bound of one exchange
    BOOST_TEST(world.west.buffered_bytes() >= world.west.config.limits.window_bytes / 2);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(slow_readers_do_not_slow_others) {
  FOR_SEEDS(24, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    const auto time_of_one = [&] {
      const Exchange& fast = world.start({.bytes = 500'000}, {.bytes = 500'000});
      BOOST_TEST(world.until([&] { return fast.client->is_done(); }));
      check_complete(fast);
      return fast.client->done_at() - fast.client->started_at();
    };
    const Duration alone = time_of_one();
    for (int i = 0; i < 20; ++i) {
      world.start({.bytes = 2 * kMebibyte, .finale = Finale::stay, .read_limit = 1},
                  {.bytes = 2 * kMebibyte, .finale = Finale::stay, .read_limit = 20});
    }
    world.run_for(Duration::seconds(2));  // all of them stand still now
    BOOST_TEST(time_of_one().ns <= 2 * alone.ns + Duration::milliseconds(20).ns);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(pauses_and_cancel_races_lose_nothing) {
  FOR_SEEDS(48, seed) {
    WorldPlan plan = arrangement_of(seed);
    plan.limits = {.window_bytes = 64 * 1024, .link_window_bytes = 64 * 1024};
    World world(seed, plan);
    BOOST_TEST(world.until_linked());
    world.network.set_faults({.small_chunk = 50'000, .cancel_race = 500'000});
    for (int i = 0; i < 3; ++i) {
      // Both directions run into their windows again and again.
      const FlowPlan slow{.bytes = 1'000'000, .read_pause_max = Duration::milliseconds(100)};
      world.start(slow, slow);
    }
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
    BOOST_TEST(world.lowest_credit.tcp_bytes <= 0);
    if (world.plan.has_link()) BOOST_TEST(world.lowest_credit.link_bytes == 0);
    world.finish();
  }
}

BOOST_AUTO_TEST_CASE(connections_that_break_anywhere_leave_nothing) {
  FOR_SEEDS(48, seed) {
    World world(seed, arrangement_of(seed));
    BOOST_TEST(world.until_linked());
    world.disturb(seed);
    auto faults = world.network.faults();
    faults.reset = 10'000;
    world.network.set_faults(faults);
    for (int i = 0; i < 30; ++i) {
      const uint64_t bytes = world.random(0, 100'000);
      world.start({.bytes = bytes}, {.bytes = world.random(0, 100'000)});
      world.run_for(Duration::milliseconds(static_cast<int64_t>(world.random(0, 30))));
    }
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete_or_reset);
    BOOST_TEST(world.network.resets_injected() > 0u);
    BOOST_TEST(world.book.outcomes().completed > 0u);
    BOOST_TEST(world.book.outcomes().resets > 0u);
    world.finish();
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
