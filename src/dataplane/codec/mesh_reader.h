// The octets of a mesh channel as messages: each is its length (4 octets, big-endian) and that many
// octets, at least one.
//
// Reads one message at a time into one run of memory, however small the pieces are in which it
// comes. Behind a whole message nothing is read until resume(): what comes meanwhile waits, and is
// not counted as drained. So whoever grants what was drained holds the sender back.
//
// Owned by a proxy::MeshChannel, on its worker. After an error it is of no use.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "dataplane/io/buffer.h"

namespace istmo::codec {

inline constexpr uint32_t kMeshMessageBytesMax = 4 * 1024 * 1024;

// 1..kMeshMessageBytesMax octets.
io::Slice encode_mesh_message(std::string_view message);

class MeshReader {
 public:
  // Takes all of `bytes`. Errors are of class protocol, or limit: the message is too long.
  Result<> feed(io::Chain&& bytes);
  bool has_message() const { return state_ == State::whole; }
  std::string take_message();
  // The message that was taken has been dealt with: reads on.
  Result<> resume();
  // Octets that were read since the last call.
  uint64_t take_drained();
  // What it keeps in memory.
  uint64_t held_bytes() const { return message_.capacity() + waiting_.capacity(); }

 private:
  static constexpr uint32_t kLengthBytes = 4;
  enum class State : uint8_t { reading, whole, taken };

  Result<> read(Bytes bytes);
  Result<> check_length();

  State state_ = State::reading;
  std::array<uint8_t, kLengthBytes> length_octets_{};
  uint32_t length_octets_read_ = 0;
  uint32_t length_ = 0;
  std::string message_;
  std::string waiting_;  // behind a whole message
  uint64_t drained_ = 0;
};

}  // namespace istmo::codec
