// Keeps lines that anybody outside can cause from filling the log: a few per window of time, the
// rest is counted. Owned by whoever writes them, on its thread.
//
//   if (refusals_.allows(now)) LOG_WARNING("refused", "left_out", refusals_.take_left_out());
#pragma once

#include <cstdint>
#include <utility>

#include "base/clock.h"

namespace istmo {

class LogLimiter {
 public:
  static constexpr uint32_t kLinesMax = 10;
  static constexpr Duration kWindow = Duration::seconds(10);

  bool allows(Instant now) {
    if (lines_ == 0 || now - window_start_ >= kWindow) {
      window_start_ = now;
      lines_ = 0;
    }
    if (lines_ < kLinesMax) return ++lines_, true;
    ++left_out_;
    return false;
  }
  // Lines that were not allowed since the last call.
  uint64_t take_left_out() { return std::exchange(left_out_, 0); }

 private:
  Instant window_start_;
  uint32_t lines_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace istmo
