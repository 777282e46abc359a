#include "dataplane/io/receive_ring.h"

#include <algorithm>
#include <bit>

namespace istmo::io {

Result<> ReceiveRing::open() {
  // For the most blocks that there may be, so that the ring never has to be made again.
  const uint32_t count = std::bit_ceil(pool_.total_max());
  int error = 0;
  entries_ = io_uring_setup_buf_ring(&ring_, count, kGroup, 0, &error);
  if (!entries_) return Error::from_errno(-error, "registering the receive buffers");
  mask_ = count - 1;
  order_.resize(count);
  place_of_.resize(pool_.total_max());
  return {};
}

void ReceiveRing::close() {
  if (entries_) io_uring_free_buf_ring(&ring_, entries_, mask_ + 1, kGroup);
  entries_ = nullptr;
}

void ReceiveRing::refill() {
  narrow();
  int added = 0;
  while (pool_.has_ready() && blocks_ < blocks_max_) {
    const uint32_t id = pool_.take();
    io_uring_buf_ring_add(entries_, pool_.data_of(id), pool_.block_bytes(),
                          static_cast<uint16_t>(id), static_cast<int>(mask_), added++);
    order_[tail_ & mask_] = static_cast<uint16_t>(id);
    place_of_[id] = tail_++;
    ++blocks_;
  }
  if (added > 0) io_uring_buf_ring_advance(entries_, added);
}

// Half as many, once half of them have not been used for a while.
void ReceiveRing::narrow() {
  constexpr uint32_t kRefills = 256;
  blocks_left_ = std::min(blocks_left_, blocks_);
  if (++refills_ < kRefills) return;
  if (blocks_left_ >= blocks_max_ / 2) blocks_max_ = std::max(blocks_max_ / 2, kBlocksMin);
  blocks_left_ = blocks_max_;
  refills_ = 0;
}

Chain ReceiveRing::collect(uint16_t first, uint32_t bytes) {
  ASSERT(first < place_of_.size());
  Chain chain;
  uint32_t place = place_of_[first];
  do {  // at least one: the end of a stream may have used up a block too
    const uint32_t id = order_[place++ & mask_];
    --blocks_;
    const uint32_t part = std::min(bytes, pool_.block_bytes());
    if (part > 0) chain.append(pool_.filled(id, part));
    else pool_.put_back(id);
    bytes -= part;
  } while (bytes > 0);
  return chain;
}

// The kernel takes blocks only while we are in it (DEFER_TASKRUN), so its count holds until then.
void ReceiveRing::discard_unused(uint32_t first) {
  const int count = count_in_kernel();
  for (int i = 1; i <= count; ++i) {
    const uint32_t id = order_[(tail_ - static_cast<uint32_t>(i)) & mask_];
    if (id >= first) pool_.discard(id, id + 1);
  }
}

}  // namespace istmo::io
