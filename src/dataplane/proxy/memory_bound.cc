#include "dataplane/proxy/memory_bound.h"

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {

void MemoryBound::stop() { worker_.loop().timers().cancel(timer_); }

void MemoryBound::set_bytes_max(uint64_t bytes) {
  bytes_max_ = bytes;
  part_bytes_ = bytes / worker_.worker_count();
  watch();
}

void MemoryBound::add(uint64_t count) {
  worker_.process().buffered_bytes.add(static_cast<int64_t>(count));
  held_bytes_ += count;
  watch();
}

void MemoryBound::drop(uint64_t count) {
  ASSERT(held_bytes_ >= count);
  worker_.process().buffered_bytes.add(-static_cast<int64_t>(count));
  held_bytes_ -= count;
}

uint64_t MemoryBound::share_bytes() const {
  const auto exchanges = std::max<int64_t>(worker_.process().streams_open.value(), 1);
  return std::max(tight_bytes() / static_cast<uint64_t>(exchanges), kShareBytesMin);
}

uint64_t MemoryBound::held_by_process() const {
  return static_cast<uint64_t>(std::max<int64_t>(worker_.process().buffered_bytes.value(), 0));
}

void MemoryBound::watch() {
  if (held_bytes_ <= part_bytes_ || timer_.is_armed()) return;
  worker_.loop().timers().arm(timer_, worker_.loop().now() + kPace);
}

void MemoryBound::on_timer() {
  const uint64_t held = held_by_process();
  if (held > bytes_max_ && held_bytes_ > part_bytes_) {
    const uint64_t excess = held - bytes_max_;
    reset_largest(std::min(excess, held_bytes_ - part_bytes_), excess <= bytes_max_ / 4);
  }
  watch();
}

void MemoryBound::reset_largest(uint64_t bytes, bool only_stalled) {
  const Instant stalled_since = worker_.loop().now() - kStalledAfter;
  std::vector<Tunnel*> largest;
  worker_.for_each_tunnel([&](Tunnel& tunnel) {
    if (tunnel.buffered_bytes() == 0) return;
    if (!only_stalled || tunnel.last_progress() <= stalled_since) largest.push_back(&tunnel);
  });
  std::ranges::sort(largest, std::ranges::greater{}, &Tunnel::buffered_bytes);
  uint64_t freed = 0;
  size_t count = 0;
  for (; count < largest.size() && freed < bytes; ++count) {
    freed += largest[count]->buffered_bytes();
    largest[count]->end(CloseReason::memory_limit);
  }
  if (count == 0 || !log_.allows(worker_.loop().now())) return;
  LOG_WARNING("exchanges reset: too many octets wait", "bufferedBytesMax", bytes_max_, "reset",
              count, "bytes", freed, "left_out", log_.take_left_out());
}

}  // namespace istmo::proxy
