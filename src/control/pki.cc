#include "control/pki.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "base/assert.h"
#include "control/pki_inspect.h"
#include "dataplane/codec/openssl.h"

namespace istmo::control {

using codec::BioPointer;
using codec::CertificatePointer;
using codec::KeyPointer;
using codec::read_certificate;
using codec::read_private_key;
using codec::RequestPointer;
using codec::take_openssl_error;

namespace {

constexpr long kVersion3 = 2;               // RFC 5280 4.1.2.1: counted from 0
constexpr size_t kSerialBytes = 16;         // RFC 5280 4.1.2.2: at most 20
constexpr size_t kCommonNameBytesMax = 64;  // X.520 ub-common-name

Error openssl_failed(std::string_view doing) {
  return Error::internal(std::string(doing) + ": " + take_openssl_error());
}

void fill_random(uint8_t* to, size_t size) {
  // OpenSSL's generator fails only when the system has no entropy to give: no secret is safe then.
  const int is_filled = RAND_bytes(to, static_cast<int>(size));
  ASSERT(is_filled == 1);
}

std::string text_of_bio(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

Result<std::string> certificate_to_pem(X509* certificate) {
  const BioPointer out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(out.get(), certificate) != 1) return openssl_failed("write PEM");
  return text_of_bio(out.get());
}

Result<std::string> key_to_pem(EVP_PKEY* key) {
  const BioPointer out(BIO_new(BIO_s_secmem()));
  if (PEM_write_bio_PKCS8PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return openssl_failed("write PEM");
  }
  return text_of_bio(out.get());
}

Result<KeyPair> to_pem(X509* certificate, EVP_PKEY* key) {
  return KeyPair{.certificate = TRY(certificate_to_pem(certificate)),
                 .private_key = TRY(key_to_pem(key))};
}

Result<> set_random_serial(X509* certificate) {
  std::array<uint8_t, kSerialBytes> octets;
  fill_random(octets.data(), octets.size());
  octets[0] &= 0x7f;  // positive in 16 octets
  octets[0] |= 0x40;  // and never shorter
  BIGNUM* number = BN_bin2bn(octets.data(), static_cast<int>(octets.size()), nullptr);
  const bool is_set =
      number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  if (!is_set) return openssl_failed("set serial");
  return {};
}

// Cut at a character, not inside one.
std::string_view cut_common_name(std::string_view name) {
  if (name.size() <= kCommonNameBytesMax) return name;
  size_t size = kCommonNameBytesMax;
  while (size > 0 && (static_cast<uint8_t>(name[size]) & 0xc0) == 0x80) --size;
  return name.substr(0, size);
}

struct Validity {
  WallTime not_before;
  WallTime not_after;
};

Result<> set_basics(X509* certificate, EVP_PKEY* key, std::string_view common_name,
                    const Validity& validity) {
  TRY(set_random_serial(certificate));
  const std::string_view name = cut_common_name(common_name);
  const auto* text = reinterpret_cast<const unsigned char*>(name.data());
  const bool is_set =
      X509_set_version(certificate, kVersion3) == 1 &&
      ASN1_TIME_set(X509_getm_notBefore(certificate),
                    validity.not_before.time_since_epoch().count()) != nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(certificate),
                    validity.not_after.time_since_epoch().count()) != nullptr &&
      X509_set_pubkey(certificate, key) == 1 &&
      X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName, MBSTRING_UTF8,
                                 text, static_cast<int>(name.size()), -1, 0) == 1;
  if (!is_set) return openssl_failed("certificate for " + std::string(common_name));
  return {};
}

// `value` is a constant of ours: OpenSSL's small language must never see foreign text.
Result<> add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  const bool is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  if (!is_added) return openssl_failed(std::string("extension ") + OBJ_nid2sn(nid));
  return {};
}

bool is_dns_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  for (const char c : name) {
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!is_letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_') return false;
  }
  return true;
}

Result<> add_name(GENERAL_NAMES* names, int type, ASN1_STRING* value) {
  GENERAL_NAME* name = GENERAL_NAME_new();
  if (!name || !value || sk_GENERAL_NAME_push(names, name) == 0) {
    GENERAL_NAME_free(name);
    ASN1_STRING_free(value);
    return openssl_failed("alternative name");
  }
  GENERAL_NAME_set0_value(name, type, value);
  return {};
}

Result<> add_text_name(GENERAL_NAMES* names, int type, std::string_view text) {
  ASN1_STRING* value = ASN1_STRING_type_new(V_ASN1_IA5STRING);
  if (value) ASN1_STRING_set(value, text.data(), static_cast<int>(text.size()));
  return add_name(names, type, value);
}

Result<> add_alternative_names(GENERAL_NAMES* names, const CertificateRequest& request) {
  for (const std::string& host : request.hosts) {
    if (ASN1_OCTET_STRING* octets = a2i_IPADDRESS(host.c_str())) {
      TRY(add_name(names, GEN_IPADD, octets));
    } else if (is_dns_name(host)) {
      TRY(add_text_name(names, GEN_DNS, host));
    } else {
      return Error::config("certificate for " + request.common_name + ": '" + host +
                           "' is neither a host name nor an address");
    }
  }
  if (!request.site_id.empty()) {
    TRY(add_text_name(names, GEN_URI, std::string(kSiteUriPrefix) + request.site_id));
  }
  return {};
}

Result<> set_alternative_names(X509* certificate, const CertificateRequest& request) {
  GENERAL_NAMES* names = GENERAL_NAMES_new();
  auto added = add_alternative_names(names, request);
  if (added && sk_GENERAL_NAME_num(names) > 0 &&
      X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1) {
    added = openssl_failed("alternative names");
  }
  GENERAL_NAMES_free(names);
  return added;
}

const char* extended_usage(CertificateUse use) {
  switch (use) {
    case CertificateUse::client: return "clientAuth";
    case CertificateUse::server: return "serverAuth";
    case CertificateUse::client_and_server: return "serverAuth,clientAuth";
  }
  return "clientAuth";
}

Result<> set_leaf_extensions(X509* certificate, X509* issuer, const CertificateRequest& request) {
  TRY(add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE"));
  TRY(add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature"));
  TRY(add_extension(certificate, issuer, NID_ext_key_usage, extended_usage(request.use)));
  TRY(add_extension(certificate, issuer, NID_subject_key_identifier, "hash"));
  TRY(add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always"));
  return set_alternative_names(certificate, request);
}

Result<> set_ca_extensions(X509* certificate) {
  TRY(add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  TRY(add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign"));
  return add_extension(certificate, certificate, NID_subject_key_identifier, "hash");
}

struct Issuer {
  CertificatePointer certificate;
  KeyPointer key;
};

Result<Issuer> read_issuer(const KeyPair& ca, WallTime now) {
  Issuer issuer{.certificate = TRY(read_certificate(ca.certificate, "site CA")),
                .key = TRY(read_private_key(ca.private_key, "site CA"))};
  if (X509_check_private_key(issuer.certificate.get(), issuer.key.get()) != 1) {
    ERR_clear_error();
    return Error::config("site CA: the private key does not belong to the certificate");
  }
  const WallTime end = not_after(issuer.certificate.get());
  if (end <= now) return Error::config("site CA: expired on " + to_rfc3339(end));
  return issuer;
}

// A signed certificate for `key`, whoever holds its private half.
Result<CertificatePointer> certify(const Issuer& issuer, EVP_PKEY* key,
                                   const CertificateRequest& request, WallTime now) {
  CertificatePointer certificate(X509_new());
  if (!certificate) return openssl_failed("make certificate");
  const WallTime end = std::min(now + request.lifetime, not_after(issuer.certificate.get()));
  TRY(set_basics(certificate.get(), key, request.common_name,
                 {.not_before = now - kBackdate, .not_after = end}));
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.certificate.get())) !=
      1) {
    return openssl_failed("make certificate");
  }
  TRY(set_leaf_extensions(certificate.get(), issuer.certificate.get(), request));
  if (X509_sign(certificate.get(), issuer.key.get(), EVP_sha256()) == 0) {
    return openssl_failed("sign certificate");
  }
  return certificate;
}

Result<KeyPointer> make_key() {
  KeyPointer key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed("make key");
  return key;
}

}  // namespace

WallTime wall_now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

std::string to_rfc3339(WallTime time) {
  const std::time_t seconds = time.time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, size};
}

Result<WallTime> parse_rfc3339(std::string_view text) {
  std::tm parts{};
  const std::string copy(text);
  const char* end = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (!end || *end != '\0')
    return Error::config("'" + copy + "' is no time like 2026-01-31T12:00:00Z");
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

namespace {

Result<std::string> ca_certificate(EVP_PKEY* key, const std::string& common_name, WallTime now) {
  const CertificatePointer certificate(X509_new());
  if (!certificate) return openssl_failed("make CA");
  TRY(set_basics(certificate.get(), key, common_name,
                 {.not_before = now - kBackdate, .not_after = now + kCaLifetime}));
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get())) != 1) {
    return openssl_failed("make CA");
  }
  TRY(set_ca_extensions(certificate.get()));
  if (X509_sign(certificate.get(), key, EVP_sha256()) == 0) return openssl_failed("sign CA");
  return certificate_to_pem(certificate.get());
}

}  // namespace

Result<KeyPair> make_ca(const std::string& common_name, WallTime now) {
  const KeyPointer key = TRY(make_key());
  return KeyPair{.certificate = TRY(ca_certificate(key.get(), common_name, now)),
                 .private_key = TRY(key_to_pem(key.get()))};
}

Result<std::string> renew_ca(const KeyPair& ca, const std::string& common_name, WallTime now) {
  const KeyPointer key = TRY(read_private_key(ca.private_key, common_name));
  return ca_certificate(key.get(), common_name, now);
}

bool is_certificate_host(std::string_view host) {
  ASN1_OCTET_STRING* octets = a2i_IPADDRESS(std::string(host).c_str());
  const bool is_address = octets != nullptr;
  ASN1_STRING_free(octets);
  if (!is_address) ERR_clear_error();
  return is_address || is_dns_name(host);
}

Result<KeyPair> issue_certificate(const KeyPair& ca, const CertificateRequest& request,
                                  WallTime now) {
  const Issuer issuer = TRY(read_issuer(ca, now));
  const KeyPointer key = TRY(make_key());
  const CertificatePointer certificate = TRY(certify(issuer, key.get(), request, now));
  return to_pem(certificate.get(), key.get());
}

Result<SigningRequest> make_signing_request() {
  const KeyPointer key = TRY(make_key());
  const RequestPointer request(X509_REQ_new());
  if (!request || X509_REQ_set_version(request.get(), 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0) {
    return openssl_failed("make signing request");
  }
  const BioPointer request_out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509_REQ(request_out.get(), request.get()) != 1) {
    return openssl_failed("write PEM");
  }
  return SigningRequest{.private_key = TRY(key_to_pem(key.get())),
                        .request = text_of_bio(request_out.get())};
}

Result<std::string> sign_request(const KeyPair& ca, std::string_view signing_request,
                                 const CertificateRequest& request, WallTime now) {
  ERR_clear_error();
  if (signing_request.size() > kSigningRequestBytesMax) {
    return Error::protocol("signing request: too long");
  }
  const auto in = codec::bio_over(signing_request);
  const RequestPointer parsed(PEM_read_bio_X509_REQ(in.get(), nullptr, nullptr, nullptr));
  EVP_PKEY* key = parsed ? X509_REQ_get0_pubkey(parsed.get()) : nullptr;
  char group[32] = {};
  const bool is_p256 = key && EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) == 1 &&
                       std::string_view(group) == "prime256v1";
  if (!is_p256 || X509_REQ_verify(parsed.get(), key) != 1) {
    ERR_clear_error();
    return Error::protocol("signing request: not signed by a P-256 key of its own");
  }
  const Issuer issuer = TRY(read_issuer(ca, now));
  const CertificatePointer certificate = TRY(certify(issuer, key, request, now));
  return certificate_to_pem(certificate.get());
}

bool equals_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_code() {
  constexpr std::string_view kSymbols =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  constexpr uint8_t kUsable = 256 - 256 % kSymbols.size();  // beyond it symbols were not even
  std::string code;
  while (code.size() < kCodeSize) {
    std::array<uint8_t, kCodeSize> octets;
    fill_random(octets.data(), octets.size());
    for (const uint8_t octet : octets) {
      if (octet < kUsable && code.size() < kCodeSize) code += kSymbols[octet % kSymbols.size()];
    }
  }
  return code;
}

namespace {

std::array<uint8_t, 32> sha256_of(std::string_view text) {
  std::array<uint8_t, 32> digest;
  unsigned int size = 0;
  const int is_done =
      EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr);
  ASSERT(is_done == 1 && size == digest.size());
  return digest;
}

// RFC 9562 4: the version and the variant of an UUID, whatever else its octets are.
std::string uuid_text(std::array<uint8_t, 16> octets, uint8_t version) {
  octets[6] = static_cast<uint8_t>((octets[6] & 0x0f) | (version << 4));
  octets[8] = static_cast<uint8_t>((octets[8] & 0x3f) | 0x80);
  std::string text = hex_of(octets);
  for (const size_t place : {20, 16, 12, 8}) text.insert(place, 1, '-');
  return text;
}

}  // namespace

std::string random_uuid() {
  std::array<uint8_t, 16> octets;
  fill_random(octets.data(), octets.size());
  return uuid_text(octets, 4);
}

std::string uuid_of(std::string_view text) {
  std::array<uint8_t, 16> octets{};
  const auto digest = sha256_of(text);
  std::copy_n(digest.begin(), octets.size(), octets.begin());
  return uuid_text(octets, 8);
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    const bool is_dash_place = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash_place ? c != '-' : !is_hex) return false;
  }
  return true;
}

std::string sha256_hex(std::string_view text) { return hex_of(sha256_of(text)); }

}  // namespace istmo::control
