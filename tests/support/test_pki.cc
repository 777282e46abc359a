#include "test_pki.h"

#include "base/assert.h"
#include "base/bytes.h"

namespace istmo::test {
namespace {

using codec::BioPointer;
using codec::CertificatePointer;
using codec::KeyPointer;

constexpr long kDaySeconds = 24 * 3600;

std::string text_in(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const BioPointer out(BIO_new(BIO_s_mem()));
  ASSERT(PEM_write_bio_X509(out.get(), certificate) == 1);
  return text_in(out.get());
}

std::string pem_of(EVP_PKEY* key) {
  const BioPointer out(BIO_new(BIO_s_mem()));
  ASSERT(PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_in(out.get());
}

void set_name(X509_NAME* name, std::string_view common_name) {
  ASSERT(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                    bytes_of(common_name).data(),
                                    static_cast<int>(common_name.size()), -1, 0) == 1);
}

void add_extension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  ASSERT(extension != nullptr);
  ASSERT(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

KeyPointer make_key(TestKeys keys) {
  if (keys == TestKeys::p256) return KeyPointer(EVP_EC_gen("P-256"));
  return KeyPointer(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
}

void sign(X509* certificate, EVP_PKEY* key, TestKeys keys) {
  ASSERT(X509_sign(certificate, key, keys == TestKeys::p256 ? EVP_sha256() : nullptr) > 0);
}

CertificatePointer make_certificate(EVP_PKEY* key, std::string_view common_name,
                                    Validity validity) {
  CertificatePointer certificate(X509_new());
  X509* raw = certificate.get();
  X509_set_version(raw, X509_VERSION_3);
  uint64_t serial = 0;
  ASSERT(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1);
  serial = serial >> 1 | uint64_t{1} << 62;  // of constant size
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(raw), serial);
  const long shift = validity == Validity::expired  ? -20 * kDaySeconds
                     : validity == Validity::future ? 20 * kDaySeconds
                                                    : 0;
  X509_gmtime_adj(X509_getm_notBefore(raw), shift - kDaySeconds);
  X509_gmtime_adj(X509_getm_notAfter(raw), shift + 10 * kDaySeconds);
  set_name(X509_get_subject_name(raw), common_name);
  ASSERT(X509_set_pubkey(raw, key) == 1);
  return certificate;
}

}  // namespace

TestCa::TestCa(std::string_view common_name, TestKeys keys)
    : keys_(keys),
      key_(make_key(keys)),
      certificate_(make_certificate(key_.get(), common_name, Validity::current)) {
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
  add_extension(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  sign(certificate_.get(), key_.get(), keys_);
}

std::string TestCa::certificate_pem() const { return pem_of(certificate_.get()); }

TestCertificate TestCa::issue(const TestNames& names, Validity validity) const {
  const KeyPointer key = make_key(keys_);
  const auto certificate = make_certificate(key.get(), names.common_name, validity);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  add_extension(certificate.get(), NID_basic_constraints, "critical,CA:FALSE");
  std::string alternatives;
  for (const std::string& name : names.alternative_names) {
    if (!alternatives.empty()) alternatives += ',';
    alternatives += name;
  }
  if (!alternatives.empty()) add_extension(certificate.get(), NID_subject_alt_name, alternatives);
  sign(certificate.get(), key_.get(), keys_);
  return {pem_of(certificate.get()), pem_of(key.get())};
}

}  // namespace istmo::test
