// When to try again what keeps failing: after a second, then after twice as long each time, up to
// ten. A try that was made earlier for another reason changes nothing.
//
// Owned by the controller, control thread only.
#pragma once

#include "base/backoff.h"
#include "base/clock.h"

namespace istmo::control {

class RetryPace {
 public:
  static constexpr Duration kFirst = Duration::seconds(1);
  static constexpr Duration kLongest = Duration::seconds(10);

  // When to try next; Instant::never(): there is nothing to try.
  Instant due() const { return due_; }
  void on_failed(Instant now) {
    if (due_ != Instant::never() && now < due_) return;
    due_ = now + backoff_.next();
  }
  // It is done, or something else is to be tried.
  void reset() { *this = {}; }

 private:
  Instant due_ = Instant::never();
  Backoff backoff_{kFirst, kLongest};
};

}  // namespace istmo::control
