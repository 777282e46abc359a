// TCP as a program on Linux sees it, without packets: connections, listeners and their buffers, in
// the virtual time of a SimNetwork. Owned by it. The verbs are those of non-blocking sockets;
// SimLoop makes completions of them. A socket wakes the op that waits on it through its loop.
//
// Modelled after Linux: a reset is reported once, by whichever call comes first, and after that
// receiving yields 0 and sending EPIPE; data that arrived before a reset is read before it; an
// orderly close with unread data resets; data that arrives at a closed socket is answered by RST.
#pragma once

#include <cstdint>
#include <deque>
#include <map>

#include "dataplane/io/buffer.h"
#include "dataplane/io/loop.h"
#include "dataplane/io/sim_loop.h"
#include "dataplane/io/sim_network.h"

namespace istmo::io {

class SimTcp {
 public:
  explicit SimTcp(SimNetwork& network) : network_(network) {}

  Result<Fd> listen(SimLoop& loop, const Address& address, const ListenOptions& options);
  // A connecting socket, or a negated errno value in `error`.
  Fd connect(SimLoop& loop, const Address& address, const SocketOptions& options, int& error);
  // 0: connected. -EINPROGRESS. Else a negated errno value.
  int connect_result(Fd fd) const;
  // No fd: nothing waits.
  Fd accept(Fd listener, SimLoop& loop, const SocketOptions& options);
  bool has_waiting(Fd listener) const;
  // How many octets the send buffer could take; 0: wait.
  uint64_t send_room(Fd fd) const;
  bool can_send(Fd fd) const;  // false: the next send() fails
  // Takes `count` octets of `chain` from `offset`; count <= send_room().
  void send(Fd fd, const Chain& chain, uint64_t offset, uint32_t count);
  int take_send_error(Fd fd);  // positive errno value
  int take_error(Fd fd);       // the same, or 0; SO_ERROR
  // Octets that wait, at most `bytes_max`, in `out`: their count. 0: end. -EAGAIN, or an errno.
  int receive(Fd fd, uint32_t bytes_max, Chain& out);
  uint64_t received_bytes(Fd fd) const;
  void shutdown_send(Fd fd);
  void close(Fd fd, Loop::Ending ending);
  void release(Fd fd);
  void adopt(Fd fd, SimLoop& loop, const SocketOptions& options);
  Result<Address> local_address(Fd fd) const;
  Result<Address> remote_address(Fd fd) const;
  // Which op waits on the socket; SimLoop::kNoSlot: none.
  void set_reader(Fd fd, uint32_t slot);
  void set_writer(Fd fd, uint32_t slot);
  void set_watcher(Fd fd, uint32_t slot);
  void close_all_of(SimLoop& loop);

  void on_event(const SimEvent& event);
  void on_cut(SimHost a, SimHost b);
  void on_restore(SimHost a, SimHost b);

  uint32_t open_sockets(SimHost host) const;
  uint32_t open_sockets() const { return static_cast<uint32_t>(sockets_.size()); }
  uint64_t connections() const { return connections_.size(); }
  uint64_t octets_in_flight() const;
  uint64_t octets_queued() const;

 private:
  struct Segment {
    Instant arrives;
    Chain bytes;
    bool is_end = false;
  };
  // One side of a connection: what its kernel knows.
  struct End {
    SimHost host;
    Address address;
    int fd = -1;             // -1: waits to be accepted, or closed
    bool is_orphan = false;  // its owner closed it
    bool is_dead = false;    // reset or timed out
    int error = 0;           // reported once
    bool has_end_queued = false;
    bool has_end_sent = false;
    bool has_end_received = false;
    bool is_transmit_scheduled = false;
    bool is_deliver_scheduled = false;
    bool is_stalled = false;  // segments were lost; retransmission waits
    Instant stalled_at;
    Instant last_arrival;  // of what this end sent
    Chain unsent;
    std::deque<Segment> in_flight;  // towards the other end
    uint64_t in_flight_bytes = 0;
    Chain received;
    SocketOptions options;
  };
  enum class Phase : uint8_t { syn_sent, syn_received, established, accepted };
  struct Connection {
    uint64_t id = 0;
    Phase phase = Phase::syn_sent;
    bool is_joined = false;  // the server's end was queued for accept
    int connect_error = 0;
    int listener = -1;
    int syns_sent = 1;
    End ends[2];  // 0: the one that connected
  };
  struct Socket {
    SimLoop* loop = nullptr;
    SimHost host;
    uint64_t connection = 0;  // 0: a listener
    uint32_t end = 0;
    Address address;  // listener
    ListenOptions options;
    std::deque<uint64_t> waiting;  // listener: connections to be accepted
    uint32_t reader = SimLoop::kNoSlot;
    uint32_t writer = SimLoop::kNoSlot;
    uint32_t watcher = SimLoop::kNoSlot;
  };

  Socket& socket(Fd fd);
  const Socket& socket(Fd fd) const;
  Connection& connection_of(Fd fd);
  const Connection& connection_of(Fd fd) const;
  End& end_of(Fd fd);
  const End& end_of(Fd fd) const;
  Connection* find(uint64_t id);
  Fd add_socket(SimLoop& loop, Socket&& socket);
  void wake_reader(const End& end);
  void wake_writer(const End& end);
  void wake_watcher(const End& end);
  uint16_t next_port(SimHost host);
  bool is_bound(SimHost host, const Address& address, const ListenOptions& options) const;
  int pick_listener(SimHost host, const Address& address);
  bool is_cut(const Connection& connection) const;

  void schedule(SimEvent::Kind kind, const Connection& connection, uint32_t end, Instant at,
                uint64_t number = 0);
  void send_syn(Connection& connection);
  void on_syn(Connection& connection);
  void on_syn_ack(Connection& connection);
  void on_syn_retry(Connection& connection);
  void fail_connect(Connection& connection, int error);
  void join_queue(Connection& connection);

  uint64_t window_of(const Connection& connection, uint32_t from) const;
  void pump(Connection& connection, uint32_t from);
  void on_transmit(Connection& connection, uint32_t from);
  void on_deliver(Connection& connection, uint32_t from);
  void deliver_segment(Connection& connection, uint32_t from);
  void schedule_deliver(Connection& connection, uint32_t from);
  void stall(Connection& connection, uint32_t from);
  void on_stall_check(Connection& connection, uint32_t from, Instant stalled_at);
  void on_keepalive_check(Connection& connection, uint32_t end, Instant cut_at);
  void send_reset(Connection& connection, uint32_t from);
  void on_reset(Connection& connection, uint32_t to);
  void kill(End& end, int error);
  void forget_if_gone(Connection& connection);

  SimNetwork& network_;
  std::map<int, Socket> sockets_;
  std::map<uint64_t, Connection> connections_;
  std::map<uint32_t, uint16_t> next_port_;
  int next_fd_ = 1000;  // never reused: use after close is noticed
  uint64_t next_connection_ = 1;
};

}  // namespace istmo::io
