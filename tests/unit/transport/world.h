// Two places that can connect, over each loop there is: what transport tests run in.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/transport/tls_transport.h"
#include "test_pki.h"

namespace istmo::test {

// Runs what a test says until it holds; a test that waits for what never comes fails.
class World {
 public:
  virtual ~World() = default;
  virtual std::string name() const = 0;
  virtual io::Loop& west() = 0;
  virtual io::Loop& east() = 0;
  virtual std::string east_ip() const = 0;
  // False: it did not happen in 20 s.
  virtual bool run_until(const std::function<bool()>& is_done) = 0;
  void run_turns(int count);

  struct Sockets {
    io::Fd west, east;
  };
  Sockets connect();
};

// Epoll, io_uring where the kernel lets us, and the simulation with its faults on.
std::vector<std::unique_ptr<World>> make_worlds();

enum class Wire { tcp, tls };
inline std::string to_string(Wire wire) { return wire == Wire::tcp ? "tcp" : "tls"; }

const TestCa& test_ca();
transport::TlsContextOptions tls_options(transport::TlsRole role);

// An owner of a transport that writes down what it is told, checks the order, and destroys the
// transport when it is closed.
struct End final : transport::TransportSink {
  void make_tcp(io::Loop& loop, io::Fd fd);
  void make_tls(io::Loop& loop, io::Fd fd, const transport::TlsContextOptions& options,
                codec::TlsEngineOptions engine_options = {});
  transport::TlsTransport& tls() { return static_cast<transport::TlsTransport&>(*transport); }

  void on_transport_open() override;
  void on_transport_data(io::Chain&& bytes) override;
  void on_transport_end() override;
  void on_transport_drained(uint64_t count) override;
  void on_transport_closed(const Error& error) override;

  void send(std::string_view text) { transport->send(io::Chain::copy_of(text)); }
  void close() { transport->close(io::Loop::Ending::orderly, Error::closed("test")); }
  void abort() { transport->close(io::Loop::Ending::abort, Error::closed("test")); }
  bool is_closed() const { return closed_as.has_value(); }
  std::string closed_text() const;  // "reset: ..."

  std::unique_ptr<transport::Transport> transport;
  std::string received;
  uint64_t drained = 0;
  bool keeps_transport = false;  // beyond its end
  bool is_open = false;
  bool has_ended = false;
  std::optional<Error> closed_as;
  std::function<void()> on_open, on_data, on_end, on_drained;  // after it was written down
};

// Two ends of a connection, started.
struct Connection {
  Connection(World& world, Wire wire);
  ~Connection();
  bool run_until(const std::function<bool()>& is_done) { return world.run_until(is_done); }
  bool both_closed() const { return west.is_closed() && east.is_closed(); }
  World& world;
  End west, east;
};

// The test, for each world and wire.
void for_each_connection(const std::function<void(Connection&)>& test);

std::string random_text(size_t size, uint64_t seed);

}  // namespace istmo::test
