// How long to wait between tries: doubled from failure to failure up to the longest, the first
// again after a success. A value, for one thread.
#pragma once

#include <algorithm>

#include "base/clock.h"
#include "base/rng.h"

namespace istmo {

class Backoff {
 public:
  constexpr Backoff(Duration first, Duration longest)
      : first_(first), longest_(longest), pause_(first) {}

  // After one more failure.
  Duration next() {
    const Duration pause = pause_;
    pause_ = std::min(pause_ * 2, longest_);
    return pause;
  }
  void reset() { pause_ = first_; }

 private:
  Duration first_;
  Duration longest_;
  Duration pause_;
};

// From half of `pause` to all of it, so that many who fail together do not come back together.
inline Duration by_chance(Duration pause, Rng& rng) {
  const auto most = static_cast<uint64_t>(pause.ns);
  return {static_cast<int64_t>(rng.between(most / 2, most))};
}

}  // namespace istmo
