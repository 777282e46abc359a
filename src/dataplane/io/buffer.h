// Bytes on their way through: Block (storage), Slice (a counted view of a block), Chain (a queue of
// slices). A byte is written once, by the kernel or a cipher, and then only referenced.
//
// Everything here belongs to one thread: the counts are not atomic. Bytes that change threads are
// copied. Blocks outlive nothing: the last Slice returns the block to its owner, so owners (pools)
// must outlive all slices of their blocks.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/bytes.h"

namespace istmo::io {

struct Block;

// Who takes a block back when the last slice lets go: a pool, or nobody (the heap).
class BlockOwner {
 public:
  virtual void release(Block& block) = 0;

 protected:
  ~BlockOwner() = default;
};

// Storage of fixed size. Made by a BlockOwner or by Slice::allocate.
struct Block {
  uint8_t* data = nullptr;
  uint32_t size = 0;
  uint32_t references = 0;
  BlockOwner* owner = nullptr;  // nullptr: one malloc holds header and data
  uint32_t id = 0;              // for the owner
};

// A counted reference to a part of a block. Moves cheaply; copies only by share().
class Slice {
 public:
  Slice() = default;
  // Takes over one reference that the caller has counted.
  Slice(Block& block, uint32_t offset, uint32_t size)
      : block_(&block), offset_(offset), size_(size) {}
  Slice(Slice&& other) noexcept : block_(other.block_), offset_(other.offset_), size_(other.size_) {
    other.block_ = nullptr;
    other.size_ = 0;
  }
  Slice& operator=(Slice&& other) noexcept {
    if (this != &other) {
      drop();
      block_ = other.block_;
      offset_ = other.offset_;
      size_ = other.size_;
      other.block_ = nullptr;
      other.size_ = 0;
    }
    return *this;
  }
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;
  ~Slice() { drop(); }

  // A fresh heap block of exactly `size` octets, writable through mutable_data().
  static Slice allocate(uint32_t size);
  static Slice copy_of(Bytes bytes);
  static Slice copy_of(std::string_view text) { return copy_of(bytes_of(text)); }

  const uint8_t* data() const { return block_ ? block_->data + offset_ : nullptr; }
  uint8_t* mutable_data() { return block_ ? block_->data + offset_ : nullptr; }
  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Bytes bytes() const { return {data(), size_}; }
  // Octets that this reference keeps from being reused, for accounting.
  uint32_t pinned_bytes() const { return block_ ? block_->size : 0; }
  // Whether nothing else refers to the block, and it is no pool's: its owner may write to it.
  bool is_sole() const { return block_ && block_->references == 1 && !block_->owner; }
  // Octets of the block behind this slice's end: room for appending by the slice's maker.
  uint32_t room() const { return block_ ? block_->size - offset_ - size_ : 0; }
  // Lengthens the slice over octets that were just written behind its end.
  void extend(uint32_t count) {
    ASSERT(count <= room());
    size_ += count;
  }

  Slice share(uint32_t offset, uint32_t size) const {
    ASSERT(offset + size <= size_);
    if (block_) ++block_->references;
    return block_ ? Slice(*block_, offset_ + offset, size) : Slice();
  }
  void drop_front(uint32_t count) {
    ASSERT(count <= size_);
    offset_ += count;
    size_ -= count;
  }
  void truncate(uint32_t size) {
    ASSERT(size <= size_);
    size_ = size;
  }

 private:
  void drop();

  Block* block_ = nullptr;
  uint32_t offset_ = 0;
  uint32_t size_ = 0;
};

// A queue of slices. Empty it holds no heap memory. Moves steal; there is no copy.
class Chain {
 public:
  Chain() = default;
  Chain(Chain&& other) noexcept { steal(other); }
  Chain& operator=(Chain&& other) noexcept {
    if (this != &other) {
      clear();
      steal(other);
    }
    return *this;
  }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  explicit Chain(Slice&& slice) { append(std::move(slice)); }
  ~Chain() { clear(); }

  static Chain copy_of(std::string_view text) { return Chain(Slice::copy_of(text)); }

  uint64_t size() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  uint32_t slice_count() const { return count_; }
  const Slice& slice(uint32_t index) const {
    ASSERT(index < count_);
    return at(index);
  }

  void append(Slice&& slice);  // an empty slice is dropped
  void append(Chain&& other);
  // For octets that have to wait, perhaps for long: slices that use little of their blocks, or are
  // tiny, are copied together, so that blocks take at most about twice the octets and one more.
  void append_compacted(Chain&& other);
  void prepend(Slice&& slice);
  void drop_front(uint64_t count);
  // The first `count` octets, which leave this chain. Shares the slice that is cut.
  Chain take_front(uint64_t count);
  Slice take_first_slice();
  void clear();

  // Copies up to `to.size()` octets from `offset`; returns how many. Nothing leaves the chain.
  size_t copy_out(uint64_t offset, std::span<uint8_t> to) const;
  // The first `count` octets as one run: in place if the first slice holds them, else by joining
  // them into one fresh block. count <= size().
  Bytes make_contiguous(uint32_t count);
  std::string to_string() const;

  // Fills iovecs for a gathered send, neighbouring memory merged. Returns the count used; the
  // octets covered (at most bytes_max) are in `bytes`.
  size_t gather(std::span<iovec> to, uint64_t bytes_max, uint64_t& bytes) const;
  // Blocks pinned, in octets of storage: what memory accounting counts.
  uint64_t pinned_bytes() const;

 private:
  static constexpr uint32_t kInline = 2;
  Slice& at(uint32_t index) {
    const uint32_t place = head_ + index;
    return cells()[place >= capacity_ ? place - capacity_ : place];
  }
  const Slice& at(uint32_t index) const { return const_cast<Chain*>(this)->at(index); }
  Slice* cells() { return heap_ ? heap_ : inline_; }
  void append_copy(Bytes bytes);
  void grow();
  void pop_first();
  void steal(Chain& other);

  uint64_t bytes_ = 0;
  Slice* heap_ = nullptr;  // array of capacity_ slices; nullptr: inline_
  uint32_t head_ = 0;
  uint32_t count_ = 0;
  uint32_t capacity_ = kInline;
  Slice inline_[kInline];
};

}  // namespace istmo::io
