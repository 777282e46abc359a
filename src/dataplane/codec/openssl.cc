#include "dataplane/codec/openssl.h"

#include <utility>

namespace istmo::codec {
namespace {

// An encrypted key is an error, not a question at the terminal.
int no_passphrase(char*, int, int, void*) { return 0; }

Error unreadable(std::string_view where, std::string_view what) {
  return Error::config(std::string(where) + ": no PEM " + std::string(what) + ": " +
                       take_openssl_error());
}

CertificatePointer next_certificate(BIO* in) {
  return CertificatePointer(PEM_read_bio_X509(in, nullptr, &no_passphrase, nullptr));
}

}  // namespace

Result<CertificatePointer> read_certificate(std::string_view pem, std::string_view where) {
  ERR_clear_error();
  const auto in = bio_over(pem);
  CertificatePointer certificate = next_certificate(in.get());
  if (!certificate) return unreadable(where, "certificate");
  return certificate;
}

Result<std::vector<CertificatePointer>> read_certificates(std::string_view pem,
                                                          std::string_view where) {
  ERR_clear_error();
  const auto in = bio_over(pem);
  std::vector<CertificatePointer> all;
  while (CertificatePointer next = next_certificate(in.get())) all.push_back(std::move(next));
  // The end of the text is the one error that is none.
  const bool is_at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (all.empty() || !is_at_end) return unreadable(where, "certificate");
  ERR_clear_error();
  return all;
}

Result<KeyPointer> read_private_key(std::string_view pem, std::string_view where) {
  ERR_clear_error();
  const auto in = bio_over(pem);
  KeyPointer key(PEM_read_bio_PrivateKey(in.get(), nullptr, &no_passphrase, nullptr));
  if (!key) return unreadable(where, "private key");
  return key;
}

}  // namespace istmo::codec
