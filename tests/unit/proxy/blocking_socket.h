// A plain blocking TCP socket for tests: the client or the server that a user would have.
//
// Every wait is bounded (10 s), so that a broken test fails instead of hanging. Failures of the
// socket calls themselves are thrown as std::system_error: a helper thread hands them on by a
// future, because Boost.Test's macros are for the thread of the test alone.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace istmo::test {

enum class Outcome : uint8_t { end, reset, timeout };

class BlockingSocket {
 public:
  BlockingSocket() = default;
  explicit BlockingSocket(int fd);
  BlockingSocket(BlockingSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  BlockingSocket& operator=(BlockingSocket&& other) noexcept;
  ~BlockingSocket();

  // A server on a free port of 127.0.0.1.
  static BlockingSocket listen();
  // A free port of 127.0.0.1 on which nobody listens (held by this socket, which is only bound).
  static BlockingSocket reserve();
  static BlockingSocket connect(uint16_t port);
  // Whether a connection to the port is refused.
  static bool is_refused(uint16_t port);

  uint16_t port() const;
  BlockingSocket accept();
  bool has_connection_waiting(int milliseconds);
  void send(const std::string& octets);
  // Reads until `count` octets came; fewer if the stream ended, was reset, or nothing came.
  std::string receive(size_t count);
  // Reads to the end; what came is in `octets`.
  Outcome drain(std::string* octets = nullptr);
  // Sends until nothing more is taken for 300 ms.
  void fill();
  // Whether the other side resets, or has reset, without a read of what came before.
  bool sees_reset();
  void shutdown_send();
  void reset();  // RST
  void close();
  void set_receive_buffer(int bytes);

 private:
  int fd_ = -1;
};

}  // namespace istmo::test
