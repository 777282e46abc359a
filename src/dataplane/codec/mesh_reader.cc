#include "dataplane/codec/mesh_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace istmo::codec {

io::Slice encode_mesh_message(std::string_view message) {
  ASSERT(!message.empty() && message.size() <= kMeshMessageBytesMax);
  const auto size = static_cast<uint32_t>(message.size());
  io::Slice slice = io::Slice::allocate(static_cast<uint32_t>(sizeof size) + size);
  store_big_endian<uint32_t>(slice.mutable_data(), size);
  std::memcpy(slice.mutable_data() + sizeof size, message.data(), size);
  return slice;
}

Result<> MeshReader::feed(io::Chain&& bytes) {
  while (!bytes.empty()) {
    const io::Slice slice = bytes.take_first_slice();
    TRY(read(slice.bytes()));
  }
  return {};
}

std::string MeshReader::take_message() {
  ASSERT(has_message());
  state_ = State::taken;
  return std::exchange(message_, {});
}

Result<> MeshReader::resume() {
  ASSERT(state_ == State::taken);
  state_ = State::reading;
  length_octets_read_ = 0;
  const std::string waited = std::exchange(waiting_, {});
  return read(bytes_of(waited));
}

uint64_t MeshReader::take_drained() { return std::exchange(drained_, 0); }

Result<> MeshReader::read(Bytes bytes) {
  while (!bytes.empty()) {
    if (state_ != State::reading) {
      waiting_ += text_of(bytes);
      return {};
    }
    size_t count = 1;
    if (length_octets_read_ < kLengthBytes) {
      length_octets_[length_octets_read_++] = bytes.front();
      if (length_octets_read_ == kLengthBytes) TRY(check_length());
    } else {
      count = std::min<size_t>(bytes.size(), length_ - message_.size());
      // Grows by doubling, as octets come: an announced length takes no memory.
      message_ += text_of(bytes.first(count));
      if (message_.size() == length_) state_ = State::whole;
    }
    drained_ += count;
    bytes = bytes.subspan(count);
  }
  return {};
}

Result<> MeshReader::check_length() {
  length_ = load_big_endian<uint32_t>(length_octets_.data());
  if (length_ == 0) return Error::protocol("empty mesh message");
  if (length_ > kMeshMessageBytesMax) return Error::limit("mesh message too long");
  return {};
}

}  // namespace istmo::codec
