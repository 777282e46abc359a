// Addresses and what a socket is opened with. Numeric only: names are resolved by the control
// thread (src/control/resolver).
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace istmo::io {

// A socket as a Loop knows it: the kernel's descriptor, or a number of the simulated network.
// Plain value; who owns it closes it with Loop::close.
class Fd {
 public:
  constexpr Fd() = default;
  constexpr explicit Fd(int number) : number_(number) {}
  constexpr int number() const { return number_; }
  constexpr bool is_open() const { return number_ >= 0; }
  friend constexpr bool operator==(Fd, Fd) = default;

 private:
  int number_ = -1;
};

// IPv4 or IPv6 address and port.
class Address {
 public:
  Address() = default;
  // `host` is a numeric address, brackets around IPv6 allowed. Error::config otherwise.
  static Result<Address> parse(std::string_view host, uint16_t port);
  // Whether parse() takes it.
  static bool is_numeric(std::string_view host) { return parse(host, 0).has_value(); }
  // "127.0.0.1:80", "[::1]:80"
  static Result<Address> parse(std::string_view host_and_port);
  static Address from_sockaddr(const sockaddr* address, socklen_t length);

  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t raw_size() const { return size_; }
  int family() const { return storage_.ss_family; }
  bool is_empty() const { return size_ == 0; }
  uint16_t port() const;
  std::string host() const;       // without brackets
  std::string to_string() const;  // "127.0.0.1:80", "[::1]:80"
  // What counts as one source for a limit: an IPv4 address (mapped ones too), an IPv6 /64.
  std::string source() const;
  friend bool operator==(const Address& a, const Address& b);

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

struct ListenOptions {
  int backlog = 4096;
  bool reuse_port = true;  // several workers bind the same address
  bool ipv6_only = true;   // false: an IPv6 wildcard takes IPv4 too (dual stack)
};

// Applied to accepted and connected sockets alike; TCP_NODELAY is always set.
struct SocketOptions {
  // First probe after this long without traffic; 0 = no TCP keepalive.
  Duration keepalive = Duration::seconds(60);
  // TCP_NOTSENT_LOWAT in bytes; 0 = kernel default. Links set it so that scheduling stays with us.
  uint32_t notsent_lowat_bytes = 0;
  friend bool operator==(const SocketOptions&, const SocketOptions&) = default;
};

}  // namespace istmo::io
