#include "dataplane/io/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace istmo::io {
namespace {

constexpr uint64_t kNoTick = UINT64_MAX;

}  // namespace

TimerWheel::TimerWheel(Instant start) : start_(start), now_(start) {}

void TimerWheel::arm(Timer& timer, Instant deadline) {
  timer.unlink();
  timer.deadline_ = deadline;
  if (deadline <= now_) overdue_.push_back(timer);
  else place(timer);
}

void TimerWheel::advance(Instant now) {
  ASSERT(now >= now_);
  now_ = now;
  fire(overdue_);
  const auto last = static_cast<uint64_t>((now - start_).ns / kTick.ns);
  for (uint64_t tick = next_tick(); tick <= last; tick = next_tick()) {
    move_to(tick);  // may bring timers of this tick down to level 0
    Slot due;
    due.splice_back(levels_[0].slots[tick % kSlots]);
    if (due.empty()) continue;
    move_to(tick + 1);  // before the handlers, which may arm
    fire(due);
  }
  if (current_ <= last) move_to(last + 1);
}

Instant TimerWheel::next_wake() const {
  if (!overdue_.empty()) return now_;
  const uint64_t tick = next_tick();
  if (tick == kNoTick) return Instant::never();
  return start_ + kTick * static_cast<int64_t>(tick);
}

uint32_t TimerWheel::armed_count() const {
  uint32_t count = overdue_.count();
  for (const Level& level : levels_) {
    for (const Slot& slot : level.slots) count += slot.count();
  }
  return count;
}

// Rounded up: a timer never fires before its deadline.
uint64_t TimerWheel::tick_of(Instant deadline) const {
  const int64_t ns = (deadline - start_).ns;
  const auto tick = static_cast<uint64_t>(ns / kTick.ns + (ns % kTick.ns > 0 ? 1 : 0));
  return std::min(tick, kTickMax);
}

void TimerWheel::place(Timer& timer) {
  const uint64_t tick = tick_of(timer.deadline_);
  ASSERT(tick >= current_);
  const uint64_t difference = tick ^ current_;
  const int level = difference == 0 ? 0 : (std::bit_width(difference) - 1) / kBits;
  const uint64_t slot = (tick >> (level * kBits)) % kSlots;
  levels_[level].slots[slot].push_back(timer);
  levels_[level].occupied |= uint64_t{1} << slot;
}

// The tick of the nearest timer, or the earlier one at which a slot above it must be spread.
uint64_t TimerWheel::next_tick() const {
  for (int level = 0; level < kLevels; ++level) {
    const Level& in = levels_[level];
    while (in.occupied != 0) {
      const auto slot = static_cast<uint64_t>(std::countr_zero(in.occupied));
      if (!in.slots[slot].empty()) {
        const int shift = level * kBits;
        const uint64_t above = current_ >> (shift + kBits) << (shift + kBits);
        return above | slot << shift;
      }
      in.occupied &= ~(uint64_t{1} << slot);
    }
  }
  return kNoTick;
}

// Advances to `tick`, which is not behind next_tick(), and spreads the slots that begin there.
void TimerWheel::move_to(uint64_t tick) {
  current_ = tick;
  for (int level = kLevels - 1; level > 0; --level) {
    const uint64_t slot = (tick >> (level * kBits)) % kSlots;
    if ((levels_[level].occupied >> slot & 1) == 0) continue;
    Slot spread;
    spread.splice_back(levels_[level].slots[slot]);
    levels_[level].occupied &= ~(uint64_t{1} << slot);
    while (!spread.empty()) place(spread.pop_front());
  }
}

// Fires what is in `slot` now; what handlers add to it waits for the next advance.
void TimerWheel::fire(Slot& slot) {
  Slot due;
  due.splice_back(slot);
  while (!due.empty()) {
    Timer& timer = due.pop_front();
    timer.handler_(timer);  // may end the timer
  }
}

}  // namespace istmo::io
