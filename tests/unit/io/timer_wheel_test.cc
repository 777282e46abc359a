#include "dataplane/io/timer_wheel.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/rng.h"

using namespace istmo;
using namespace istmo::io;

namespace {

constexpr Instant kStart{1'234'567};

struct Alarm {
  void on_time() {
    ++rings;
    if (again > Duration{}) wheel->arm(timer, now + again);
  }
  TimerWheel* wheel = nullptr;
  Instant now;
  Duration again{};
  int rings = 0;
  TimerOf<Alarm, &Alarm::on_time> timer{*this};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(timer_wheel)

BOOST_AUTO_TEST_CASE(fires_after_the_deadline_within_one_tick) {
  for (const int64_t ms : {0, 1, 3, 64, 127, 128, 129, 5'000, 262'144, 16'777'216 + 7}) {
    Alarm alarm;
    TimerWheel wheel(kStart);
    wheel.arm(alarm.timer, kStart + Duration::milliseconds(ms));
    wheel.advance(kStart + Duration::milliseconds(ms) - Duration::nanoseconds(ms > 0 ? 1 : 0));
    BOOST_TEST(alarm.rings == (ms == 0 ? 1 : 0));
    wheel.advance(kStart + Duration::milliseconds(ms) + TimerWheel::kTick);
    BOOST_TEST(alarm.rings == 1);
  }
}

BOOST_AUTO_TEST_CASE(overdue_timer_fires_at_the_next_advance) {
  TimerWheel wheel(kStart);
  wheel.advance(kStart + Duration::seconds(5));
  Alarm alarm;
  wheel.arm(alarm.timer, kStart + Duration::seconds(1));
  BOOST_TEST((wheel.next_wake() <= kStart + Duration::seconds(5)));
  wheel.advance(kStart + Duration::seconds(5));
  BOOST_TEST(alarm.rings == 1);
}

BOOST_AUTO_TEST_CASE(armed_timers_are_counted_wherever_they_lie) {
  TimerWheel wheel(kStart);
  wheel.advance(kStart + Duration::seconds(5));
  Alarm overdue, soon, late;
  {
    Alarm gone;
    wheel.arm(overdue.timer, kStart);
    wheel.arm(soon.timer, kStart + Duration::seconds(6));
    wheel.arm(late.timer, kStart + Duration::seconds(100'000));
    wheel.arm(gone.timer, kStart + Duration::seconds(6));
    BOOST_TEST(wheel.armed_count() == 4u);
  }
  wheel.cancel(late.timer);
  BOOST_TEST(wheel.armed_count() == 2u);
  wheel.advance(kStart + Duration::seconds(7));
  BOOST_TEST(wheel.armed_count() == 0u);
}

BOOST_AUTO_TEST_CASE(handler_that_arms_itself_in_the_past_does_not_hang_the_wheel) {
  TimerWheel wheel(kStart);
  Alarm alarm;
  alarm.wheel = &wheel;
  alarm.now = kStart - Duration::seconds(2);
  alarm.again = Duration::seconds(1);
  wheel.arm(alarm.timer, kStart + Duration::milliseconds(10));
  for (int i = 1; i <= 3; ++i) {
    wheel.advance(kStart + Duration::seconds(1));
    BOOST_TEST(alarm.rings == i);
  }
}

BOOST_AUTO_TEST_CASE(cancelled_and_destroyed_timers_stay_silent) {
  TimerWheel wheel(kStart);
  Alarm cancelled;
  wheel.arm(cancelled.timer, kStart + Duration::milliseconds(10));
  wheel.cancel(cancelled.timer);
  BOOST_TEST(!cancelled.timer.is_armed());
  {
    Alarm destroyed;
    wheel.arm(destroyed.timer, kStart + Duration::milliseconds(10));
  }
  BOOST_TEST((wheel.next_wake() == Instant::never()));
  wheel.advance(kStart + Duration::seconds(1));
  BOOST_TEST(cancelled.rings == 0);
}

struct Killer {
  void on_time() { victim.reset(); }
  std::unique_ptr<Alarm> victim = std::make_unique<Alarm>();
  TimerOf<Killer, &Killer::on_time> timer{*this};
};

BOOST_AUTO_TEST_CASE(handler_may_end_a_timer_of_the_same_tick) {
  TimerWheel wheel(kStart);
  Killer killer;
  wheel.arm(killer.timer, kStart + Duration::milliseconds(10));
  wheel.arm(killer.victim->timer, kStart + Duration::milliseconds(10));
  wheel.advance(kStart + Duration::seconds(1));
  BOOST_TEST(!killer.victim);
}

// Against the definition: armed timers whose deadline has passed by a tick have rung, none before.
BOOST_AUTO_TEST_CASE(random_timers_ring_once_and_in_time) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Rng rng(seed);
    TimerWheel wheel(kStart);
    struct Expected {
      std::unique_ptr<Alarm> alarm = std::make_unique<Alarm>();
      Instant deadline;
      bool is_armed = false;
      int rings = 0;
    };
    std::vector<Expected> timers(40);
    Instant now = kStart;
    for (int step = 0; step < 500; ++step) {
      Expected& one = timers[rng.below(timers.size())];
      if (rng.chance(600'000)) {
        const auto ms = static_cast<int64_t>(rng.below(uint64_t{1} << rng.below(26)));
        one.deadline = now + Duration::milliseconds(ms) + Duration::nanoseconds(rng.below(999));
        one.is_armed = true;
        wheel.arm(one.alarm->timer, one.deadline);
      } else if (rng.chance(200'000)) {
        wheel.cancel(one.alarm->timer);
        one.is_armed = false;
      }
      Instant earliest = Instant::never();
      for (const Expected& each : timers) {
        if (each.is_armed) earliest = std::min(earliest, each.deadline);
      }
      const Instant wake = wheel.next_wake();
      if (earliest == Instant::never()) BOOST_REQUIRE((wake == Instant::never()));
      else BOOST_REQUIRE((wake < std::max(earliest, now) + TimerWheel::kTick));

      const auto jump = static_cast<int64_t>(rng.below(uint64_t{1} << rng.below(34)));
      now = rng.chance(500'000) && wake != Instant::never() ? std::max(now, wake)
                                                            : now + Duration::nanoseconds(jump);
      wheel.advance(now);
      for (Expected& each : timers) {
        const bool has_rung = each.alarm->rings > each.rings;
        if (has_rung) {
          BOOST_REQUIRE(each.is_armed);
          BOOST_REQUIRE((each.deadline <= now));
          BOOST_REQUIRE(each.alarm->rings == ++each.rings);
          each.is_armed = false;
        } else if (each.is_armed) {
          BOOST_REQUIRE((each.deadline + TimerWheel::kTick > now));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
