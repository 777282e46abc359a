#include "control/pki_inspect.h"

#include <arpa/inet.h>

#include <array>
#include <ctime>

namespace istmo::control {

using codec::CertificatePointer;
using codec::read_certificate;
using codec::read_certificates;
using codec::read_private_key;
using codec::take_openssl_error;

namespace {

struct StoreFree {
  void operator()(X509_STORE* store) const { X509_STORE_free(store); }
};
struct StoreContextFree {
  void operator()(X509_STORE_CTX* context) const { X509_STORE_CTX_free(context); }
};
using StorePointer = std::unique_ptr<X509_STORE, StoreFree>;
using StoreContextPointer = std::unique_ptr<X509_STORE_CTX, StoreContextFree>;

Error bad(std::string_view where, std::string_view what) {
  return Error::config(std::string(where) + ": " + std::string(what));
}

WallTime to_wall_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

std::string text_of_string(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

std::string common_name(const X509_NAME* name) {
  const int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (index < 0) return {};
  return text_of_string(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
}

std::string address_text(const ASN1_OCTET_STRING* octets) {
  char text[INET6_ADDRSTRLEN];
  const int size = ASN1_STRING_length(octets);
  if (size != 4 && size != 16) return {};
  const int family = size == 4 ? AF_INET : AF_INET6;
  return inet_ntop(family, ASN1_STRING_get0_data(octets), text, sizeof text) ? text : "";
}

void read_alternative_names(const X509* certificate, CertificateInfo& info) {
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) info.hosts.push_back(text_of_string(name->d.dNSName));
    if (name->type == GEN_IPADD) info.hosts.push_back(address_text(name->d.iPAddress));
    if (name->type != GEN_URI) continue;
    info.uris.push_back(text_of_string(name->d.uniformResourceIdentifier));
    if (info.uris.back().starts_with(kSiteUriPrefix)) {
      info.site_id = info.uris.back().substr(kSiteUriPrefix.size());
    }
  }
  GENERAL_NAMES_free(names);
}

// What check_credentials() cares about is said in our words, the rest in OpenSSL's.
Error verify_error(X509_STORE_CTX* context, X509* certificate, std::string_view where) {
  const X509* at = X509_STORE_CTX_get_current_cert(context);
  const std::string which = at && at != certificate ? "CA " : "";
  const int code = X509_STORE_CTX_get_error(context);
  ERR_clear_error();
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return bad(where, which + "certificate expired on " + to_rfc3339(not_after(at)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return bad(where, which + "certificate is not valid before " + to_rfc3339(not_before(at)) +
                            "; check the clock");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return bad(where, "certificate was not signed by the CA beside it");
    default: return bad(where, X509_verify_cert_error_string(code));
  }
}

Result<> verify_chain(X509* certificate, const std::vector<CertificatePointer>& cas,
                      std::string_view where, WallTime now) {
  const StorePointer store(X509_STORE_new());
  const StoreContextPointer context(X509_STORE_CTX_new());
  bool is_ready = store && context;
  for (const auto& ca : cas) {
    is_ready = is_ready && X509_STORE_add_cert(store.get(), ca.get()) == 1;
  }
  if (!is_ready || X509_STORE_CTX_init(context.get(), store.get(), certificate, nullptr) != 1) {
    return Error::internal(std::string(where) + ": " + take_openssl_error());
  }
  X509_STORE_CTX_set_time(context.get(), 0, now.time_since_epoch().count());
  if (X509_verify_cert(context.get()) != 1) return verify_error(context.get(), certificate, where);
  return {};
}

}  // namespace

std::string hex_of(Bytes bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t octet : bytes) {
    text += kDigits[octet >> 4];
    text += kDigits[octet & 15];
  }
  return text;
}

WallTime not_before(const X509* certificate) {
  return to_wall_time(X509_get0_notBefore(certificate));
}

WallTime not_after(const X509* certificate) {
  return to_wall_time(X509_get0_notAfter(certificate));
}

Result<size_t> count_cas(std::string_view pem, std::string_view where) {
  const auto all = TRY(read_certificates(pem, where));
  for (const auto& certificate : all) {
    if (X509_check_ca(certificate.get()) != 1) return bad(where, "a certificate is no CA's");
  }
  return all.size();
}

Result<CertificateInfo> inspect_certificate(std::string_view pem, std::string_view where) {
  const CertificatePointer certificate = TRY(read_certificate(pem, where));
  CertificateInfo info;
  info.subject = common_name(X509_get_subject_name(certificate.get()));
  info.issuer = common_name(X509_get_issuer_name(certificate.get()));
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate.get());
  info.serial =
      hex_of({ASN1_STRING_get0_data(serial), static_cast<size_t>(ASN1_STRING_length(serial))});
  read_alternative_names(certificate.get(), info);
  info.not_before = not_before(certificate.get());
  info.not_after = not_after(certificate.get());
  std::array<uint8_t, 32> digest;
  unsigned int size = 0;
  X509_digest(certificate.get(), EVP_sha256(), digest.data(), &size);
  info.fingerprint_sha256 = hex_of(digest);
  info.is_ca = X509_check_ca(certificate.get()) == 1;
  return info;
}

bool is_in_last(int parts, std::string_view certificate_pem, WallTime now) {
  const auto certificate = read_certificate(certificate_pem, "");
  if (!certificate) return true;
  const WallTime start = not_before(certificate->get());
  const WallTime end = not_after(certificate->get());
  return (end - now) * parts < end - start;
}

bool needs_rotation(std::string_view certificate_pem, WallTime now) {
  const auto certificate = read_certificate(certificate_pem, "");
  if (!certificate || now < not_before(certificate->get())) return true;
  return is_in_last(3, certificate_pem, now);
}

bool names_hosts(std::string_view certificate_pem, const std::vector<std::string>& hosts) {
  const auto certificate = read_certificate(certificate_pem, "");
  if (!certificate) return false;
  for (const std::string& host : hosts) {
    const unsigned int flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
    if (X509_check_ip_asc(certificate->get(), host.c_str(), 0) != 1 &&
        X509_check_host(certificate->get(), host.data(), host.size(), flags, nullptr) != 1) {
      return false;
    }
  }
  return true;
}

Result<> check_credentials(const proxy::Credentials& credentials, std::string_view where,
                           WallTime now) {
  const auto certificate = TRY(read_certificate(credentials.certificate, where));
  const auto key = TRY(read_private_key(credentials.private_key, where));
  const auto cas = TRY(read_certificates(credentials.ca, std::string(where) + ": CA"));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return bad(where, "the private key does not belong to the certificate");
  }
  return verify_chain(certificate.get(), cas, where, now);
}

}  // namespace istmo::control
