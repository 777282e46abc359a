// The one place that includes OpenSSL's headers, owners for what it allocates, and what is read
// from PEM text.
//
// Whoever needs OpenSSL includes this file: the TLS engine and its settings, and the key and
// certificate code of the control thread. tools/tidy.py lists them; nobody else may.
#pragma once

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace istmo::codec {

template <auto kFree>
struct OpensslDeleter {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};

using SslPointer = std::unique_ptr<SSL, OpensslDeleter<&SSL_free>>;
using SslContextPointer = std::unique_ptr<SSL_CTX, OpensslDeleter<&SSL_CTX_free>>;
using BioPointer = std::unique_ptr<BIO, OpensslDeleter<&BIO_free_all>>;
using BioMethodPointer = std::unique_ptr<BIO_METHOD, OpensslDeleter<&BIO_meth_free>>;
using CertificatePointer = std::unique_ptr<X509, OpensslDeleter<&X509_free>>;
using RequestPointer = std::unique_ptr<X509_REQ, OpensslDeleter<&X509_REQ_free>>;
using KeyPointer = std::unique_ptr<EVP_PKEY, OpensslDeleter<&EVP_PKEY_free>>;

using CipherContextPointer = std::unique_ptr<EVP_CIPHER_CTX, OpensslDeleter<&EVP_CIPHER_CTX_free>>;

// A read-only BIO over borrowed text.
inline BioPointer bio_over(std::string_view text) {
  return BioPointer(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// The oldest entry of this thread's error queue as text, for people; empties the queue.
inline std::string take_openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  return reason ? reason : "unknown error";
}

// From PEM text. Error::config, which begins with `where`.
// The first certificate.
Result<CertificatePointer> read_certificate(std::string_view pem, std::string_view where);
// All certificates, at least one.
Result<std::vector<CertificatePointer>> read_certificates(std::string_view pem,
                                                          std::string_view where);
// A key without a passphrase.
Result<KeyPointer> read_private_key(std::string_view pem, std::string_view where);

}  // namespace istmo::codec
