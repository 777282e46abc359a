// Time as the data plane sees it: nanoseconds of a monotonic clock, read once per loop turn.
#pragma once

#include <compare>
#include <cstdint>

namespace istmo {

// A span of time. May be negative as the difference of two instants.
struct Duration {
  int64_t ns = 0;
  static constexpr Duration nanoseconds(int64_t n) { return {n}; }
  static constexpr Duration microseconds(int64_t n) { return {n * 1'000}; }
  static constexpr Duration milliseconds(int64_t n) { return {n * 1'000'000}; }
  static constexpr Duration seconds(int64_t n) { return {n * 1'000'000'000}; }
  constexpr int64_t to_milliseconds() const { return ns / 1'000'000; }
  friend constexpr auto operator<=>(Duration, Duration) = default;
  friend constexpr Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
  friend constexpr Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
  friend constexpr Duration operator*(Duration a, int64_t n) { return {a.ns * n}; }
  friend constexpr Duration operator/(Duration a, int64_t n) { return {a.ns / n}; }
};

// A point on the monotonic clock (CLOCK_MONOTONIC; in simulation: virtual time).
struct Instant {
  int64_t ns = 0;
  static constexpr Instant never() { return {INT64_MAX}; }
  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant a, Duration d) { return {a.ns + d.ns}; }
  friend constexpr Instant operator-(Instant a, Duration d) { return {a.ns - d.ns}; }
  friend constexpr Duration operator-(Instant a, Instant b) { return {a.ns - b.ns}; }
};

// Reads CLOCK_MONOTONIC. In src/dataplane only a Loop calls it; everybody else asks Loop::now().
Instant monotonic_now();

}  // namespace istmo
