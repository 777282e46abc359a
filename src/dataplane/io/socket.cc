#include "dataplane/io/socket.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>

#include "base/assert.h"

namespace istmo::io {
namespace {

Error not_an_address(std::string_view text) {
  return Error::config("'" + std::string(text) + "' is not a numeric address");
}

Result<uint16_t> parse_port(std::string_view text, std::string_view whole) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return Error::config("'" + std::string(whole) + "' does not end with a port (0 to 65535)");
  }
  return port;
}

// RFC 4007 11: an interface name or number behind '%'. 0: no such interface.
uint32_t parse_zone(const std::string& zone) {
  if (const uint32_t index = if_nametoindex(zone.c_str()); index != 0) return index;
  uint32_t index = 0;
  const auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), index);
  return error == std::errc() && end == zone.data() + zone.size() ? index : 0;
}

}  // namespace

Result<Address> Address::parse(std::string_view host, uint16_t port) {
  std::string text(host);
  const bool has_brackets = text.size() > 2 && text.front() == '[' && text.back() == ']';
  if (has_brackets) text = text.substr(1, text.size() - 2);
  if (text.find('\0') != std::string::npos) return not_an_address("(with a zero octet)");

  in_addr ipv4{};
  if (!has_brackets && inet_pton(AF_INET, text.c_str(), &ipv4) == 1) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr = ipv4;
    return from_sockaddr(reinterpret_cast<const sockaddr*>(&in), sizeof in);
  }
  sockaddr_in6 in6{};
  if (const size_t percent = text.find('%'); percent != std::string::npos) {
    in6.sin6_scope_id = parse_zone(text.substr(percent + 1));
    if (in6.sin6_scope_id == 0) return not_an_address(host);
    text.resize(percent);
  }
  if (inet_pton(AF_INET6, text.c_str(), &in6.sin6_addr) != 1) return not_an_address(host);
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  return from_sockaddr(reinterpret_cast<const sockaddr*>(&in6), sizeof in6);
}

Result<Address> Address::parse(std::string_view host_and_port) {
  const size_t colon = host_and_port.rfind(':');
  if (colon == std::string_view::npos) {
    return Error::config("'" + std::string(host_and_port) + "' has no port");
  }
  const std::string_view host = host_and_port.substr(0, colon);
  // "::1:80" could be an address with or without a port: brackets are required.
  if (host.find(':') != std::string_view::npos && !host.starts_with('[')) {
    return not_an_address(host_and_port);
  }
  const auto port = TRY(parse_port(host_and_port.substr(colon + 1), host_and_port));
  return parse(host, port);
}

Address Address::from_sockaddr(const sockaddr* address, socklen_t length) {
  ASSERT(length <= sizeof(sockaddr_storage));
  Address copy;
  std::memcpy(&copy.storage_, address, length);
  copy.size_ = length;
  return copy;
}

uint16_t Address::port() const {
  switch (family()) {
    case AF_INET: return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
    case AF_INET6: return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
    default: return 0;
  }
}

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr, text,
              sizeof text);
    return text;
  }
  if (family() != AF_INET6) return "";
  const auto& in6 = *reinterpret_cast<const sockaddr_in6*>(&storage_);
  inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
  std::string host = text;
  if (in6.sin6_scope_id != 0) host += "%" + std::to_string(in6.sin6_scope_id);
  return host;
}

std::string Address::to_string() const {
  if (is_empty()) return "(none)";
  if (family() == AF_INET6) return "[" + host() + "]:" + std::to_string(port());
  return host() + ":" + std::to_string(port());
}

std::string Address::source() const {
  if (family() != AF_INET6) return host();
  sockaddr_in6 full;
  std::memcpy(&full, raw(), sizeof full);
  const uint8_t* octets = full.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&full.sin6_addr)) {
    sockaddr_in mapped{};
    mapped.sin_family = AF_INET;
    std::memcpy(&mapped.sin_addr, octets + 12, 4);
    return from_sockaddr(reinterpret_cast<const sockaddr*>(&mapped), sizeof mapped).host();
  }
  std::memset(full.sin6_addr.s6_addr + 8, 0, 8);  // one customer has a /64 at least
  full.sin6_scope_id = 0;
  return from_sockaddr(reinterpret_cast<const sockaddr*>(&full), sizeof full).host() + "/64";
}

bool operator==(const Address& a, const Address& b) {
  return a.size_ == b.size_ && std::memcmp(&a.storage_, &b.storage_, a.size_) == 0;
}

}  // namespace istmo::io
