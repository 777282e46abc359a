// Base64 (RFC 4648 section 4) as Kubernetes Secrets use it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace istmo::control {

std::string encode_base64(std::string_view octets);
// Line breaks and blanks are skipped; anything else that does not belong is Error::config.
Result<std::string> decode_base64(std::string_view text);

}  // namespace istmo::control
