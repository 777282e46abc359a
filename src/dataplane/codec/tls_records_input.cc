// The receiving half of tls_records.h.
#include <algorithm>
#include <string>
#include <utility>

#include "dataplane/codec/tls_record_format.h"
#include "dataplane/codec/tls_records.h"

namespace istmo::codec {
namespace {

// Up to here a record is opened into a shared block instead of in place: a message per record is
// common on an interactive stream, and a receive block for each would be much.
constexpr uint32_t kSmallRecordBytes = 2048;
constexpr uint32_t kSmallBlockBytes = 2 * kSmallRecordBytes - sizeof(io::Block);
constexpr uint32_t kRecordsWithoutDataMax = 32;  // in a row, as OpenSSL has it
// RFC 8446 5.4: content, type and padding are at most 2^14 + 1 octets. 5.2 would let a cipher add
// 255 to that; AES-GCM adds its tag.
constexpr uint32_t kProtectedBytesMax = kTlsRecordBytesMax + 1 + RecordCipher::kTagBytes;
constexpr uint32_t kMessageHeaderBytes = 4;
// A key update costs as much as many records, so it has to be earned by as much data: 16 KiB, where
// a record counts for 512 octets more than it holds. So many may come unearned.
constexpr uint32_t kKeyUpdateCost = 16 * 1024;
constexpr uint32_t kRecordWorth = 512;
constexpr uint32_t kKeyUpdatesAheadMax = 32;

// Blocks are worth copying from when less than this share of them is used.
constexpr uint32_t kSparseDivisor = 4;

}  // namespace

Error TlsRecords::refuse(TlsAlert alert, std::string_view why) {
  send_alert(alert);
  return Error::protocol("tls: receive: " + std::string(why));
}

Result<> TlsRecords::decrypt(io::Chain&& ciphertext, io::Chain& plaintext) {
  if (has_ended_) return {};
  input_.append(std::move(ciphertext));
  while (!has_ended_ && input_.size() >= kRecordHeaderBytes) {
    std::array<uint8_t, kRecordHeaderBytes> header;
    input_.copy_out(0, header);
    const uint32_t length = TRY(check_header(header));
    if (input_.size() < kRecordHeaderBytes + length) break;
    Record record = TRY(open_record(header, length));
    TRY(on_record(std::move(record), plaintext));
    TRY(check_receiving_key());
  }
  small_ = {};
  if (has_ended_) input_.clear();  // RFC 8446 6.1: what follows close_notify is ignored
  keep_rest();
  return {};
}

// A record that comes in crumbs would hold a receive block for each.
void TlsRecords::keep_rest() {
  if (input_.size() * kSparseDivisor >= input_.pinned_bytes()) return;
  const auto size = static_cast<uint32_t>(input_.size());
  io::Slice compact = io::Slice::allocate(size);
  input_.copy_out(0, {compact.mutable_data(), size});
  input_ = io::Chain(std::move(compact));
}

// The octets behind the header.
Result<uint32_t> TlsRecords::check_header(const std::array<uint8_t, 5>& header) {
  if (header[0] != kApplicationData) {
    return refuse(TlsAlert::unexpected_message, "record that is not protected");
  }
  const uint32_t length = load_big_endian<uint16_t>(header.data() + 3);
  if (length > kProtectedBytesMax) return refuse(TlsAlert::record_overflow, "record too long");
  if (length <= RecordCipher::kTagBytes) return refuse(TlsAlert::bad_record_mac, "bad record mac");
  return length;
}

Result<TlsRecords::Record> TlsRecords::open_record(const std::array<uint8_t, 5>& header,
                                                   uint32_t length) {
  input_.drop_front(kRecordHeaderBytes);
  RecordCipher& cipher = receiving_.next_record(header);
  const uint32_t size = length - RecordCipher::kTagBytes;
  const bool is_small = size <= kSmallRecordBytes;
  Record record;
  record.content = is_small ? open_small(cipher, size) : open_in_place(cipher, size);
  RecordCipher::Tag tag;
  input_.copy_out(0, tag);
  input_.drop_front(tag.size());
  if (!cipher.finish_open(tag)) return refuse(TlsAlert::bad_record_mac, "bad record mac");
  // The content type is the last octet that is not padding.
  uint64_t end = size;
  while (end > 0 && record.content_type == 0) {
    record.content.copy_out(--end, {&record.content_type, 1});
  }
  if (record.content_type == 0) {
    return refuse(TlsAlert::unexpected_message, "record without a content type");
  }
  record.content = record.content.take_front(end);
  return record;
}

io::Chain TlsRecords::open_small(RecordCipher& cipher, uint32_t size) {
  if (small_.room() < size) {
    // Small records often come several at a time.
    const bool is_last = input_.size() == uint64_t{size} + RecordCipher::kTagBytes;
    small_ = io::Slice::allocate(is_last ? size : kSmallBlockBytes);
    small_.truncate(0);
  }
  const uint32_t begin = small_.size();
  uint8_t* to = small_.mutable_data() + begin;
  for (uint32_t left = size; left > 0;) {
    const Bytes first = input_.slice(0).bytes();
    const auto count = static_cast<uint32_t>(std::min<size_t>(left, first.size()));
    cipher.update(first.data(), to, count);
    input_.drop_front(count);
    to += count;
    left -= count;
  }
  small_.extend(size);
  return io::Chain(small_.share(begin, size));
}

io::Chain TlsRecords::open_in_place(RecordCipher& cipher, uint32_t size) {
  io::Chain sealed = input_.take_front(size), opened;
  while (!sealed.empty()) {
    io::Slice slice = sealed.take_first_slice();
    cipher.update(slice.data(), slice.mutable_data(), slice.size());
    opened.append(std::move(slice));
  }
  return opened;
}

Result<> TlsRecords::on_record(Record record, io::Chain& plaintext) {
  if (record.content_type == kApplicationData && !record.content.empty()) {
    if (message_bytes_ > 0) {
      return refuse(TlsAlert::unexpected_message, "data inside a handshake message");
    }
    records_without_data_ = 0;
    const auto earned = static_cast<uint32_t>(record.content.size()) + kRecordWorth;
    key_updates_unearned_ -= std::min(key_updates_unearned_, earned);
    plaintext.append(std::move(record.content));
    return {};
  }
  if (++records_without_data_ > kRecordsWithoutDataMax) {
    return refuse(TlsAlert::unexpected_message, "too many records without data");
  }
  switch (record.content_type) {
    case kApplicationData: return {};
    case kAlert: return on_alert(record.content);
    case kHandshake: return on_handshake_octets(record.content);
    default: return refuse(TlsAlert::unexpected_message, "record of an unknown type");
  }
}

Result<> TlsRecords::on_alert(const io::Chain& content) {
  uint8_t alert[2];
  if (content.size() != sizeof alert) return refuse(TlsAlert::decode_error, "malformed alert");
  content.copy_out(0, alert);
  // RFC 8446 6: the level is to be ignored.
  if (alert[1] == static_cast<uint8_t>(TlsAlert::user_canceled)) return {};
  if (alert[1] != static_cast<uint8_t>(TlsAlert::close_notify)) return alert_error(alert[1]);
  has_ended_ = true;
  return {};
}

// Messages behind the handshake may share a record or be spread over several. A ticket is of no use
// to us and is skipped; the only other one is KeyUpdate (RFC 8446 4.6).
Result<> TlsRecords::on_handshake_octets(const io::Chain& content) {
  if (content.empty()) return refuse(TlsAlert::unexpected_message, "empty handshake record");
  for (uint64_t at = 0; at < content.size();) {
    if (message_bytes_to_skip_ > 0) {
      const uint64_t count = std::min<uint64_t>(message_bytes_to_skip_, content.size() - at);
      message_bytes_to_skip_ -= static_cast<uint32_t>(count);
      at += count;
      if (message_bytes_to_skip_ == 0) message_bytes_ = 0;
      continue;
    }
    at += content.copy_out(at, {&message_[message_bytes_++], 1});
    if (message_bytes_ < kMessageHeaderBytes) continue;
    const uint32_t length = load_big_endian<uint32_t>(message_.data()) & 0xffffff;
    if (message_[0] == kNewSessionTicketMessage && options_.is_client && length > 0) {
      message_bytes_to_skip_ = length;
      continue;
    }
    if (message_[0] != kKeyUpdateMessage) {
      return refuse(TlsAlert::unexpected_message, "unexpected handshake message");
    }
    if (length != 1) return refuse(TlsAlert::decode_error, "malformed key update");
    if (message_bytes_ == kMessageHeaderBytes) continue;
    TRY(on_key_update(message_[kMessageHeaderBytes], at == content.size()));
  }
  return {};
}

Result<> TlsRecords::on_key_update(uint8_t request, bool is_at_end) {
  message_bytes_ = 0;
  if (request > 1) return refuse(TlsAlert::illegal_parameter, "malformed key update");
  // RFC 8446 5.1: what follows is under the next key, so it cannot be in this record.
  if (!is_at_end) return refuse(TlsAlert::unexpected_message, "message spans a change of keys");
  key_updates_unearned_ += kKeyUpdateCost;
  if (key_updates_unearned_ > kKeyUpdatesAheadMax * kKeyUpdateCost) {
    return refuse(TlsAlert::unexpected_message, "too many key updates");
  }
  receiving_.update();
  owes_key_update_ = owes_key_update_ || request == 1;
  return {};
}

// RFC 8446 5.5 bounds what one key may protect, and the other side's program may not count.
Result<> TlsRecords::check_receiving_key() {
  const uint64_t records = receiving_.records();
  if (records > 2 * uint64_t{options_.records_per_key}) {
    return refuse(TlsAlert::unexpected_message, "too many records under one key");
  }
  // Who counts as we do takes the next key by itself with this record.
  const bool is_due = records == uint64_t{options_.records_per_key} + 1;
  if (is_due && !has_ended_) send_key_update(KeyUpdateRequest::requested);
  return {};
}

}  // namespace istmo::codec
