#include "dataplane/io/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace istmo::io {
namespace {

// Waiting octets are copied together into blocks of these sizes.
constexpr uint32_t kWaitingBlockBytesMin = 512;
constexpr uint32_t kWaitingBlockBytesMax = 8 * 1024 - sizeof(Block);

// A slice as small as this costs more as a slice of its own than as a copy; and one that uses less
// than half of its block keeps more from being reused than it holds.
bool is_sparse(const Slice& slice) {
  return slice.size() < kWaitingBlockBytesMin || uint64_t{slice.size()} * 2 < slice.pinned_bytes();
}

}  // namespace

Slice Slice::allocate(uint32_t size) {
  void* memory = std::malloc(sizeof(Block) + size);
  ASSERT(memory != nullptr);  // out of memory: ending is the only honest answer
  Block* block = ::new (memory) Block;
  block->data = reinterpret_cast<uint8_t*>(block + 1);
  block->size = size;
  block->references = 1;
  return {*block, 0, size};
}

Slice Slice::copy_of(Bytes bytes) {
  Slice slice = allocate(static_cast<uint32_t>(bytes.size()));
  if (!bytes.empty()) std::memcpy(slice.mutable_data(), bytes.data(), bytes.size());
  return slice;
}

void Slice::drop() {
  if (!block_) return;
  ASSERT(block_->references > 0);
  if (--block_->references == 0) {
    if (block_->owner) block_->owner->release(*block_);
    else std::free(block_);
  }
  block_ = nullptr;
}

void Chain::append(Slice&& slice) {
  if (slice.empty()) return;
  if (count_ == capacity_) grow();
  bytes_ += slice.size();
  ++count_;
  at(count_ - 1) = std::move(slice);
}

void Chain::append(Chain&& other) {
  if (count_ == 0) {
    *this = std::move(other);
    return;
  }
  while (other.count_ > 0) append(other.take_first_slice());
}

void Chain::append_compacted(Chain&& other) {
  while (other.count_ > 0) {
    Slice slice = other.take_first_slice();
    // Room that the slice would leave unused behind it counts as its own.
    const uint32_t room = count_ > 0 && at(count_ - 1).is_sole() ? at(count_ - 1).room() : 0;
    if (slice.size() <= room || is_sparse(slice)) append_copy(slice.bytes());
    else append(std::move(slice));
  }
}

// Fills the last block before it begins the next one. Blocks grow with what waits.
void Chain::append_copy(Bytes bytes) {
  if (count_ > 0 && at(count_ - 1).is_sole()) {
    Slice& last = at(count_ - 1);
    const auto part = static_cast<uint32_t>(std::min<size_t>(last.room(), bytes.size()));
    if (part > 0) std::memcpy(last.mutable_data() + last.size(), bytes.data(), part);
    last.extend(part);
    bytes_ += part;
    bytes = bytes.subspan(part);
  }
  if (bytes.empty()) return;
  const auto size = static_cast<uint32_t>(bytes.size());
  const auto block_bytes = static_cast<uint32_t>(
      std::clamp<uint64_t>(bytes_, kWaitingBlockBytesMin, kWaitingBlockBytesMax));
  Slice copy = Slice::allocate(std::max(size, block_bytes));
  std::memcpy(copy.mutable_data(), bytes.data(), size);
  copy.truncate(size);
  append(std::move(copy));
}

void Chain::prepend(Slice&& slice) {
  if (slice.empty()) return;
  if (count_ == capacity_) grow();
  bytes_ += slice.size();
  head_ = head_ == 0 ? capacity_ - 1 : head_ - 1;
  ++count_;
  at(0) = std::move(slice);
}

void Chain::drop_front(uint64_t count) {
  ASSERT(count <= bytes_);
  while (count > 0) {
    Slice& first = at(0);
    if (count < first.size()) {
      first.drop_front(static_cast<uint32_t>(count));
      bytes_ -= count;
      return;
    }
    count -= first.size();
    pop_first();
  }
}

Chain Chain::take_front(uint64_t count) {
  ASSERT(count <= bytes_);
  if (count == bytes_) return std::move(*this);
  Chain taken;
  while (count > 0) {
    Slice& first = at(0);
    if (count < first.size()) {
      const auto part = static_cast<uint32_t>(count);
      taken.append(first.share(0, part));
      first.drop_front(part);
      bytes_ -= part;
      return taken;
    }
    count -= first.size();
    taken.append(take_first_slice());
  }
  return taken;
}

Slice Chain::take_first_slice() {
  ASSERT(count_ > 0);
  Slice first = std::move(at(0));
  bytes_ -= first.size();
  head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
  if (--count_ == 0) clear();
  return first;
}

void Chain::pop_first() { static_cast<void>(take_first_slice()); }

void Chain::clear() {
  for (uint32_t i = 0; i < count_; ++i) at(i) = Slice();
  delete[] heap_;
  heap_ = nullptr;
  capacity_ = kInline;
  head_ = count_ = 0;
  bytes_ = 0;
}

size_t Chain::copy_out(uint64_t offset, std::span<uint8_t> to) const {
  size_t copied = 0;
  for (uint32_t i = 0; i < count_ && copied < to.size(); ++i) {
    const Bytes part = at(i).bytes();
    if (offset >= part.size()) {
      offset -= part.size();
      continue;
    }
    const size_t length = std::min(part.size() - offset, to.size() - copied);
    std::memcpy(to.data() + copied, part.data() + offset, length);
    copied += length;
    offset = 0;
  }
  return copied;
}

Bytes Chain::make_contiguous(uint32_t count) {
  ASSERT(count <= bytes_);
  if (count == 0) return {};
  if (at(0).size() >= count) return at(0).bytes().first(count);
  Slice joined = Slice::allocate(count);
  copy_out(0, {joined.mutable_data(), count});
  drop_front(count);
  prepend(std::move(joined));
  return at(0).bytes().first(count);
}

std::string Chain::to_string() const {
  std::string text;
  text.reserve(bytes_);
  for (uint32_t i = 0; i < count_; ++i) text += text_of(at(i).bytes());
  return text;
}

size_t Chain::gather(std::span<iovec> to, uint64_t bytes_max, uint64_t& bytes) const {
  size_t used = 0;
  bytes = 0;
  for (uint32_t i = 0; i < count_ && bytes < bytes_max; ++i) {
    const Bytes part = at(i).bytes();
    const size_t length = std::min<uint64_t>(part.size(), bytes_max - bytes);
    auto* start = const_cast<uint8_t*>(part.data());
    if (used > 0 && static_cast<uint8_t*>(to[used - 1].iov_base) + to[used - 1].iov_len == start) {
      to[used - 1].iov_len += length;
    } else {
      if (used == to.size()) break;
      to[used++] = {start, length};
    }
    bytes += length;
  }
  return used;
}

uint64_t Chain::pinned_bytes() const {
  uint64_t pinned = 0;
  for (uint32_t i = 0; i < count_; ++i) pinned += at(i).pinned_bytes();
  return pinned;
}

void Chain::grow() {
  const uint32_t capacity = capacity_ < 8 ? 8 : capacity_ * 2;
  Slice* cells = std::make_unique<Slice[]>(capacity).release();  // delete[] in clear() and here
  for (uint32_t i = 0; i < count_; ++i) cells[i] = std::move(at(i));
  delete[] heap_;
  heap_ = cells;
  capacity_ = capacity;
  head_ = 0;
}

void Chain::steal(Chain& other) {
  bytes_ = other.bytes_;
  head_ = other.head_;
  count_ = other.count_;
  capacity_ = other.capacity_;
  heap_ = other.heap_;
  if (!heap_) {
    for (uint32_t i = 0; i < kInline; ++i) inline_[i] = std::move(other.inline_[i]);
  }
  other.heap_ = nullptr;
  other.capacity_ = kInline;
  other.bytes_ = 0;
  other.head_ = other.count_ = 0;
}

}  // namespace istmo::io
