// The record layer of TLS 1.3 behind its handshake (RFC 8446 5): octets between our chains and the
// wire, with one cipher pass and no copy.
//
// OpenSSL makes the handshake and the keys; TlsEngine takes them from it and gives every later
// record to this class. Plaintext is sealed straight from the slices that it lies in; a large
// record is opened in place in the blocks that it was received into. Small ones are opened into a
// shared block, so that few octets keep neither many blocks nor a large one.
//
// Owned by a TlsEngine, on its thread. After an error it is only good for take_output(): the alert.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "dataplane/codec/record_cipher.h"
#include "dataplane/codec/tls_alert.h"
#include "dataplane/io/buffer.h"

namespace istmo::codec {

inline constexpr uint32_t kTlsRecordBytesMax = 16 * 1024;  // plaintext; RFC 8446 5.1

enum class TlsHash : uint8_t { sha256, sha384 };

// A traffic secret (RFC 8446 7.1) of the suite's hash, with the key length of its cipher.
struct TlsSecret {
  static constexpr uint32_t kBytesMax = 48;
  ~TlsSecret();  // wipes it
  uint32_t size() const { return hash == TlsHash::sha256 ? 32 : 48; }
  Bytes bytes() const { return {octets.data(), size()}; }

  TlsHash hash = TlsHash::sha256;
  uint32_t key_bytes = 16;
  std::array<uint8_t, kBytesMax> octets{};
};

// One direction: its secret, the key made from it, and how many records that key has seen.
class TlsTrafficKey {
 public:
  TlsTrafficKey(const TlsSecret& secret, RecordCipher::Direction direction);
  ~TlsTrafficKey();  // wipes it

  // The cipher, ready for the record of this header.
  RecordCipher& next_record(Bytes header);
  void update();  // RFC 8446 7.2
  uint64_t records() const { return records_; }

 private:
  void make_key();

  TlsSecret secret_;
  RecordCipher::Direction direction_;
  RecordCipher::Nonce iv_{};
  std::unique_ptr<RecordCipher> cipher_;
  uint64_t records_ = 0;  // the sequence number of the next one
};

class TlsRecords {
 public:
  struct Options {
    bool is_client = false;
    // Then the next sending key, and the other side is asked for its next. A key of its that
    // protects twice as many is an error.
    uint32_t records_per_key = 0;
  };
  TlsRecords(const TlsSecret& sending, const TlsSecret& receiving, Options options);

  // Seals up to `bytes_max` octets from the front of `plaintext`.
  void encrypt(io::Chain& plaintext, uint64_t bytes_max);
  // Takes what was received, in any pieces; nobody else may refer to these octets. Appends what it
  // opens to `plaintext`, also before an error.
  Result<> decrypt(io::Chain&& ciphertext, io::Chain& plaintext);
  void close_notify() { send_alert(TlsAlert::close_notify); }
  bool has_ended() const { return has_ended_; }  // close_notify came
  io::Chain take_output();
  // What an incomplete record keeps in memory.
  uint64_t pinned_bytes() const { return input_.pinned_bytes(); }

 private:
  struct Record {
    uint8_t content_type = 0;
    io::Chain content;
  };

  enum class KeyUpdateRequest : uint8_t { not_requested, requested };  // RFC 8446 4.6.3

  // tls_records.cc
  void write_record(uint8_t content_type, io::Chain& content, uint32_t size);
  void write_message(uint8_t content_type, Bytes content);
  void send_key_update(KeyUpdateRequest request);
  void send_alert(TlsAlert alert);
  void append_output(Bytes bytes);
  void append_sealed(RecordCipher& cipher, Bytes bytes);
  io::Slice& output_with_room();

  // tls_records_input.cc
  void keep_rest();
  Result<uint32_t> check_header(const std::array<uint8_t, 5>& header);
  Result<Record> open_record(const std::array<uint8_t, 5>& header, uint32_t length);
  io::Chain open_small(RecordCipher& cipher, uint32_t size);
  io::Chain open_in_place(RecordCipher& cipher, uint32_t size);
  Result<> on_record(Record record, io::Chain& plaintext);
  Result<> on_alert(const io::Chain& content);
  Result<> on_handshake_octets(const io::Chain& content);
  Result<> on_key_update(uint8_t request, bool is_at_end);
  Result<> check_receiving_key();
  Error refuse(TlsAlert alert, std::string_view why);

  Options options_;
  TlsTrafficKey sending_;
  TlsTrafficKey receiving_;
  bool has_ended_ = false;
  bool owes_key_update_ = false;  // the other side asked for ours (RFC 8446 4.6.3)

  io::Chain output_;
  io::Slice open_output_;          // the block that output is being written into
  uint64_t output_bytes_due_ = 0;  // what the running call will still write

  io::Chain input_;
  io::Slice small_;                     // block that small records are opened into
  uint32_t records_without_data_ = 0;   // in a row
  uint32_t key_updates_unearned_ = 0;   // in octets of data
  std::array<uint8_t, 5> message_{};    // a handshake message: header and first octet
  uint32_t message_bytes_ = 0;          // of message_ that have come
  uint32_t message_bytes_to_skip_ = 0;  // of a ticket
};

}  // namespace istmo::codec
