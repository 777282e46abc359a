#include "dataplane/io/kernel_socket.h"

#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
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

// What tcp_sendmsg() waits for: the octets in the queue are counted against the send buffer with
// their overhead, and those of them that were not sent yet against TCP_NOTSENT_LOWAT. What both
// windows let pass is sent while the send goes on.
uint64_t send_room_of(Fd fd, uint64_t unsent_max) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(fd.number(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
  constexpr size_t kNeeded = offsetof(tcp_info, tcpi_snd_wnd) + sizeof info.tcpi_snd_wnd;
  if (length < kNeeded || info.tcpi_notsent_bytes >= unsent_max) return 0;
  uint32_t memory[SK_MEMINFO_VARS] = {};
  length = sizeof memory;
  if (getsockopt(fd.number(), SOL_SOCKET, SO_MEMINFO, memory, &length) != 0) return 0;
  const uint64_t buffer = memory[SK_MEMINFO_SNDBUF];
  const uint64_t queued = memory[SK_MEMINFO_WMEM_QUEUED];
  const uint64_t by_memory = buffer > queued ? (buffer - queued) * 7 / 8 : 0;
  const uint64_t window =
      std::min<uint64_t>(uint64_t{info.tcpi_snd_cwnd} * info.tcpi_snd_mss, info.tcpi_snd_wnd);
  const uint64_t in_flight = uint64_t{info.tcpi_unacked} * info.tcpi_snd_mss;
  const uint64_t passes = window > in_flight ? window - in_flight : 0;
  return std::min(by_memory, unsent_max - info.tcpi_notsent_bytes + passes);
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
