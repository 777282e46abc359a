#include "control/service_address.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "dataplane/io/socket.h"

namespace istmo::control {

namespace {

// FNV-1a, 64 bits, with a final mix: names differ in few octets, addresses should not be close.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 14695981039346656037ull;
  for (char octet : text) hash = (hash ^ static_cast<uint8_t>(octet)) * 1099511628211ull;
  hash ^= hash >> 32;
  hash *= 0x9E3779B97F4A7C15ull;
  return hash ^ (hash >> 29);
}

}  // namespace

std::string service_host_of(std::string_view namespace_name) {
  const uint64_t hash = hash_of(namespace_name);
  const uint64_t x = 1 + hash % 254;
  const uint64_t y = (hash >> 16) % 256;
  const uint64_t z = 1 + (hash >> 32) % 254;
  return "127." + std::to_string(x) + "." + std::to_string(y) + "." + std::to_string(z);
}

Result<> check_service_host(std::string_view host) {
  const io::Address address = TRY(io::Address::parse(host, 0));
  const int probe = ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return Error::from_errno(errno, "socket for service host " + std::string(host));
  const int bound = ::bind(probe, address.raw(), address.raw_size());
  const int bind_error = errno;
  ::close(probe);
  if (bound == 0) return {};
  return Error::from_errno(bind_error, "service host " + std::string(host) +
                                           " must be an address of this machine: bind");
}

}  // namespace istmo::control
