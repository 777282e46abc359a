// A simulated network for tests: hosts, paths between them, virtual time, and one seeded source of
// chance. Everything runs in one thread; the same seed and the same calls give the same run, which
// trace_hash() proves.
//
// Owned by a test. SimLoops refer to it and end before it. Time passes only in step() (or in
// SimLoop::run_turn when it waits): one step is one turn of a randomly chosen loop that has
// something to do, or, when none has, a jump to the next event.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/rng.h"
#include "dataplane/io/socket.h"

namespace istmo::io {

class SimLoop;
class SimTcp;

using SimHost = Id<struct SimHostTag>;

// One direction between two hosts. Octets of all connections share its rate.
struct SimPath {
  Duration latency = Duration::microseconds(200);
  Duration jitter = Duration::microseconds(50);  // added at random; order is kept
  uint64_t bytes_per_second = 0;                 // 0: no limit
};

// Injected faults, as chances in parts per million. All off at first.
struct SimFaults {
  uint32_t small_chunk = 0;         // a segment, a delivery or a send's progress of 1..64 octets
  uint32_t delayed_completion = 0;  // what is ready completes up to delay_max later
  uint32_t starvation = 0;          // a receive waits up to delay_max, as if blocks ran out
  uint32_t cancel_race = 0;         // a cancelled op does what it can before it ends
  uint32_t reset = 0;               // an arriving segment breaks its connection: RST to both ends
  uint32_t accept_limit = 0;        // an accept hits EMFILE, and the loop pauses it
  Duration delay_max = Duration::milliseconds(3);
};

struct SimOptions {
  uint32_t send_buffer_bytes = 128 * 1024;  // octets not yet sent, per socket
  uint32_t receive_buffer_bytes = 128 * 1024;
  uint32_t segment_bytes_max = 16 * 1024;  // segments have random sizes up to this
  uint32_t delivery_bytes_max = 64 * 1024;
  Duration retransmit_limit = Duration::seconds(60);  // then ETIMEDOUT
  int syn_retries = 6;                                // after 1, 3, 7 ... seconds
};

// What happens at a moment. `connection` names it in SimTcp; 0 for events of a loop.
struct SimEvent {
  enum class Kind : uint8_t {
    syn_arrives,
    syn_ack_arrives,
    ack_arrives,
    refusal_arrives,
    syn_retry,
    transmit,
    deliver,
    reset_arrives,
    stall_check,
    keepalive_check,
    op_ready,
  };
  Instant at;
  uint64_t sequence = 0;
  Kind kind = Kind::transmit;
  uint64_t connection = 0;
  uint32_t end = 0;     // index of the end concerned; op_ready: index of the loop
  uint64_t number = 0;  // kind-specific
};

// Sees what programs hand to the kernels and take from them. A test's; outlives the network's use.
class SimObserver {
 public:
  virtual void on_octets_sent(SimHost from, SimHost to, uint64_t count) = 0;
  virtual void on_octets_received(SimHost from, SimHost to, uint64_t count) = 0;
  virtual void on_connect(SimHost, SimHost) {}  // from, to

 protected:
  ~SimObserver() = default;
};

class SimNetwork {
 public:
  explicit SimNetwork(uint64_t seed, const SimOptions& options = {});
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  // --- the world ---------------------------------------------------------------------------
  // Numeric addresses without port. Every host has 127.0.0.0/8 and ::1 besides, its own.
  SimHost add_host(const std::vector<std::string>& ips);
  // Both directions; the path of a host to itself is its loopback interface.
  void set_path(SimHost a, SimHost b, const SimPath& path);
  // Drops everything between two hosts, silently, until restore(). Lost segments are sent again
  // after restore() when their retransmission timer fires, as TCP does.
  void cut(SimHost a, SimHost b);
  void restore(SimHost a, SimHost b);
  bool is_cut(SimHost a, SimHost b) const;
  Instant cut_since(SimHost a, SimHost b) const;  // never(): not cut
  void set_faults(const SimFaults& faults) { faults_ = faults; }
  const SimFaults& faults() const { return faults_; }
  const SimOptions& options() const { return options_; }
  // accept and connect on the host fail with EMFILE above this many open sockets.
  void set_sockets_max(SimHost host, uint32_t count);

  // --- running -----------------------------------------------------------------------------
  Instant now() const { return now_; }
  // Time does not pass `limit`. False when nothing can happen before it.
  bool step(Instant limit = Instant::never());
  // Steps until the predicate holds. False: `limit` of virtual time passed before that.
  template <class Predicate>
  bool run_until(Predicate&& predicate, Duration limit) {
    const Instant deadline = now_ + limit;
    while (!predicate()) {
      if (now_ >= deadline || !step(deadline)) return false;
    }
    return true;
  }
  void run_for(Duration time);

  // --- for checkers ------------------------------------------------------------------------
  uint32_t open_sockets(SimHost host) const;  // that somebody owns, listeners included
  uint32_t open_sockets() const;
  uint64_t connections() const;  // that the kernels still know
  // Octets in socket buffers and on paths, in both directions of all connections.
  uint64_t octets_in_flight() const;
  uint64_t octets_queued() const;
  uint64_t resets_injected() const { return resets_injected_; }
  uint64_t trace_hash() const { return trace_; }
  void set_observer(SimObserver* observer) { observer_ = observer; }

  // --- for SimLoop and SimTcp --------------------------------------------------------------
  Rng& rng() { return rng_; }
  SimTcp& tcp() { return *tcp_; }
  uint32_t add_loop(SimLoop& loop);
  void remove_loop(uint32_t index);
  void schedule(SimEvent event);
  void run_due_events();
  void begin_turn(uint32_t loop_index);
  void end_turn();
  // Jumps to the next event, at most to `deadline`, and runs what is due there.
  void advance(Instant deadline);
  Instant next_event_at() const;
  bool host_of(const std::string& ip, SimHost& host) const;
  bool owns(SimHost host, const std::string& ip) const;
  const std::string& first_ip(SimHost host, int family) const;
  uint32_t sockets_max(SimHost host) const;
  // When octets that leave now arrive at the other host; reserves the path's rate for them.
  Instant reserve(SimHost from, SimHost to, uint64_t octets);
  Instant free_at(SimHost from, SimHost to);
  SimObserver* observer() { return observer_; }
  void count_injected_reset() { ++resets_injected_; }
  // Mixes what happened into the trace.
  void note(uint64_t what, uint64_t a, uint64_t b = 0);

 private:
  struct Host {
    std::vector<std::string> ips;
    uint32_t sockets_max = UINT32_MAX;
  };
  struct PathState {
    SimPath path;
    Instant cut_since = Instant::never();
    Instant busy_until;
  };
  struct Later {
    bool operator()(const SimEvent& a, const SimEvent& b) const {
      return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
    }
  };
  using HostPair = std::pair<uint32_t, uint32_t>;

  PathState& path(SimHost from, SimHost to);

  SimOptions options_;
  SimFaults faults_;
  Rng rng_;
  Instant now_ = Instant{} + Duration::seconds(1);
  std::vector<Host> hosts_;
  std::map<std::string, SimHost> host_of_ip_;
  std::map<HostPair, PathState> paths_;
  std::vector<SimLoop*> loops_;  // nullptr: ended
  std::vector<SimLoop*> runnable_;
  std::priority_queue<SimEvent, std::vector<SimEvent>, Later> events_;
  uint64_t events_made_ = 0;
  uint64_t resets_injected_ = 0;
  uint64_t trace_ = 0xcbf29ce484222325;
  SimObserver* observer_ = nullptr;
  std::unique_ptr<SimTcp> tcp_;
};

}  // namespace istmo::io
