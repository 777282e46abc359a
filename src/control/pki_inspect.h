// Certificates and keys from PEM text, as OpenSSL's objects. For the sources of pki.h only.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "control/pki.h"
#include "dataplane/codec/openssl.h"

namespace istmo::control {

inline constexpr std::string_view kSiteUriPrefix = "istmo://site/";

// The first one of the text. Error::config with `where`.
Result<codec::CertificatePointer> read_certificate(std::string_view pem, std::string_view where);
// All of them, at least one.
Result<std::vector<codec::CertificatePointer>> read_certificates(std::string_view pem,
                                                                 std::string_view where);
Result<codec::KeyPointer> read_private_key(std::string_view pem, std::string_view where);
WallTime not_before(const X509* certificate);
WallTime not_after(const X509* certificate);
std::string hex_of(Bytes bytes);

}  // namespace istmo::control
