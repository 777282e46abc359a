// Whose data frame goes next on a link: deficit round robin (Shreedhar and Varghese, "Efficient
// fair queuing using deficit round robin", 1995) with a quantum of 16 KiB, and before it the sparse
// streams, which have sent and want to send at most one quantum since they were idle, as the new
// flows of FQ-CoDel do (RFC 8290 4.2).
//
// So that many sparse streams cannot starve the others, a stream of the round gets its turn after
// at most three quanta of sparse octets. Owned by a LinkMux, on its thread; holds only streams that
// may send now, and borrows them: a stream leaves by on_blocked() or on_idle() before it ends.
#pragma once

#include <cstdint>

#include "base/list.h"

namespace istmo::codec {

constexpr int64_t kQuantumBytes = 16 * 1024;

// The scheduler's part of a stream.
struct ScheduledStream : ListNode<ScheduledStream> {
  enum class Queue : uint8_t { none, sparse, round };
  Queue queue = Queue::none;
  int64_t deficit_bytes = 0;      // may be sent in this turn
  uint64_t bytes_since_idle = 0;  // sent since nothing was waiting
};

class LinkScheduler {
 public:
  bool empty() const { return sparse_.empty() && round_.empty(); }
  // The stream has something to send and may send it. Does nothing if that was known.
  void on_ready(ScheduledStream& stream, uint64_t waiting_bytes);
  // The stream has nothing to send, or may not.
  void on_blocked(ScheduledStream& stream);
  void on_idle(ScheduledStream& stream);
  // The stream whose frame goes next. Not empty().
  ScheduledStream& pick();
  // A frame of the picked stream left. Before on_blocked() or on_idle() for it.
  void on_sent(ScheduledStream& stream, uint64_t frame_bytes);

 private:
  List<ScheduledStream> sparse_;
  List<ScheduledStream> round_;
  int64_t sparse_run_bytes_ = 0;  // sent by sparse streams since the round had a turn
};

}  // namespace istmo::codec
