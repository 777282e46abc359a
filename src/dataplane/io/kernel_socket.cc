#include "dataplane/io/kernel_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace istmo::io {
namespace {

// Options that only improve things may fail: a Unix socket has no TCP_NODELAY.
void set_option(Fd fd, int level, int name, int value) {
  static_cast<void>(setsockopt(fd.number(), level, name, &value, sizeof value));
}

Error failed(int error_number, std::string_view doing, const Address& address) {
  return Error::from_errno(error_number, std::string(doing) + " " + address.to_string());
}

}  // namespace

Result<Fd> open_listener(const Address& address, const ListenOptions& options) {
  const Fd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return failed(errno, "socket for", address);
  apply_options(fd, {});  // for connections that come before the first accept()
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (options.reuse_port) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (address.family() == AF_INET6) {
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6_only ? 1 : 0);
  }
  if (bind(fd.number(), address.raw(), address.raw_size()) != 0) {
    const int error_number = errno;
    ::close(fd.number());
    return failed(error_number, "bind", address);
  }
  if (::listen(fd.number(), options.backlog) != 0) {
    const int error_number = errno;
    ::close(fd.number());
    return failed(error_number, "listen", address);
  }
  return fd;
}

int open_stream_socket(int family, const SocketOptions& options) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  apply_options(Fd(fd), options);
  return fd;
}

void apply_options(Fd fd, const SocketOptions& options) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  const bool has_keepalive = options.keepalive > Duration{};
  // Said in both cases: an accepted socket has what its listener had.
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, has_keepalive ? 1 : 0);
  if (has_keepalive) {
    // Six unanswered probes end the connection, after twice the idle time in all.
    const auto idle_s = std::max<int64_t>(1, options.keepalive.to_milliseconds() / 1000);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(idle_s));
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(std::max<int64_t>(1, idle_s / 6)));
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
  }
  if (options.notsent_lowat_bytes > 0) {
    set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, static_cast<int>(options.notsent_lowat_bytes));
  }
}

void set_abort_on_close(Fd fd) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(setsockopt(fd.number(), SOL_SOCKET, SO_LINGER, &now, sizeof now));
}

int take_error(Fd fd) {
  int error_number = 0;
  socklen_t length = sizeof error_number;
  if (getsockopt(fd.number(), SOL_SOCKET, SO_ERROR, &error_number, &length) != 0) return errno;
  return error_number == EPIPE ? ECONNRESET : error_number;
}

Result<Address> local_address_of(Fd fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (getsockname(fd.number(), address, &length) != 0) {
    return Error::from_errno(errno, "getsockname");
  }
  return Address::from_sockaddr(address, length);
}

Result<Address> remote_address_of(Fd fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (getpeername(fd.number(), address, &length) != 0) {
    return Error::from_errno(errno, "getpeername");
  }
  return Address::from_sockaddr(address, length);
}

AcceptFailure classify_accept_failure(int error_number) {
  switch (error_number) {
    case ECONNABORTED:
    case EINTR:
    case EAGAIN: return AcceptFailure::retry;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP: return AcceptFailure::fatal;
    default: return AcceptFailure::back_off;
  }
}

}  // namespace istmo::io
