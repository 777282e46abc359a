#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace istmo {
namespace {

ErrorClass class_of_errno(int error_number) {
  switch (error_number) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EADDRNOTAVAIL: return ErrorClass::refused;
    case EADDRINUSE: return ErrorClass::taken;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED: return ErrorClass::reset;
    case ETIMEDOUT: return ErrorClass::timeout;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS: return ErrorClass::limit;
    case ECANCELED: return ErrorClass::closed;
    default: return ErrorClass::internal;
  }
}

}  // namespace

std::string_view to_string(ErrorClass error_class) {
  switch (error_class) {
    case ErrorClass::closed: return "closed";
    case ErrorClass::refused: return "refused";
    case ErrorClass::taken: return "taken";
    case ErrorClass::reset: return "reset";
    case ErrorClass::timeout: return "timeout";
    case ErrorClass::protocol: return "protocol";
    case ErrorClass::limit: return "limit";
    case ErrorClass::config: return "config";
    case ErrorClass::internal: return "internal";
  }
  return "internal";
}

Error Error::from_errno(int error_number, std::string_view doing) {
  char buffer[128];
  std::string text(doing);
  text += ": ";
  text += strerror_r(error_number, buffer, sizeof buffer);
  return {class_of_errno(error_number), std::move(text)};
}

Error Error::at(std::string_view place) && {
  std::string text(place);
  text += ": ";
  text += text_;
  return {class_, std::move(text)};
}

}  // namespace istmo
