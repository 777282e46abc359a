#include "dataplane/proxy/report.h"

#include <cerrno>

namespace istmo::proxy {

std::string_view to_string(CloseReason reason) {
  switch (reason) {
    case CloseReason::finished: return "finished";
    case CloseReason::client_reset: return "client_reset";
    case CloseReason::server_reset: return "server_reset";
    case CloseReason::connect_refused: return "connect_refused";
    case CloseReason::connect_timeout: return "connect_timeout";
    case CloseReason::no_route: return "no_route";
    case CloseReason::link_lost: return "link_lost";
    case CloseReason::idle_timeout: return "idle_timeout";
    case CloseReason::half_close_timeout: return "half_close_timeout";
    case CloseReason::connections_limit: return "connections_limit";
    case CloseReason::memory_limit: return "memory_limit";
    case CloseReason::local_limit: return "local_limit";
    case CloseReason::listener_deleted: return "listener_deleted";
    case CloseReason::connector_deleted: return "connector_deleted";
    case CloseReason::administrator: return "administrator";
    case CloseReason::shutdown: return "shutdown";
    case CloseReason::protocol_error: return "protocol_error";
  }
  return "protocol_error";
}

std::optional<CloseReason> close_reason_from(std::string_view name) {
  for (int i = 0; i < kCloseReasons; ++i) {
    const auto reason = static_cast<CloseReason>(i);
    if (name == to_string(reason)) return reason;
  }
  return std::nullopt;
}

bool is_local_limit(int error_number) {
  return error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS ||
         error_number == ENOMEM || error_number == EADDRNOTAVAIL;
}

}  // namespace istmo::proxy
