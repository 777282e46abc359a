// Whom to ask the API server for, and from when. Requests are paced, a few wait for their answers
// at a time, and all are held back while the server cannot be reached or asks to wait.
//
// For one thread; borrows the generator.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/assert.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/rng.h"
#include "control/kubernetes/rate.h"

namespace istmo::control {

struct RequestPace {
  uint32_t per_second = 200;
  uint32_t at_once = 100;
  uint32_t in_flight_max = 4;
  Duration backoff_min;
  Duration backoff_max;
};

template <class Key>
class RequestQueue {
 public:
  RequestQueue(const RequestPace& pace, Rng& rng)
      : rng_(rng),
        in_flight_max_(pace.in_flight_max),
        rate_(pace.per_second, pace.at_once),
        backoff_(pace.backoff_min, pace.backoff_max) {}

  // From `at` on, in place of what was said of it before.
  void put(const Key& key, Instant at) {
    drop(key);
    places_.emplace(key, at);
    due_.emplace(at, key);
  }
  void drop(const Key& key) {
    const auto place = places_.find(key);
    if (place == places_.end()) return;
    due_.erase({place->second, key});
    places_.erase(place);
  }
  // Whom to ask for now; its answer is awaited then.
  std::optional<Key> take(Instant now) {
    if (wake_at(now) > now) return std::nullopt;
    const Key key = due_.begin()->second;
    drop(key);
    ++in_flight_;
    rate_.on_done(now);
    return key;
  }
  // When take() has something if nothing comes before; never: it has nothing.
  Instant wake_at(Instant now) const {
    if (due_.empty() || in_flight_ >= in_flight_max_) return Instant::never();
    return std::max({due_.begin()->first, not_before_, rate_.due(), now});
  }

  uint32_t in_flight() const { return in_flight_; }
  // Or the lack of one.
  void on_answer() {
    ASSERT(in_flight_ > 0);
    --in_flight_;
  }
  void on_server_well() { backoff_.reset(); }
  void hold_back(Instant now, Duration at_least) {
    not_before_ = now + std::max(by_chance(backoff_.next(), rng_), at_least);
  }

 private:
  Rng& rng_;
  const uint32_t in_flight_max_;
  std::map<Key, Instant> places_;
  std::set<std::pair<Instant, Key>> due_;
  uint32_t in_flight_ = 0;
  Rate rate_;
  Instant not_before_;
  Backoff backoff_;
};

// Of an HTTP status: the server may say something else soon.
inline bool is_transient(int status) { return status == 401 || status == 429 || status >= 500; }

}  // namespace istmo::control
