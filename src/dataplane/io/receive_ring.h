// The provided-buffer ring through which the kernel takes blocks of the pool for receives.
//
// Owned by a UringLoop, lives on its thread; closed before the io_uring that it is registered with.
// The kernel consumes blocks strictly in the order in which they were added, and a completion
// names only the first of those that it filled: the order is kept here.
//
// The kernel gets few blocks at a time, because it goes through all of them: those few stay in the
// core's cache (perf/LOG.md). Who finds none makes them more; they become fewer again by
// themselves.
#pragma once

#include <liburing.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "dataplane/io/block_pool.h"

namespace istmo::io {

class ReceiveRing {
 public:
  static constexpr uint16_t kGroup = 0;
  static constexpr uint32_t kBlocksMin = 64;  // that the kernel is given, if there are so many

  ReceiveRing(io_uring& ring, BlockPool& pool) : ring_(ring), pool_(pool) {}
  ReceiveRing(const ReceiveRing&) = delete;
  ReceiveRing& operator=(const ReceiveRing&) = delete;

  Result<> open();
  void close();
  // Hands ready blocks to the kernel. Once per turn.
  void refill();
  // A receive found no block.
  void widen() { blocks_max_ = std::min(blocks_max_ * 2, mask_ + 1); }
  // The bytes of a completion whose first block is `first`.
  Chain collect(uint16_t first, uint32_t bytes);
  // Gives the memory of blocks from `first` on that the kernel holds and has not written to back.
  // Linux 6.8+; before, it comes back as the blocks do.
  void discard_unused(uint32_t first);
  // Blocks that the kernel holds, as the kernel counts them (Linux 6.8+), or -1.
  int count_in_kernel() { return io_uring_buf_ring_available(&ring_, entries_, kGroup); }

 private:
  void narrow();

  io_uring& ring_;
  BlockPool& pool_;
  io_uring_buf_ring* entries_ = nullptr;
  uint32_t mask_ = 0;
  uint32_t tail_ = 0;
  uint32_t blocks_ = 0;                // in the kernel
  uint32_t blocks_max_ = kBlocksMin;   // in the kernel at once
  uint32_t blocks_left_ = kBlocksMin;  // the fewest of late at the end of a turn
  uint32_t refills_ = 0;               // since blocks_left_ was begun anew
  std::vector<uint16_t> order_;        // block ids by place in the ring
  std::vector<uint32_t> place_of_;     // by block id
};

}  // namespace istmo::io
