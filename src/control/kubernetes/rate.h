// How often something may be done: so many times a second, and so many times at once after a rest.
// A value, for one thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace istmo::control {

class Rate {
 public:
  constexpr Rate(uint32_t per_second, uint32_t at_once)
      : each_{Duration::seconds(1).ns / per_second}, at_once_(at_once) {}

  // Instant in the past: now.
  Instant due() const { return next_; }
  // It was done. now >= due().
  void on_done(Instant now) {
    // A rest counts for what may be done at once and no more.
    next_ = std::max(next_, now - each_ * (at_once_ - 1)) + each_;
  }

 private:
  Duration each_;
  int64_t at_once_;
  Instant next_;
};

}  // namespace istmo::control
