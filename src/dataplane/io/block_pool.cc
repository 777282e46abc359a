#include "dataplane/io/block_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/assert.h"

namespace istmo::io {

BlockPool::BlockPool(const LoopOptions& options)
    : block_bytes_(options.block_bytes),
      base_(options.block_count),
      max_(std::max(options.block_count, options.block_count_max)),
      page_bytes_(static_cast<uint32_t>(sysconf(_SC_PAGESIZE))),
      blocks_(std::make_unique<Block[]>(max_)),
      is_parked_(max_, true) {
  ASSERT(base_ > 0 && block_bytes_ > 0);
  void* memory = mmap(nullptr, uint64_t{max_} * block_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT(memory != MAP_FAILED);  // out of address space: ending is the only honest answer
  memory_ = static_cast<uint8_t*>(memory);
  for (uint32_t id = 0; id < max_; ++id) {
    blocks_[id].data = data_of(id);
    blocks_[id].size = block_bytes_;
    blocks_[id].owner = this;
    blocks_[id].id = id;
  }
  ready_.reserve(max_);
  grow();
}

BlockPool::~BlockPool() {
  ASSERT(filled_ == 0);  // a slice that outlives its pool would dangle
  munmap(memory_, uint64_t{max_} * block_bytes_);
}

uint32_t BlockPool::take() {
  ASSERT(!ready_.empty());
  const uint32_t id = ready_.back();
  ready_.pop_back();
  return id;
}

Slice BlockPool::filled(uint32_t id, uint32_t bytes) {
  ASSERT(id < max_ && bytes <= block_bytes_ && blocks_[id].references == 0);
  ASSERT(free_ > 0);
  if (!keeps_enough_without_one()) {
    Slice copy = Slice::copy_of({data_of(id), bytes});
    put_back(id);
    ++copied_;
    return copy;
  }
  --free_;
  ++filled_;
  blocks_[id].references = 1;
  return {blocks_[id], 0, bytes};
}

void BlockPool::put_back(uint32_t id) {
  // A block from before a trim is parked, unless the pool has to grow for want of it.
  if (id >= live_) static_cast<void>(keeps_enough_without_one());
  if (id < live_) {
    ready_.push_back(id);
    return;
  }
  is_parked_[id] = true;
  --free_;
  discard(id, id + 1);
}

void BlockPool::release(Block& block) {
  ASSERT(filled_ > 0);
  --filled_;
  ++free_;
  put_back(block.id);
}

void BlockPool::trim() {
  if (!is_grown() || free_ < live_ / 4 * 3) return;
  const uint32_t first = std::max(base_, live_ - base_);
  for (uint32_t id = first; id < live_; ++id) {
    if (blocks_[id].references > 0) return;
  }
  const auto is_beyond = [first](uint32_t id) { return id >= first; };
  for (const uint32_t id : ready_) {
    if (!is_beyond(id)) continue;
    is_parked_[id] = true;
    --free_;
  }
  std::erase_if(ready_, is_beyond);
  // Blocks that are still taken may have been written to without our knowing it yet. They keep
  // their pages, and are parked when they come back.
  for (uint32_t id = first; id < live_;) {
    uint32_t end = id;
    while (end < live_ && is_parked_[end]) ++end;
    discard(id, end);
    id = end + 1;
  }
  live_ = first;
}

// Gives the pages of blocks back; what is in them is lost.
void BlockPool::discard(uint32_t first, uint32_t end) {
  if (first == end || block_bytes_ % page_bytes_ != 0) return;  // neighbours share pages
  madvise(data_of(first), uint64_t{end - first} * block_bytes_, MADV_DONTNEED);
}

// Whether enough blocks stay free when one leaves; grows for that if it can.
bool BlockPool::keeps_enough_without_one() {
  while (free_ - 1 < low() && live_ < max_) grow();
  return free_ - 1 >= low();
}

void BlockPool::grow() {
  const uint32_t next = std::min(max_, live_ + base_);
  for (uint32_t id = live_; id < next; ++id) {
    if (!is_parked_[id]) continue;  // still taken from before a trim
    is_parked_[id] = false;
    ready_.push_back(id);
    ++free_;
  }
  live_ = next;
}

}  // namespace istmo::io
