// Keys, certificates and secrets of a site: ECDSA P-256 with SHA-256, made with OpenSSL.
//
// Functions from text (PEM) to text, without state and without files; `where` in their arguments
// is the file or object that errors name. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {

// Certificates and grants are valid by the wall clock, not by the loop's.
using WallTime = std::chrono::sys_seconds;
WallTime wall_now();
std::string to_rfc3339(WallTime time);                  // "2026-11-22T21:15:01Z"
Result<WallTime> parse_rfc3339(std::string_view text);  // UTC, whole seconds

inline constexpr std::chrono::seconds kCaLifetime = std::chrono::days(5 * 365);
inline constexpr std::chrono::seconds kLeafLifetime = std::chrono::days(365);
// Of certificates given to other sites, by a token or `link generate`, as long as Skupper's: a site
// renews the first kind itself (certificate_renewal.h), if it is linked at all in the last third.
inline constexpr std::chrono::seconds kGivenLifetime = kCaLifetime;
// Clocks of other machines may be behind by as much.
inline constexpr std::chrono::seconds kBackdate = std::chrono::minutes(5);

// A certificate with its private key, both PEM.
struct KeyPair {
  std::string certificate;
  std::string private_key;
  friend bool operator==(const KeyPair&, const KeyPair&) = default;
};

// What a certificate may be used for. Those that a token gives are `client`: they cannot stand in
// for the server of the site that issued them.
enum class CertificateUse : uint8_t { client, server, client_and_server };

struct CertificateRequest {
  std::string common_name;         // at most 64 octets: longer ones are cut (X.520)
  std::vector<std::string> hosts;  // DNS names and numeric addresses
  std::string site_id;             // not empty: URI istmo://site/<site_id>
  CertificateUse use = CertificateUse::client;
  std::chrono::seconds lifetime = kLeafLifetime;
};

Result<KeyPair> make_ca(const std::string& common_name, WallTime now);
// A new certificate for the same key: what the CA signed before stays good. PEM.
Result<std::string> renew_ca(const KeyPair& ca, const std::string& common_name, WallTime now);
// A DNS name or a numeric address, as certificates have them.
bool is_certificate_host(std::string_view host);
// Never outlives the CA. Error::config when the CA is expired or its key is another's.
Result<KeyPair> issue_certificate(const KeyPair& ca, const CertificateRequest& request,
                                  WallTime now);

// A key, and the request that somebody else signs (PKCS #10, RFC 2986). It has no names: the issuer
// knows who asks.
struct SigningRequest {
  std::string private_key;
  std::string request;  // PEM
};
Result<SigningRequest> make_signing_request();
inline constexpr size_t kSigningRequestBytesMax = 4096;
// A certificate for the key of `signing_request`, PEM; names come from `request` alone. Error::
// protocol when the text is no request, its signature is not its key's, or the key is no P-256 key.
Result<std::string> sign_request(const KeyPair& ca, std::string_view signing_request,
                                 const CertificateRequest& request, WallTime now);

struct CertificateInfo {
  std::string subject;             // common name
  std::string issuer;              // common name
  std::string serial;              // hexadecimal, lower case
  std::vector<std::string> hosts;  // DNS names and addresses, as text
  std::vector<std::string> uris;
  std::string site_id;  // of the URI istmo://site/...
  WallTime not_before;
  WallTime not_after;
  std::string fingerprint_sha256;  // hexadecimal, lower case
  bool is_ca = false;
};
// The first certificate of the text.
Result<CertificateInfo> inspect_certificate(std::string_view pem, std::string_view where);

// How many certificates the text holds; Error::config when one of them is no CA's.
Result<size_t> count_cas(std::string_view pem, std::string_view where);

// Less than a third of its life is left (or it is not readable, or not valid yet).
bool needs_rotation(std::string_view certificate_pem, WallTime now);
// Less than 1/`parts` of its life is left (or it is not readable).
bool is_in_last(int parts, std::string_view certificate_pem, WallTime now);
// True when `certificate_pem` names all of `hosts` (numeric addresses compared by value).
bool names_hosts(std::string_view certificate_pem, const std::vector<std::string>& hosts);

// Key belongs to certificate, certificate was signed by one of the CAs, and both are valid at
// `now`.
Result<> check_credentials(const proxy::Credentials& credentials, std::string_view where,
                           WallTime now);

// Takes as long for equal texts as for different ones of the same length.
bool equals_in_constant_time(std::string_view a, std::string_view b);

inline constexpr size_t kCodeSize = 24;
std::string random_code();                   // kCodeSize letters and digits, about 142 bits
std::string random_uuid();                   // version 4
std::string uuid_of(std::string_view text);  // version 8: the same for the same text
bool is_uuid(std::string_view text);
std::string sha256_hex(std::string_view text);

}  // namespace istmo::control
