// AES-GCM over octets that lie in pieces: one key, one direction (NIST SP 800-38D, RFC 5116 5.1).
//
// Owned by whoever protects records with it, on one thread. Two implementations: libipsec-mb where
// it is installed and the processor has AES instructions, else OpenSSL. Both work in place.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.h"

namespace istmo::codec {

class RecordCipher {
 public:
  static constexpr uint32_t kNonceBytes = 12;
  static constexpr uint32_t kTagBytes = 16;
  using Nonce = std::array<uint8_t, kNonceBytes>;
  using Tag = std::array<uint8_t, kTagBytes>;
  enum class Direction : uint8_t { seal, open };
  enum class Library : uint8_t { fastest, openssl };

  // `key` has 16 or 32 octets.
  static std::unique_ptr<RecordCipher> create(Bytes key, Direction direction,
                                              Library library = Library::fastest);
  virtual ~RecordCipher() = default;

  // One record: begin(), any number of update(), then the finish of the direction. A nonce must
  // not come twice under one key.
  virtual void begin(const Nonce& nonce, Bytes associated) = 0;
  // `to` is `from`, or does not overlap it. What was opened is not to be trusted before finish.
  virtual void update(const uint8_t* from, uint8_t* to, uint32_t size) = 0;
  virtual Tag finish_seal() = 0;
  virtual bool finish_open(const Tag& tag) = 0;  // false: it was forged or damaged
};

}  // namespace istmo::codec
