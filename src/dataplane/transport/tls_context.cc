#include "dataplane/transport/tls_context.h"

#include <utility>

#include "dataplane/codec/openssl.h"

namespace istmo::transport {
namespace {

using codec::read_certificates;
using codec::read_private_key;
using codec::SslContextPointer;
using codec::take_openssl_error;

Error bad(std::string_view what) {
  return Error::config("tls: " + std::string(what) + ": " + take_openssl_error());
}

Result<> use_certificate(SSL_CTX* context, const TlsContextOptions& options) {
  const auto chain = TRY(read_certificates(options.certificate_chain_pem, "tls: certificate"));
  if (SSL_CTX_use_certificate(context, chain[0].get()) != 1) return bad("certificate");
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) return bad("certificate chain");
  }
  const auto key = TRY(read_private_key(options.private_key_pem, "tls: private key"));
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return bad("private key");
  }
  return {};
}

Result<> require_certificate(SSL_CTX* context, const TlsContextOptions& options) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const auto& ca : TRY(read_certificates(options.ca_pem, "tls: CA certificate"))) {
    if (X509_STORE_add_cert(store, ca.get()) != 1) return bad("CA certificate");
    // A server names the CA that it accepts, so that clients with several certificates can choose.
    if (options.role == TlsRole::server) SSL_CTX_add_client_CA(context, ca.get());
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

int select_alpn(SSL*, const unsigned char** selected, unsigned char* selected_size,
                const unsigned char* offered, unsigned int offered_size, void* data) {
  const std::string& accepted = static_cast<codec::TlsShared*>(data)->alpn;
  unsigned char* choice = nullptr;
  const int result =
      SSL_select_next_proto(&choice, selected_size, bytes_of(accepted).data(),
                            static_cast<unsigned>(accepted.size()), offered, offered_size);
  if (result != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *selected = choice;
  return SSL_TLSEXT_ERR_OK;
}

void log_key(const void* key_log, const char* line) {
  static_cast<const KeyLog*>(key_log)->write_line(line);
}

void set_fixed_options(SSL_CTX* context) {
  // Nothing but data flows after the handshake: no tickets, no renegotiation, no compression.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  // The cost of a record decides, and both sides of a link have AES instructions: 128 first.
  SSL_CTX_set_ciphersuites(context,
                           "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                           "TLS_CHACHA20_POLY1305_SHA256");
}

}  // namespace

Result<TlsContext> TlsContext::create(const TlsContextOptions& options) {
  ERR_clear_error();
  SslContextPointer owner(
      SSL_CTX_new(options.role == TlsRole::server ? TLS_server_method() : TLS_client_method()));
  if (!owner) return bad("settings");
  SSL_CTX* context = owner.get();
  SSL_CTX_set_min_proto_version(
      context, options.minimum_version == TlsVersion::v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
  set_fixed_options(context);
  if (options.role == TlsRole::server || !options.certificate_chain_pem.empty()) {
    TRY(use_certificate(context, options));
  }
  if (options.remote_certificate == RemoteCertificate::required) {
    TRY(require_certificate(context, options));
  }
  auto shared = codec::make_tls_shared(std::move(owner));
  if (options.key_log) {
    shared->log_key = &log_key;
    shared->log_key_argument = options.key_log;
  }
  if (options.role == TlsRole::server && !options.alpn.empty()) {
    shared->alpn = codec::encode_alpn(options.alpn);
    SSL_CTX_set_alpn_select_cb(context, &select_alpn, shared.get());
  }
  return TlsContext(options.role, std::move(shared));
}

}  // namespace istmo::transport
