// Counters and gauges. One relaxed atomic each: written by one worker or a few, read by a scraper.
//
// A component owns its metrics as members; whoever exports them knows the component.
#pragma once

#include <atomic>
#include <cstdint>

namespace istmo {

class Counter {
 public:
  void add(uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void add(int64_t difference) { value_.fetch_add(difference, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

  // Adds `difference` unless that would pass `limit`. Exact also with several threads.
  bool try_add(int64_t difference, int64_t limit) {
    if (value_.fetch_add(difference, std::memory_order_relaxed) + difference <= limit) return true;
    value_.fetch_sub(difference, std::memory_order_relaxed);
    return false;
  }

 private:
  std::atomic<int64_t> value_{0};
};

}  // namespace istmo
