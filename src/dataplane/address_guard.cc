#include "dataplane/address_guard.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace istmo {

Result<AddressGuard> AddressGuard::take(const std::string& address) {
  const std::string name = "istmo/" + address;
  sockaddr_un guard{};
  guard.sun_family = AF_UNIX;
  if (name.size() + 1 > sizeof guard.sun_path) return Error::config("address too long: " + address);
  std::memcpy(guard.sun_path + 1, name.data(), name.size());  // a leading zero: abstract
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return Error::from_errno(errno, "guard of " + address);
  AddressGuard taken(descriptor);
  if (::bind(descriptor, reinterpret_cast<const sockaddr*>(&guard), size) == 0) return taken;
  if (errno == EADDRINUSE) {
    return Error::taken("bind " + address + ": Address already in use, by another Istmo site");
  }
  return Error::from_errno(errno, "guard of " + address);
}

AddressGuard::AddressGuard(AddressGuard&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

AddressGuard& AddressGuard::operator=(AddressGuard&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

AddressGuard::~AddressGuard() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace istmo
