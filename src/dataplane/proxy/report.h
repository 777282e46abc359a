// What a worker tells the control thread: plain values, copied, delivered as letters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace istmo::proxy {

// Why an exchange or a link ended. Log lines, metrics and status carry the name.
enum class CloseReason : uint8_t {
  finished,         // both directions ended in order
  client_reset,     // the client's side was reset
  server_reset,     // the backend's side was reset
  connect_refused,  // every backend refused
  connect_timeout,  // no backend answered, or no route came, in time
  no_route,         // nobody serves the routing key
  link_lost,        // the link under the stream went away
  idle_timeout,
  half_close_timeout,
  connections_limit,  // the listener's or the process's limit
  memory_limit,
  local_limit,        // this machine was out of descriptors, ports or kernel memory
  listener_deleted,   // with dropTcpConnections
  connector_deleted,  // with dropTcpConnections
  administrator,      // istmo connection delete
  shutdown,           // the site stopped
  protocol_error,
};
inline constexpr int kCloseReasons = static_cast<int>(CloseReason::protocol_error) + 1;
std::string_view to_string(CloseReason reason);
std::optional<CloseReason> close_reason_from(std::string_view name);
// Whether a connect failed for want of something on this machine: no word about the other one.
bool is_local_limit(int error_number);

// A listener address that could not be bound, a link that cannot start, ...
struct Problem {
  std::string kind;  // "Listener", "RouterAccess", "Link"
  std::string name;
  std::string text;
  ErrorClass error_class = ErrorClass::internal;
};

// State of one connection of a link, sent whenever it changes.
struct LinkChange {
  std::string link;  // LinkConfig::name; empty for accepted links
  bool is_incoming = false;
  uint32_t connection = 0;  // index, see D4
  uint64_t id = 0;          // process-wide: worker in the top 16 bits; 0: there is no connection
  bool is_open = false;
  bool can_have_mesh = false;   // we dialed, and the other site takes the mesh on this connection
  bool ended_in_order = false;  // closed by an AMQP close without error: the site left on purpose
  std::string site_id;          // known once open
  std::string replica;          // of that site, see replica.h
  std::string site_name;
  std::string remote_address;
  uint32_t cost = 1;
  uint32_t connections_wanted = 1;  // max(workers here, workers there)
  std::string error;                // why it is not open, for people
};

// A backend was set aside, or is back (or its connector no longer names it).
struct BackendChange {
  uint32_t worker = 0;
  std::string connector;
  std::string address;
  bool is_set_aside = false;
  std::string error;  // why, for people
};

// Numbers of a process: that of the worker, above what the worker gave.
inline constexpr int kWorkerIdShift = 48;

struct ConnectionReport {
  uint64_t id = 0;        // process-wide: worker in the top 16 bits
  std::string listener;   // where the client came in; empty on the connector's site
  std::string connector;  // or "link"
  std::string routing_key;
  std::string client_address;
  std::string server_address;  // backend, or "site <id>"
  uint64_t bytes_in = 0;       // from the client
  uint64_t bytes_out = 0;      // to the client
  Duration age;
};

struct ListenerReport {
  std::string name;
  bool is_bound = false;
  uint64_t connections_open = 0;
  uint64_t connections_total = 0;
  uint64_t refused_total = 0;  // at a limit
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
};

struct BackendReport {
  std::string connector;
  std::string address;
  bool is_set_aside = false;
  uint64_t streams_open = 0;
  uint64_t streams_total = 0;
  uint64_t failures_total = 0;
};

// Of the process, over all backends that the connector ever had. Octets count when an exchange has
// ended.
struct ConnectorReport {
  std::string name;
  uint64_t streams_open = 0;
  uint64_t streams_total = 0;
  uint64_t failures_total = 0;
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
};

struct WorkerReport {
  uint32_t worker = 0;
  std::string io;  // "uring" or "epoll"
  std::vector<ListenerReport> listeners;
  std::vector<BackendReport> backends;
  std::vector<LinkChange> links;
  std::vector<ConnectionReport> connections;
  uint64_t closed_total[kCloseReasons] = {};
  uint64_t bytes_in = 0;  // from clients, over all exchanges of this worker
  uint64_t bytes_out = 0;
  uint64_t streams_open = 0;    // those that neighbours asked for and have not begun among them
  uint64_t buffered_bytes = 0;  // of the process; only worker 0 reports it
  uint64_t accept_limit_hits = 0;
  uint64_t starvations = 0;
  uint64_t blocks_lent = 0;    // receive blocks that hold octets
  uint64_t blocks_copied = 0;  // receives that were copied, because too few blocks were free
  uint64_t turns = 0;
};

}  // namespace istmo::proxy
