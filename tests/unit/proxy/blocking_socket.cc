#include "blocking_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace istmo::test {
namespace {

constexpr int kPatienceSeconds = 10;

// A call with a timeout is not restarted by the kernel: a ring that was closed on this thread may
// still interrupt it.
template <class Call>
auto restarted(Call&& call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int open_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  return fd;
}

}  // namespace

BlockingSocket::BlockingSocket(int fd) : fd_(fd) {
  const timeval patience{.tv_sec = kPatienceSeconds, .tv_usec = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

BlockingSocket& BlockingSocket::operator=(BlockingSocket&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

BlockingSocket::~BlockingSocket() { close(); }

BlockingSocket BlockingSocket::reserve() {
  BlockingSocket socket(open_socket());
  const auto address = loopback(0);
  if (::bind(socket.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    fail("bind");
  }
  return socket;
}

BlockingSocket BlockingSocket::listen() {
  BlockingSocket socket = reserve();
  if (::listen(socket.fd_, 128) != 0) fail("listen");
  return socket;
}

BlockingSocket BlockingSocket::connect(uint16_t port) {
  BlockingSocket socket(open_socket());
  const auto address = loopback(port);
  if (::connect(socket.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    fail("connect to port " + std::to_string(port));
  }
  return socket;
}

bool BlockingSocket::is_refused(uint16_t port) {
  BlockingSocket socket(open_socket());
  const auto address = loopback(port);
  return ::connect(socket.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
         errno == ECONNREFUSED;
}

uint16_t BlockingSocket::port() const {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) fail("getsockname");
  return ntohs(address.sin_port);
}

BlockingSocket BlockingSocket::accept() {
  const int fd = restarted([this] { return ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC); });
  if (fd < 0) fail("accept");
  return BlockingSocket(fd);
}

bool BlockingSocket::has_connection_waiting(int milliseconds) {
  pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
  return restarted([&] { return ::poll(&waiting, 1, milliseconds); }) == 1;
}

void BlockingSocket::send(const std::string& octets) {
  size_t sent = 0;
  while (sent < octets.size()) {
    const auto count = restarted(
        [&] { return ::send(fd_, octets.data() + sent, octets.size() - sent, MSG_NOSIGNAL); });
    if (count <= 0) fail("send after " + std::to_string(sent) + " octets");
    sent += static_cast<size_t>(count);
  }
}

std::string BlockingSocket::receive(size_t count) {
  std::string octets(count, '\0');
  size_t have = 0;
  while (have < count) {
    const auto got = restarted([&] { return ::recv(fd_, octets.data() + have, count - have, 0); });
    if (got <= 0) break;
    have += static_cast<size_t>(got);
  }
  octets.resize(have);
  return octets;
}

Outcome BlockingSocket::drain(std::string* octets) {
  std::string buffer(64 * 1024, '\0');
  for (;;) {
    const auto got = restarted([&] { return ::recv(fd_, buffer.data(), buffer.size(), 0); });
    if (got == 0) return Outcome::end;
    if (got < 0) return errno == ECONNRESET ? Outcome::reset : Outcome::timeout;
    if (octets) octets->append(buffer.data(), static_cast<size_t>(got));
  }
}

void BlockingSocket::fill() {
  const std::string octets(64 * 1024, 'f');
  pollfd room{.fd = fd_, .events = POLLOUT, .revents = 0};
  while (restarted([&] { return ::poll(&room, 1, 300); }) > 0) {
    if (::send(fd_, octets.data(), octets.size(), MSG_DONTWAIT | MSG_NOSIGNAL) <= 0) fail("send");
  }
}

bool BlockingSocket::sees_reset() {
  pollfd state{.fd = fd_, .events = 0, .revents = 0};
  const int count = restarted([&] { return ::poll(&state, 1, kPatienceSeconds * 1000); });
  return count > 0 && state.revents & POLLERR;
}

void BlockingSocket::shutdown_send() {
  if (::shutdown(fd_, SHUT_WR) != 0) fail("shutdown");
}

void BlockingSocket::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

void BlockingSocket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void BlockingSocket::set_receive_buffer(int bytes) {
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

}  // namespace istmo::test
