// Fixed-address storage for objects of one type, with handles that notice reuse.
//
// Owned by one thread. Objects live in chunks that never move, so embedded Ops keep their address.
// A Handle carries slot and generation: get() of an erased object is nullptr.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace istmo {

template <class T>
struct Handle {
  uint32_t slot = UINT32_MAX;
  uint32_t generation = 0;
  friend bool operator==(Handle, Handle) = default;
  explicit operator bool() const { return slot != UINT32_MAX; }
};

template <class T, uint32_t kChunk = 64>
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() { clear(); }

  // Constructs T(args...). Returns the object; handle_of(object) is its handle.
  template <class... Args>
  T& emplace(Args&&... args) {
    if (free_ == kNone) grow();
    const uint32_t slot = free_;
    Cell& cell = cell_at(slot);
    free_ = cell.next_free;
    cell.is_live = true;
    ++size_;
    return *::new (static_cast<void*>(cell.storage)) T(std::forward<Args>(args)...);
  }

  void erase(T& object) {
    Cell& cell = cell_of(object);
    ASSERT(cell.is_live);
    object.~T();
    cell.is_live = false;
    ++cell.generation;
    cell.next_free = free_;
    free_ = cell.slot;
    ASSERT(size_ > 0);
    --size_;
  }

  T* get(Handle<T> handle) {
    if (handle.slot >= chunks_.size() * kChunk) return nullptr;
    Cell& cell = cell_at(handle.slot);
    if (!cell.is_live || cell.generation != handle.generation) return nullptr;
    return object_in(cell);
  }

  Handle<T> handle_of(T& object) {
    Cell& cell = cell_of(object);
    return {cell.slot, cell.generation};
  }

  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Visits every live object. The visitor may erase the object that it is given, and add others.
  template <class Visitor>
  void for_each(Visitor&& visit) {
    for (uint32_t slot = 0; slot < chunks_.size() * kChunk; ++slot) {
      Cell& cell = cell_at(slot);
      if (cell.is_live) visit(*object_in(cell));
    }
  }

  void clear() {
    for_each([this](T& object) { erase(object); });
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Cell {
    alignas(T) unsigned char storage[sizeof(T)];
    uint32_t slot;
    uint32_t generation;
    uint32_t next_free;
    bool is_live;
  };

  static T* object_in(Cell& cell) { return std::launder(reinterpret_cast<T*>(cell.storage)); }
  static Cell& cell_of(T& object) { return *reinterpret_cast<Cell*>(&object); }
  Cell& cell_at(uint32_t slot) { return chunks_[slot / kChunk][slot % kChunk]; }

  void grow() {
    const uint32_t first = static_cast<uint32_t>(chunks_.size()) * kChunk;
    chunks_.push_back(std::make_unique_for_overwrite<Cell[]>(kChunk));
    for (uint32_t i = kChunk; i-- > 0;) {
      Cell& cell = chunks_.back()[i];
      cell.slot = first + i;
      cell.generation = 1;
      cell.is_live = false;
      cell.next_free = free_;
      free_ = cell.slot;
    }
  }

  std::vector<std::unique_ptr<Cell[]>> chunks_;
  uint32_t free_ = kNone;
  uint32_t size_ = 0;
};

}  // namespace istmo
