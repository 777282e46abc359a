// The receive blocks of one worker: one span of address space for the most that there may be, of
// which a part is in use.
//
// Owned by a loop, lives on its thread, and must outlive every slice of its blocks. A block is
// parked (not in use), ready (free), taken (the kernel may write to it) or filled (slices refer to
// it). When few blocks are free the pool grows; at its maximum it copies what arrives to the heap
// instead of lending blocks out, so slow readers, who may hold blocks for long, can never starve
// the others: their windows bound what the copies take.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/io/buffer.h"
#include "dataplane/io/loop.h"

namespace istmo::io {

class BlockPool final : public BlockOwner {
 public:
  explicit BlockPool(const LoopOptions& options);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  uint32_t block_bytes() const { return block_bytes_; }
  uint32_t total() const { return live_; }
  uint32_t total_max() const { return max_; }
  uint32_t free_count() const { return free_; }  // ready or taken
  bool is_grown() const { return live_ > base_; }
  BlockUse use() const { return {.lent = filled_, .copied = copied_}; }

  bool has_ready() const { return !ready_.empty(); }
  // A ready block becomes taken.
  uint32_t take();
  uint8_t* data_of(uint32_t id) { return memory_ + uint64_t{id} * block_bytes_; }
  // A taken block that holds `bytes` octets: as a slice of it, or of a copy.
  Slice filled(uint32_t id, uint32_t bytes);
  // A taken block that was not written to.
  void put_back(uint32_t id);
  // Taken blocks [first, end) that certainly were not written to: gives their pages back.
  void discard(uint32_t first, uint32_t end);

  void release(Block& block) override;

  // Parks the last chunk if most blocks are free, and gives the memory of its ready blocks back;
  // that of its taken blocks follows when they come back. To be called now and then while
  // is_grown().
  void trim();

 private:
  uint32_t low() const { return live_ < 8 ? 1 : live_ / 4; }
  bool keeps_enough_without_one();
  void grow();

  const uint32_t block_bytes_;
  const uint32_t base_;  // blocks in use at least
  const uint32_t max_;
  const uint32_t page_bytes_;
  uint8_t* memory_ = nullptr;
  std::unique_ptr<Block[]> blocks_;
  std::vector<bool> is_parked_;
  std::vector<uint32_t> ready_;  // last in, first out: the warmest first
  uint32_t live_ = 0;            // blocks with a lower id are in use
  uint32_t free_ = 0;
  uint32_t filled_ = 0;
  uint64_t copied_ = 0;
};

}  // namespace istmo::io
