#include "dataplane/codec/link_scheduler.h"

namespace istmo::codec {
namespace {

constexpr int64_t kSparseRunBytesMax = 3 * kQuantumBytes;

}  // namespace

void LinkScheduler::on_ready(ScheduledStream& stream, uint64_t waiting_bytes) {
  if (stream.queue != ScheduledStream::Queue::none) return;
  const bool is_sparse = stream.bytes_since_idle + waiting_bytes <= kQuantumBytes;
  stream.queue = is_sparse ? ScheduledStream::Queue::sparse : ScheduledStream::Queue::round;
  stream.deficit_bytes = is_sparse ? kQuantumBytes : 0;
  (is_sparse ? sparse_ : round_).push_back(stream);
}

void LinkScheduler::on_blocked(ScheduledStream& stream) {
  if (stream.queue == ScheduledStream::Queue::none) return;
  stream.unlink();
  stream.queue = ScheduledStream::Queue::none;
}

void LinkScheduler::on_idle(ScheduledStream& stream) {
  on_blocked(stream);
  stream.bytes_since_idle = 0;
}

ScheduledStream& LinkScheduler::pick() {
  ASSERT(!empty());
  const bool is_turn_of_round = sparse_.empty() || sparse_run_bytes_ >= kSparseRunBytesMax;
  if (!is_turn_of_round || round_.empty()) return sparse_.front();
  while (true) {
    ScheduledStream& stream = round_.front();
    if (stream.deficit_bytes > 0) return stream;
    stream.deficit_bytes += kQuantumBytes;
    if (stream.deficit_bytes > 0) return stream;
    round_.push_back(round_.pop_front());  // still paying for a long head
  }
}

void LinkScheduler::on_sent(ScheduledStream& stream, uint64_t frame_bytes) {
  ASSERT(stream.queue != ScheduledStream::Queue::none);
  stream.deficit_bytes -= static_cast<int64_t>(frame_bytes);
  stream.bytes_since_idle += frame_bytes;
  if (stream.queue == ScheduledStream::Queue::sparse && !round_.empty()) {
    sparse_run_bytes_ += static_cast<int64_t>(frame_bytes);
  } else {
    sparse_run_bytes_ = 0;
  }
  if (stream.deficit_bytes > 0) return;
  stream.unlink();
  stream.queue = ScheduledStream::Queue::round;
  round_.push_back(stream);
}

}  // namespace istmo::codec
