// The receive blocks of a simulated loop, lent and counted as a BlockPool does it: a slice of
// few octets keeps a whole block from being used. But each block has memory of its own, so that
// ASan sees who uses one that went back.
//
// Owned by a SimLoop, which must outlive every slice of its blocks.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <new>

#include "dataplane/io/buffer.h"
#include "dataplane/io/loop.h"

namespace istmo::io {

class SimBlocks final : public BlockOwner {
 public:
  explicit SimBlocks(const LoopOptions& options)
      : block_bytes_(options.block_bytes),
        lent_max_(std::max(options.block_count, options.block_count_max) / 4 * 3) {}
  ~SimBlocks() { ASSERT(use_.lent == 0); }
  SimBlocks(const SimBlocks&) = delete;
  SimBlocks& operator=(const SimBlocks&) = delete;

  uint32_t block_bytes() const { return block_bytes_; }
  BlockUse use() const { return use_; }

  // Room for `bytes` received octets: in a block, or of just that size when too many are out.
  Slice lend(uint32_t bytes) {
    ASSERT(bytes <= block_bytes_);
    if (use_.lent >= lent_max_) {
      ++use_.copied;
      return Slice::allocate(bytes);
    }
    void* memory = std::malloc(sizeof(Block) + block_bytes_);
    ASSERT(memory != nullptr);
    Block* block = ::new (memory) Block;
    *block = {.data = reinterpret_cast<uint8_t*>(block + 1),
              .size = block_bytes_,
              .references = 1,
              .owner = this};
    ++use_.lent;
    return {*block, 0, bytes};
  }

  void release(Block& block) override {
    ASSERT(use_.lent > 0);
    --use_.lent;
    std::free(&block);
  }

 private:
  const uint32_t block_bytes_;
  const uint32_t lent_max_;
  BlockUse use_;
};

}  // namespace istmo::io
