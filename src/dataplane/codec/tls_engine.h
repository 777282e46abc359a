// One TLS connection without its socket: ciphertext in, plaintext out, and the other way round.
//
// Owned by a TlsTransport (or a test), on one worker; must not move. OpenSSL makes the handshake,
// on our chains through a BIO of our own: what it reads are the slices that were received, what it
// writes is appended to an output chain that the owner takes after every call.
//
// Behind a handshake of TLS 1.3 with AES-GCM, TlsRecords takes over with the traffic secrets (which
// the key log callback tells; kernel TLS will want the same ones): one cipher pass per octet and no
// copy. Everything else stays with OpenSSL, which costs two copies more per octet: small pieces
// are joined to full records in a scratch area that all engines of a worker share, and an idle
// engine keeps no record buffer (SSL_MODE_RELEASE_BUFFERS).
//
// It ends when it is destroyed. After an error it is only good for take_output(): the alert.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/codec/openssl.h"
#include "dataplane/codec/tls_records.h"
#include "dataplane/io/buffer.h"

namespace istmo::codec {

enum class TlsRole : uint8_t { client, server };

// What the engines made from one set of settings share. Belongs to one worker; counted, because
// connections outlive the settings that they were opened with.
struct TlsShared {
  SslContextPointer context;
  BioMethodPointer bio_methods;
  std::string alpn;  // server: accepted protocols, best first, as RFC 7301 3.1 encodes them
  // Gets every line of the NSS key log, with its argument; nullptr: nobody wants them.
  void (*log_key)(const void* argument, const char* line) = nullptr;
  const void* log_key_argument = nullptr;
  std::array<uint8_t, kTlsRecordBytesMax> scratch;
  uint32_t references = 1;
};
struct TlsSharedRelease {
  void operator()(TlsShared* shared) const {
    if (--shared->references == 0) delete shared;
  }
};
using TlsSharedPointer = std::unique_ptr<TlsShared, TlsSharedRelease>;
// Fills in what engines need beside `context`.
TlsSharedPointer make_tls_shared(SslContextPointer context);
TlsSharedPointer share(TlsShared& shared);

// RFC 7301 3.1: each name behind its length. Names are 1..255 octets; others are left out.
std::string encode_alpn(const std::vector<std::string>& protocols);

// What differs from connection to connection.
struct TlsEngineOptions {
  // Client: one of these must be in the certificate, as DNS name or IP address. Empty: any name.
  std::vector<std::string> expected_names;
  std::string server_name;        // client: sent as SNI if not empty; never an IP address
  std::vector<std::string> alpn;  // client: offered, best first
  // Records under one sending key, then TLS 1.3 takes the next one: AES-GCM is safe for 2^24.5
  // (RFC 8446 5.5), and OpenSSL does not count. TlsRecords watches the other side's key too.
  uint32_t records_per_key = 1 << 23;
};

// Who the other side is, from its verified certificate.
struct TlsIdentity {
  std::string common_name;
  std::vector<std::string> dns_names;
  std::vector<std::string> uris;
  std::string fingerprint_sha256;  // of the certificate, hexadecimal, lower case
};

class TlsEngine {
 public:
  TlsEngine(TlsShared& shared, TlsRole role, TlsEngineOptions options);
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;
  ~TlsEngine();

  // Once, first: a client's hello is then in the output.
  Result<> start();
  // Everything that was received goes in here, in any pieces. Appends what it decrypts to
  // `plaintext`, also before an error. The class of its errors is protocol, and the text says
  // which alert came, or why we sent one.
  Result<> decrypt(io::Chain&& ciphertext, io::Chain& plaintext);
  // Takes up to `bytes_max` octets from the front of `plaintext` into records. is_open() only.
  Result<> encrypt(io::Chain& plaintext, uint64_t bytes_max);
  // close_notify: nothing can be encrypted after it. is_open() only.
  Result<> shutdown();
  // Ciphertext to send, in order.
  io::Chain take_output();

  // The handshake is done on this side. (TLS 1.3: a server may still refuse a client's
  // certificate then; the client learns it as an error of decrypt().)
  bool is_open() const { return is_open_; }
  bool has_ended() const { return has_ended_; }  // close_notify came: what came is all there is
  // What it means that the socket's stream ends now: a cut one is an error of class reset.
  Result<> check_end() const;

  std::optional<TlsIdentity> remote_identity() const;
  std::string negotiated_alpn() const;
  std::string version() const;  // "TLSv1.3"

 private:
  static int read_bio(BIO* bio, char* to, int size);
  static int write_bio(BIO* bio, const char* from, int size);
  static int verify_name(int is_ok, X509_STORE_CTX* store);
  friend TlsSharedPointer make_tls_shared(SslContextPointer context);

  static void on_key_line(const SSL* ssl, const char* line);
  Result<> handshake();
  void take_over_records(bool has_written);
  Result<> decrypt_by_openssl(io::Chain& plaintext);
  Result<> encrypt_by_openssl(io::Chain& plaintext, uint64_t bytes_max);
  Result<> write_record(const uint8_t* data, size_t size);
  bool has_expected_name(X509* certificate) const;
  void append_output(Bytes bytes);
  Error failure(int result, std::string_view doing);

  TlsSharedPointer shared_;
  SslPointer ssl_;
  io::Chain input_;
  io::Chain output_;
  io::Slice open_output_;          // the block that output is being written into
  uint64_t output_bytes_due_ = 0;  // estimate of what the running call will still write
  struct Secrets;
  std::unique_ptr<Secrets> secrets_;     // during the handshake
  std::unique_ptr<TlsRecords> records_;  // behind it, instead of OpenSSL's record layer
  std::vector<std::string> expected_names_;
  uint32_t records_per_key_;
  uint32_t records_sent_ = 0;  // under the current key
  bool is_open_ = false;
  bool has_ended_ = false;
};

}  // namespace istmo::codec
