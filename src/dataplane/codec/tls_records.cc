#include "dataplane/codec/tls_records.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dataplane/codec/openssl.h"
#include "dataplane/codec/tls_record_format.h"

namespace istmo::codec {
namespace {

// With the block's header it fills an allocator's size class exactly.
constexpr uint32_t kOutputBlockBytesMax = 64 * 1024 - sizeof(io::Block);

// HKDF-Expand-Label(secret, label, "", size) of RFC 8446 7.1. One block of the hash is enough for
// everything that is wanted here, so HKDF-Expand (RFC 5869 2.3) is a single HMAC.
void expand_label(const TlsSecret& secret, std::string_view label, std::span<uint8_t> to) {
  std::array<uint8_t, 32> info{};
  const std::string_view prefix = "tls13 ";
  ASSERT(to.size() <= secret.size() && prefix.size() + label.size() + 5 <= info.size());
  size_t used = 0;
  info[used++] = 0;
  info[used++] = static_cast<uint8_t>(to.size());
  info[used++] = static_cast<uint8_t>(prefix.size() + label.size());
  for (std::string_view part : {prefix, label}) {
    std::memcpy(info.data() + used, part.data(), part.size());
    used += part.size();
  }
  info[used++] = 0;  // no context
  info[used++] = 1;  // the number of the block
  std::array<uint8_t, EVP_MAX_MD_SIZE> block;
  const EVP_MD* hash = secret.hash == TlsHash::sha256 ? EVP_sha256() : EVP_sha384();
  const auto* made = HMAC(hash, secret.octets.data(), static_cast<int>(secret.size()), info.data(),
                          used, block.data(), nullptr);
  ASSERT(made != nullptr);
  std::memcpy(to.data(), block.data(), to.size());
  OPENSSL_cleanse(block.data(), block.size());
}

}  // namespace

TlsSecret::~TlsSecret() { OPENSSL_cleanse(octets.data(), octets.size()); }

TlsTrafficKey::TlsTrafficKey(const TlsSecret& secret, RecordCipher::Direction direction)
    : secret_(secret), direction_(direction) {
  make_key();
}

TlsTrafficKey::~TlsTrafficKey() { OPENSSL_cleanse(iv_.data(), iv_.size()); }

void TlsTrafficKey::make_key() {
  std::array<uint8_t, 32> key;
  const auto used = std::span(key).first(secret_.key_bytes);
  expand_label(secret_, "key", used);
  expand_label(secret_, "iv", iv_);
  cipher_ = RecordCipher::create(used, direction_);
  OPENSSL_cleanse(key.data(), key.size());
  records_ = 0;
}

void TlsTrafficKey::update() {
  TlsSecret next = secret_;
  expand_label(secret_, "traffic upd", std::span(next.octets).first(secret_.size()));
  secret_ = next;
  make_key();
}

RecordCipher& TlsTrafficKey::next_record(Bytes header) {
  RecordCipher::Nonce nonce = iv_;  // RFC 8446 5.3
  uint8_t* number = nonce.data() + nonce.size() - sizeof records_;
  store_big_endian(number, load_big_endian<uint64_t>(number) ^ records_);
  ++records_;
  cipher_->begin(nonce, header);
  return *cipher_;
}

TlsRecords::TlsRecords(const TlsSecret& sending, const TlsSecret& receiving, Options options)
    : options_(options),
      sending_(sending, RecordCipher::Direction::seal),
      receiving_(receiving, RecordCipher::Direction::open) {}

void TlsRecords::encrypt(io::Chain& plaintext, uint64_t bytes_max) {
  uint64_t left = std::min(bytes_max, plaintext.size());
  output_bytes_due_ = left + (left / kTlsRecordBytesMax + 1) * kRecordOverheadBytes;
  while (left > 0) {
    if (owes_key_update_ || sending_.records() >= options_.records_per_key) {
      send_key_update(KeyUpdateRequest::not_requested);
      owes_key_update_ = false;
    }
    const auto size = static_cast<uint32_t>(std::min<uint64_t>(left, kTlsRecordBytesMax));
    write_record(kApplicationData, plaintext, size);
    left -= size;
  }
  output_bytes_due_ = 0;
}

void TlsRecords::write_record(uint8_t content_type, io::Chain& content, uint32_t size) {
  const uint32_t length = size + 1 + RecordCipher::kTagBytes;
  const uint8_t header[kRecordHeaderBytes] = {
      kApplicationData, 3, 3, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  RecordCipher& cipher = sending_.next_record(header);
  append_output(header);
  while (size > 0) {
    const Bytes first = content.slice(0).bytes();
    const auto count = std::min<size_t>(first.size(), size);
    append_sealed(cipher, first.first(count));
    content.drop_front(count);
    size -= static_cast<uint32_t>(count);
  }
  append_sealed(cipher, {&content_type, 1});
  append_output(cipher.finish_seal());
}

void TlsRecords::write_message(uint8_t content_type, Bytes content) {
  io::Chain chain(io::Slice::copy_of(content));
  write_record(content_type, chain, static_cast<uint32_t>(content.size()));
}

void TlsRecords::send_key_update(KeyUpdateRequest request) {
  const uint8_t message[] = {kKeyUpdateMessage, 0, 0, 1, static_cast<uint8_t>(request)};
  write_message(kHandshake, message);
  sending_.update();
}

void TlsRecords::send_alert(TlsAlert alert) {
  constexpr uint8_t kWarning = 1, kFatal = 2;
  const uint8_t level = alert == TlsAlert::close_notify ? kWarning : kFatal;
  const uint8_t content[] = {level, static_cast<uint8_t>(alert)};
  write_message(kAlert, content);
}

io::Slice& TlsRecords::output_with_room() {
  if (open_output_.room() > 0) return open_output_;
  output_.append(std::move(open_output_));
  const uint64_t size = std::clamp<uint64_t>(output_bytes_due_, 64, kOutputBlockBytesMax);
  open_output_ = io::Slice::allocate(static_cast<uint32_t>(size));
  open_output_.truncate(0);
  return open_output_;
}

void TlsRecords::append_output(Bytes bytes) {
  while (!bytes.empty()) {
    io::Slice& to = output_with_room();
    const size_t count = std::min<size_t>(to.room(), bytes.size());
    std::memcpy(to.mutable_data() + to.size(), bytes.data(), count);
    to.extend(static_cast<uint32_t>(count));
    output_bytes_due_ -= std::min<uint64_t>(output_bytes_due_, count);
    bytes = bytes.subspan(count);
  }
}

void TlsRecords::append_sealed(RecordCipher& cipher, Bytes bytes) {
  while (!bytes.empty()) {
    io::Slice& to = output_with_room();
    const auto count = static_cast<uint32_t>(std::min<size_t>(to.room(), bytes.size()));
    cipher.update(bytes.data(), to.mutable_data() + to.size(), count);
    to.extend(count);
    output_bytes_due_ -= std::min<uint64_t>(output_bytes_due_, count);
    bytes = bytes.subspan(count);
  }
}

io::Chain TlsRecords::take_output() {
  output_.append(std::move(open_output_));
  open_output_ = {};
  return std::move(output_);
}

}  // namespace istmo::codec
