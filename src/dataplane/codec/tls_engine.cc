#include "dataplane/codec/tls_engine.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace istmo::codec {
namespace {

// With the block's header these fill an allocator's size class exactly.
constexpr uint32_t kPlaintextBlockBytes = 32 * 1024 - sizeof(io::Block);
constexpr uint32_t kOutputBlockBytesMax = 64 * 1024 - sizeof(io::Block);
// Header, nonce, tag of a TLS 1.2 record with AES-GCM.
constexpr uint32_t kOpensslOverheadBytes = 29;

long control_bio(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

int create_bio(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

void append_names(X509* certificate, TlsIdentity& identity) {
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_DNS && name->type != GEN_URI) continue;
    const ASN1_IA5STRING* text =
        name->type == GEN_DNS ? name->d.dNSName : name->d.uniformResourceIdentifier;
    auto& list = name->type == GEN_DNS ? identity.dns_names : identity.uris;
    list.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                      static_cast<size_t>(ASN1_STRING_length(text)));
  }
  GENERAL_NAMES_free(names);
}

std::string common_name_of(X509* certificate) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return {};
  unsigned char* text = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<char*>(text), static_cast<size_t>(size));
  OPENSSL_free(text);
  return name;
}

bool read_hexadecimal(std::string_view digits, std::span<uint8_t> to) {
  for (size_t i = 0; i < to.size(); ++i) {
    const char* pair = digits.data() + 2 * i;
    if (std::from_chars(pair, pair + 2, to[i], 16).ptr != pair + 2) return false;
  }
  return true;
}

std::string fingerprint_of(X509* certificate) {
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  X509_digest(certificate, EVP_sha256(), digest.data(), &size);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

}  // namespace

TlsSharedPointer make_tls_shared(SslContextPointer context) {
  TlsSharedPointer shared(std::make_unique<TlsShared>().release());
  shared->context = std::move(context);
  shared->bio_methods.reset(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "istmo chain"));
  BIO_METHOD* methods = shared->bio_methods.get();
  ASSERT(methods != nullptr);
  BIO_meth_set_create(methods, &create_bio);
  BIO_meth_set_read(methods, &TlsEngine::read_bio);
  BIO_meth_set_write(methods, &TlsEngine::write_bio);
  BIO_meth_set_ctrl(methods, &control_bio);
  SSL_CTX_set_keylog_callback(shared->context.get(), &TlsEngine::on_key_line);
  return shared;
}

TlsSharedPointer share(TlsShared& shared) {
  ++shared.references;
  return TlsSharedPointer(&shared);
}

std::string encode_alpn(const std::vector<std::string>& protocols) {
  std::string encoded;
  for (const std::string& protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) continue;
    encoded += static_cast<char>(protocol.size());
    encoded += protocol;
  }
  return encoded;
}

// The first traffic secrets of both sides, as they were told.
struct TlsEngine::Secrets {
  TlsSecret client, server;
  bool has_client = false, has_server = false;
};

TlsEngine::TlsEngine(TlsShared& shared, TlsRole role, TlsEngineOptions options)
    : shared_(share(shared)),
      ssl_(SSL_new(shared.context.get())),
      secrets_(std::make_unique<Secrets>()),
      expected_names_(std::move(options.expected_names)),
      records_per_key_(options.records_per_key) {
  ASSERT(ssl_ != nullptr);  // out of memory
  BIO* bio = BIO_new(shared.bio_methods.get());
  ASSERT(bio != nullptr);
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  if (role == TlsRole::server) {
    SSL_set_accept_state(ssl_.get());
    return;
  }
  SSL_set_connect_state(ssl_.get());
  if (!options.server_name.empty()) {
    SSL_set_tlsext_host_name(ssl_.get(), options.server_name.c_str());
  }
  const std::string alpn = encode_alpn(options.alpn);
  SSL_set_alpn_protos(ssl_.get(), bytes_of(alpn).data(), static_cast<unsigned>(alpn.size()));
  if (!expected_names_.empty()) {
    SSL_set_verify(ssl_.get(), SSL_get_verify_mode(ssl_.get()), &verify_name);
  }
}

TlsEngine::~TlsEngine() = default;

Result<> TlsEngine::start() { return handshake(); }

Result<> TlsEngine::handshake() {
  ERR_clear_error();
  const uint64_t before = output_.size() + open_output_.size();
  const int result = SSL_do_handshake(ssl_.get());
  if (result != 1) {
    if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ) return {};
    return failure(result, "handshake");
  }
  is_open_ = true;
  expected_names_ = {};
  take_over_records(output_.size() + open_output_.size() > before);
  return {};
}

// Before the first octet of application data in either direction: OpenSSL reads one record at a
// time, so what follows the handshake is still in input_. A server that wrote after the client's
// last message (tickets) has used the new key already; we do not take over from it.
void TlsEngine::take_over_records(bool has_written) {
  const std::unique_ptr<Secrets> secrets = std::move(secrets_);
  const bool is_client = SSL_is_server(ssl_.get()) == 0;
  if (!secrets->has_client || !secrets->has_server || (has_written && !is_client)) return;
  if (SSL_version(ssl_.get()) != TLS1_3_VERSION || SSL_has_pending(ssl_.get()) != 0) return;
  const SSL_CIPHER* suite = SSL_get_current_cipher(ssl_.get());
  const bool is_128 = SSL_CIPHER_get_id(suite) == TLS1_3_CK_AES_128_GCM_SHA256;
  if (!is_128 && SSL_CIPHER_get_id(suite) != TLS1_3_CK_AES_256_GCM_SHA384) return;
  for (TlsSecret* secret : {&secrets->client, &secrets->server}) {
    secret->hash = is_128 ? TlsHash::sha256 : TlsHash::sha384;
    secret->key_bytes = is_128 ? 16 : 32;
  }
  records_ = std::make_unique<TlsRecords>(
      is_client ? secrets->client : secrets->server, is_client ? secrets->server : secrets->client,
      TlsRecords::Options{.is_client = is_client, .records_per_key = records_per_key_});
}

// One line of the NSS key log: label, client random, secret, all but the label hexadecimal.
void TlsEngine::on_key_line(const SSL* ssl, const char* line) {
  auto& engine = *static_cast<TlsEngine*>(SSL_get_app_data(ssl));
  const TlsShared& shared = *engine.shared_;
  if (shared.log_key != nullptr) shared.log_key(shared.log_key_argument, line);
  if (!engine.secrets_) return;
  const std::string_view text(line);
  const bool is_client = text.starts_with("CLIENT_TRAFFIC_SECRET_0 ");
  if (!is_client && !text.starts_with("SERVER_TRAFFIC_SECRET_0 ")) return;
  const std::string_view digits = text.substr(text.rfind(' ') + 1);
  TlsSecret& secret = is_client ? engine.secrets_->client : engine.secrets_->server;
  const bool is_known = digits.size() <= 2 * secret.octets.size() && digits.size() % 2 == 0 &&
                        read_hexadecimal(digits, std::span(secret.octets).first(digits.size() / 2));
  (is_client ? engine.secrets_->has_client : engine.secrets_->has_server) = is_known;
}

Result<> TlsEngine::decrypt(io::Chain&& ciphertext, io::Chain& plaintext) {
  if (has_ended_) return {};
  input_.append(std::move(ciphertext));
  if (!is_open_) {
    TRY(handshake());
    if (!is_open_) return {};
  }
  if (!records_) return decrypt_by_openssl(plaintext);
  const Result<> result = records_->decrypt(std::move(input_), plaintext);
  has_ended_ = records_->has_ended();
  return result;
}

Result<> TlsEngine::decrypt_by_openssl(io::Chain& plaintext) {
  io::Slice block;
  uint32_t used = 0;
  const auto give_block = [&] {
    if (used == 0) return;
    // A few octets do not keep a large block.
    if (used * 4 < block.size()) {
      plaintext.append(io::Slice::copy_of(block.bytes().first(used)));
    } else {
      block.truncate(used);
      plaintext.append(std::move(block));
    }
  };
  ERR_clear_error();
  while (true) {
    if (used == block.size()) {
      give_block();
      block = io::Slice::allocate(kPlaintextBlockBytes);
      used = 0;
    }
    size_t count = 0;
    const int result =
        SSL_read_ex(ssl_.get(), block.mutable_data() + used, block.size() - used, &count);
    if (result == 1) {
      used += static_cast<uint32_t>(count);
      continue;
    }
    give_block();
    switch (SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ: return {};
      case SSL_ERROR_ZERO_RETURN:
        has_ended_ = true;
        input_.clear();  // RFC 8446 6.1: what follows close_notify is ignored
        return {};
      default: return failure(result, "receive");
    }
  }
}

Result<> TlsEngine::encrypt(io::Chain& plaintext, uint64_t bytes_max) {
  ASSERT(is_open_);
  if (!records_) return encrypt_by_openssl(plaintext, bytes_max);
  records_->encrypt(plaintext, bytes_max);
  return {};
}

Result<> TlsEngine::encrypt_by_openssl(io::Chain& plaintext, uint64_t bytes_max) {
  uint64_t left = std::min(bytes_max, plaintext.size());
  output_bytes_due_ = left + (left / kTlsRecordBytesMax + 1) * kOpensslOverheadBytes;
  while (left > 0) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(left, kTlsRecordBytesMax));
    const Bytes first = plaintext.slice(0).bytes();
    if (first.size() >= size) {
      TRY(write_record(first.data(), size));
    } else {
      plaintext.copy_out(0, std::span(shared_->scratch).first(size));
      TRY(write_record(shared_->scratch.data(), size));
    }
    plaintext.drop_front(size);
    left -= size;
  }
  output_bytes_due_ = 0;
  return {};
}

Result<> TlsEngine::write_record(const uint8_t* data, size_t size) {
  ERR_clear_error();
  if (++records_sent_ > records_per_key_ && SSL_version(ssl_.get()) >= TLS1_3_VERSION) {
    SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
    records_sent_ = 1;
  }
  size_t written = 0;
  const int result = SSL_write_ex(ssl_.get(), data, size, &written);
  if (result != 1) return failure(result, "send");
  ASSERT(written == size);  // our BIO takes everything
  return {};
}

Result<> TlsEngine::shutdown() {
  ASSERT(is_open_);
  if (records_) {
    records_->close_notify();
    return {};
  }
  ERR_clear_error();
  const int result = SSL_shutdown(ssl_.get());  // 0: sent, the other side's has not come yet
  if (result < 0) return failure(result, "close");
  return {};
}

io::Chain TlsEngine::take_output() {
  output_.append(std::move(open_output_));
  open_output_ = {};
  if (records_) output_.append(records_->take_output());
  return std::move(output_);
}

Result<> TlsEngine::check_end() const {
  if (has_ended_) return {};
  return Error::reset(is_open_ ? "tls: connection ended without close_notify"
                               : "tls: connection ended during the handshake");
}

std::optional<TlsIdentity> TlsEngine::remote_identity() const {
  const CertificatePointer certificate(SSL_get1_peer_certificate(ssl_.get()));
  if (!certificate || SSL_get_verify_result(ssl_.get()) != X509_V_OK) return std::nullopt;
  TlsIdentity identity;
  identity.common_name = common_name_of(certificate.get());
  identity.fingerprint_sha256 = fingerprint_of(certificate.get());
  append_names(certificate.get(), identity);
  return identity;
}

std::string TlsEngine::negotiated_alpn() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string TlsEngine::version() const { return SSL_get_version(ssl_.get()); }

int TlsEngine::read_bio(BIO* bio, char* to, int size) {
  BIO_clear_retry_flags(bio);
  auto& engine = *static_cast<TlsEngine*>(BIO_get_data(bio));
  if (engine.input_.empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const std::span<uint8_t> room(reinterpret_cast<uint8_t*>(to), static_cast<size_t>(size));
  const size_t count = engine.input_.copy_out(0, room);
  engine.input_.drop_front(count);
  return static_cast<int>(count);
}

int TlsEngine::write_bio(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  auto& engine = *static_cast<TlsEngine*>(BIO_get_data(bio));
  engine.append_output({reinterpret_cast<const uint8_t*>(from), static_cast<size_t>(size)});
  return size;
}

void TlsEngine::append_output(Bytes bytes) {
  const uint64_t due = output_bytes_due_;
  output_bytes_due_ -= std::min<uint64_t>(due, bytes.size());
  while (!bytes.empty()) {
    if (open_output_.room() == 0) {
      output_.append(std::move(open_output_));
      const uint64_t wanted = std::max<uint64_t>(due, bytes.size());
      open_output_ = io::Slice::allocate(
          static_cast<uint32_t>(std::min<uint64_t>(wanted, kOutputBlockBytesMax)));
      open_output_.truncate(0);
    }
    const size_t count = std::min<size_t>(open_output_.room(), bytes.size());
    std::memcpy(open_output_.mutable_data() + open_output_.size(), bytes.data(), count);
    open_output_.extend(static_cast<uint32_t>(count));
    bytes = bytes.subspan(count);
  }
}

// OpenSSL can demand one DNS name and one address at once, but not "one of these".
int TlsEngine::verify_name(int is_ok, X509_STORE_CTX* store) {
  if (!is_ok || X509_STORE_CTX_get_error_depth(store) != 0) return is_ok;
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const auto& engine = *static_cast<TlsEngine*>(SSL_get_app_data(ssl));
  if (engine.has_expected_name(X509_STORE_CTX_get_current_cert(store))) return 1;
  X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
  return 0;
}

bool TlsEngine::has_expected_name(X509* certificate) const {
  return std::ranges::any_of(expected_names_, [&](const std::string& name) {
    return X509_check_ip_asc(certificate, name.c_str(), 0) == 1 ||
           X509_check_host(certificate, name.data(), name.size(), 0, nullptr) == 1;
  });
}

Error TlsEngine::failure(int result, std::string_view doing) {
  const int kind = SSL_get_error(ssl_.get(), result);
  const unsigned long code = ERR_peek_error();
  const int reason = ERR_GET_REASON(code);
  const long verdict = SSL_get_verify_result(ssl_.get());
  std::string text = "tls: ";
  if (kind == SSL_ERROR_SSL && reason > SSL_AD_REASON_OFFSET) {
    ERR_clear_error();
    return alert_error(reason - SSL_AD_REASON_OFFSET);
  }
  if (kind == SSL_ERROR_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    text += "certificate required, but the other side sent none";
  } else if (kind == SSL_ERROR_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    text += "certificate not accepted: ";
    text += X509_verify_cert_error_string(verdict);
  } else {
    text.append(doing).append(": ").append(take_openssl_error());
  }
  ERR_clear_error();
  return Error::protocol(std::move(text));
}

}  // namespace istmo::codec
