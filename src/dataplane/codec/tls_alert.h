// The alerts of TLS (RFC 8446 6, RFC 5246 7.2).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace istmo::codec {

enum class TlsAlert : uint8_t {
  close_notify = 0,
  unexpected_message = 10,
  bad_record_mac = 20,
  record_overflow = 22,
  illegal_parameter = 47,
  decode_error = 50,
  user_canceled = 90,
};

// In words, as the RFC names it; empty for an unknown one.
std::string_view alert_text(int alert);
// What an alert of the other side means for us: "tls: alert from the other side: ...".
Error alert_error(int alert);

}  // namespace istmo::codec
