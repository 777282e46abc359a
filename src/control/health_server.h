// The pages that probes and Prometheus read: plain HTTP/1.1 on the control loop, one request a
// connection, GET and HEAD only. Whoever reaches the port may read; nothing can be changed there.
//
//   400, 431, 501        the request breaks a rule            405  neither GET nor HEAD
//   503                  the answer did not come in time
// What the paths are is the sink's.
//
// Bounds: connections, request head 8 KiB, 10 s for the request and its answer, and as long again
// for the client to take it. A new client at the bound takes the place of the oldest one that has
// not finished its request, so that who connects and says nothing keeps no probe out.
//
// Owned by the controller, control thread only; borrows loop and sink. Ends with close(), then
// is_idle() on the loop.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/accepting_socket.h"
#include "control/http_message.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

inline constexpr uint16_t kHealthPort = 9901;  // of a gateway's pod

// Where the server listens: `HOST:PORT` (numeric), or `:PORT` for every address.
struct HealthAddress {
  std::string host;  // empty: every address
  uint16_t port = 0;
  static Result<HealthAddress> parse(const std::string& text);
};

struct HealthAnswer {
  int status = 200;
  std::string text;
  std::string_view content_type = "text/plain; charset=utf-8";
};

// Names a request that waits for its answer.
struct HealthRequestId {
  uint64_t number = 0;
  friend auto operator<=>(HealthRequestId, HealthRequestId) = default;
};

// Called from turns of the loop.
class HealthSink {
 public:
  // Answer with HealthServer::answer(), now or later. `path`: without what follows a '?'.
  virtual void on_health_request(HealthRequestId id, std::string_view path) = 0;

 protected:
  ~HealthSink() = default;
};

struct HealthServerOptions {
  uint32_t connections_max = 64;
  Duration deadline = Duration::seconds(10);
};

class HealthServer final : private AcceptSink {
 public:
  HealthServer(io::Loop& loop, HealthSink& sink, HealthServerOptions options = {});
  ~HealthServer();
  // Once.
  Result<> open(const HealthAddress& address);
  uint16_t port() const { return port_; }
  // Of a client that is gone meanwhile: ignored.
  void answer(HealthRequestId id, const HealthAnswer& answer);
  void close();
  bool is_idle() const { return connections_.empty() && (!socket_ || !socket_->is_open()); }

 private:
  class Connection;
  friend class Connection;

  void on_accepted(io::Fd client) override;
  bool make_room();
  void remove(Connection& connection);  // ends it

  io::Loop& loop_;
  HealthSink& sink_;
  const HealthServerOptions options_;
  std::optional<AcceptingSocket> socket_;
  uint16_t port_ = 0;
  bool is_closing_ = false;
  uint64_t next_request_ = 1;
  std::list<Connection> connections_;  // in the order in which they came
};

}  // namespace istmo::control
