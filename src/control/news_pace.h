// How often news is acted upon: at once, but not within kPause of the last time, and so that acting
// on it takes at most a fifth of this thread's time. Neighbours, and who has documents or pods in a
// cluster, can change what is there as often as they like; each change means compiling, publishing
// and telling the others.
//
// Owned by the controller or the Kubernetes source, control thread only.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace istmo::control {

class NewsPace {
 public:
  static constexpr Duration kPause = Duration::milliseconds(50);

  void on_news() { has_news_ = true; }
  // When to act; Instant::never(): there is no news.
  Instant due() const { return has_news_ ? not_before_ : Instant::never(); }
  // True: act on all news now.
  bool take(Instant now) {
    if (now < due()) return false;
    has_news_ = false;
    not_before_ = now + kPause;
    return true;
  }
  // Acting took this long, and ended now.
  void on_acted(Instant now, Duration took) { not_before_ = std::max(not_before_, now + took * 4); }

 private:
  bool has_news_ = false;
  Instant not_before_;
};

}  // namespace istmo::control
