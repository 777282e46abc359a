// What is in certificates, as OpenSSL's objects. For the sources of pki.h only.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "control/pki.h"
#include "dataplane/codec/openssl.h"

namespace istmo::control {

inline constexpr std::string_view kSiteUriPrefix = "istmo://site/";

WallTime not_before(const X509* certificate);
WallTime not_after(const X509* certificate);
std::string hex_of(Bytes bytes);

}  // namespace istmo::control
