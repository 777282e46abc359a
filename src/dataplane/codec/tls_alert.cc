#include "dataplane/codec/tls_alert.h"

#include <string>

namespace istmo::codec {

std::string_view alert_text(int alert) {
  switch (alert) {
    case 10: return "unexpected message";
    case 20: return "bad record mac";
    case 22: return "record overflow";
    case 40: return "handshake failure";
    case 42: return "bad certificate";
    case 43: return "unsupported certificate";
    case 44: return "certificate revoked";
    case 45: return "certificate expired";
    case 46: return "certificate unknown";
    case 47: return "illegal parameter";
    case 48: return "unknown ca";
    case 49: return "access denied";
    case 50: return "decode error";
    case 51: return "decrypt error";
    case 70: return "protocol version";
    case 71: return "insufficient security";
    case 80: return "internal error";
    case 90: return "user canceled";
    case 109: return "missing extension";
    case 110: return "unsupported extension";
    case 112: return "unrecognized name";
    case 116: return "certificate required";
    case 120: return "no application protocol";
    default: return {};
  }
}

Error alert_error(int alert) {
  const std::string_view known = alert_text(alert);
  return Error::protocol("tls: alert from the other side: " +
                         (known.empty() ? std::to_string(alert) : std::string(known)));
}

}  // namespace istmo::codec
