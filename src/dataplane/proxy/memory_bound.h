// Keeps the octets that wait in all exchanges within Limits::buffered_bytes_max. One per worker;
// the gauge is the process's. Above the bound at least one worker holds more than its part, the
// bound over the workers: that one acts, and goes no lower than its part.
//
// From three quarters of the bound on memory is tight: a direction of an exchange gets no more
// credit than fills its share (three quarters over the open exchanges), so that slow readers'
// windows shrink. Above the bound new exchanges are refused, and the largest of those that nothing
// left from for kStalledAfter are reset. A quarter above it the largest are reset whatever they do:
// credit that was granted to other sites cannot be taken back. Each is counted and closed as
// memory_limit.
//
// Owned by its Worker, which outlives its exchanges; on the worker's thread.
#pragma once

#include <cstdint>

#include "base/log_limiter.h"
#include "dataplane/io/loop.h"

namespace istmo::proxy {

class Worker;

class MemoryBound {
 public:
  static constexpr Duration kStalledAfter = Duration::seconds(5);
  static constexpr Duration kPace = Duration::milliseconds(100);
  static constexpr uint64_t kShareBytesMin = 32 * 1024;  // less is not announced on a link

  explicit MemoryBound(Worker& worker) : worker_(worker) {}
  void set_bytes_max(uint64_t bytes);
  // No exchange is left: no timer either.
  void stop();

  void add(uint64_t count);
  void drop(uint64_t count);

  bool has_room() const { return held_by_process() <= bytes_max_; }
  bool is_tight() const { return held_by_process() > tight_bytes(); }
  // Of one direction of an exchange while memory is tight: octets held and still to come.
  uint64_t share_bytes() const;

 private:
  uint64_t held_by_process() const;
  uint64_t tight_bytes() const { return bytes_max_ / 4 * 3; }
  void watch();
  void on_timer();
  void reset_largest(uint64_t bytes, bool only_stalled);

  Worker& worker_;
  uint64_t bytes_max_ = UINT64_MAX;
  uint64_t part_bytes_ = UINT64_MAX;  // of bytes_max_, this worker's
  uint64_t held_bytes_ = 0;           // by this worker
  LogLimiter log_;
  io::TimerOf<MemoryBound, &MemoryBound::on_timer> timer_{*this};
};

}  // namespace istmo::proxy
