// One timer wheel per worker: arming and cancelling cost a few nanoseconds and no kernel call.
// A deadline is met within one tick (kTick) after it, never before.
//
// A Timer is a member of its owner, unlinks itself when it is destroyed, and belongs to the
// wheel's thread. Handlers may arm and cancel any timer, their own included, and end its owner.
#pragma once

#include <array>
#include <cstdint>

#include "base/clock.h"
#include "base/list.h"

namespace istmo::io {

class Timer : public ListNode<Timer> {
 public:
  using Handler = void (*)(Timer&);
  explicit Timer(Handler handler) : handler_(handler) {}
  bool is_armed() const { return is_linked(); }
  Instant deadline() const { return deadline_; }  // meaningful while armed

 private:
  friend class TimerWheel;
  Handler handler_;
  Instant deadline_;
};

// A timer that calls a member function: TimerOf<Link, &Link::on_heartbeat> heartbeat_{*this};
template <class Owner, void (Owner::*kMethod)()>
class TimerOf final : public Timer {
 public:
  explicit TimerOf(Owner& owner) : Timer(&fire), owner_(owner) {}

 private:
  static void fire(Timer& timer) { (static_cast<TimerOf&>(timer).owner_.*kMethod)(); }
  Owner& owner_;
};

class TimerWheel {
 public:
  static constexpr Duration kTick = Duration::milliseconds(2);

  explicit TimerWheel(Instant start);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Arms or re-arms. A deadline in the past fires at the next advance().
  void arm(Timer& timer, Instant deadline);
  void cancel(Timer& timer) { timer.unlink(); }

  // Fires every timer whose tick has passed, in order of ticks. `now` never goes back.
  void advance(Instant now);
  // A moment at which advance() is worth calling: never later than one tick after the earliest
  // deadline, possibly earlier. Instant::never() when no timer is armed.
  Instant next_wake() const;
  // Timers that are armed. Walks the wheel: for checkers.
  uint32_t armed_count() const;

 private:
  // A radix wheel: a timer lies on the level of the highest 6-bit digit in which its tick differs
  // from current_, so whatever lies on a lower level is due earlier than all above it.
  static constexpr int kLevels = 6;  // 64^6 ticks of 2 ms: 4 years
  static constexpr int kBits = 6;
  static constexpr uint64_t kSlots = 1 << kBits;
  static constexpr uint64_t kTickMax = (uint64_t{1} << (kLevels * kBits)) - 1;
  using Slot = List<Timer, Timer>;
  struct Level {
    std::array<Slot, kSlots> slots;
    // One bit per slot that may hold timers. A hint: timers unlink themselves unseen.
    mutable uint64_t occupied = 0;
  };

  uint64_t tick_of(Instant deadline) const;
  void place(Timer& timer);
  uint64_t next_tick() const;
  void move_to(uint64_t tick);
  static void fire(Slot& slot);

  Instant start_;
  Instant now_;           // of the last advance
  uint64_t current_ = 0;  // the next tick to run
  Slot overdue_;          // armed with a deadline that had passed
  std::array<Level, kLevels> levels_;
};

}  // namespace istmo::io
