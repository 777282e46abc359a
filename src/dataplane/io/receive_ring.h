// The provided-buffer ring through which the kernel takes blocks of the pool for receives.
//
// Owned by a UringLoop, lives on its thread; closed before the io_uring that it is registered with.
// The kernel consumes blocks strictly in the order in which they were added, and a completion
// names only the first of those that it filled: the order is kept here.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "dataplane/io/block_pool.h"

namespace istmo::io {

class ReceiveRing {
 public:
  static constexpr uint16_t kGroup = 0;

  ReceiveRing(io_uring& ring, BlockPool& pool) : ring_(ring), pool_(pool) {}
  ReceiveRing(const ReceiveRing&) = delete;
  ReceiveRing& operator=(const ReceiveRing&) = delete;

  Result<> open();
  void close();
  // Hands all ready blocks to the kernel. Once per turn.
  void refill();
  // The bytes of a completion whose first block is `first`.
  Chain collect(uint16_t first, uint32_t bytes);
  // Gives the memory of blocks from `first` on that the kernel holds and has not written to back.
  // Linux 6.8+; before, it comes back as the blocks do.
  void discard_unused(uint32_t first);
  // Blocks that the kernel holds, as the kernel counts them (Linux 6.8+), or -1.
  int count_in_kernel() { return io_uring_buf_ring_available(&ring_, entries_, kGroup); }

 private:
  io_uring& ring_;
  BlockPool& pool_;
  io_uring_buf_ring* entries_ = nullptr;
  uint32_t mask_ = 0;
  uint32_t tail_ = 0;
  std::vector<uint16_t> order_;     // block ids by place in the ring
  std::vector<uint32_t> place_of_;  // by block id
};

}  // namespace istmo::io
