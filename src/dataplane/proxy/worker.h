// One core of the data plane: its loop, listeners, backends, links and exchanges. Nothing here is
// shared with another worker but the counters of ProcessState (D4).
//
// Owned by the Dataplane (a thread each) or by a simulation. All methods run on the loop's thread.
// Ends with drain(), after which everything closes and on_drained() is the last call to the sink;
// then it may be destroyed.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/log_limiter.h"
#include "base/rng.h"
#include "base/slab.h"
#include "dataplane/proxy/backend.h"
#include "dataplane/proxy/link.h"
#include "dataplane/proxy/link_acceptor.h"
#include "dataplane/proxy/link_dialer.h"
#include "dataplane/proxy/listener.h"
#include "dataplane/proxy/memory_bound.h"
#include "dataplane/proxy/newcomers.h"
#include "dataplane/proxy/process_state.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/proxy/tcp_stream.h"
#include "dataplane/proxy/tunnel.h"

namespace istmo::proxy {

// What a worker tells its owner, on the worker's thread.
class WorkerSink {
 public:
  // The snapshot of `generation` runs; the worker has let go of the one before.
  virtual void on_applied(uint64_t generation, std::vector<Problem> problems) = 0;
  virtual void on_link_changed(const LinkChange& change) = 0;
  virtual void on_backend_changed(const BackendChange& change) = 0;
  virtual void on_mesh_open(const Replica& replica) = 0;
  // Answer with on_mesh_message_read(link): the next one of the link comes after that.
  virtual void on_mesh_message(uint64_t link, const Replica& replica, std::string message) = 0;
  virtual void on_mesh_closed(const Replica& replica) = 0;
  // A connection that belongs to worker `target`: its place_arrival() must be called there.
  virtual void hand_over(uint32_t target, const std::string& acceptor, io::Fd fd,
                         std::string received) = 0;
  // `cut`: exchanges that had not ended by themselves.
  virtual void on_drained(uint64_t cut) = 0;

 protected:
  ~WorkerSink() = default;
};

struct WorkerOptions {
  uint32_t index = 0;
  uint32_t count = 1;
  uint64_t seed = 1;
  std::string replica;  // which process of the site this is
  const transport::KeyLog* key_log = nullptr;
};

// Where an exchange goes next.
struct Route {
  enum class Kind : uint8_t { none, wait, backend, link };
  Kind kind = Kind::none;
  Backend* backend = nullptr;
  Link* link = nullptr;
  uint32_t key = 0;  // which of the tunnel's
};

class Worker {
 public:
  static constexpr uint32_t kLinkNotSentBytes = 128 * 1024;
  static constexpr uint32_t kLinksMax = 4096;
  // Incoming ones of a replica. One is used; several links may lead here, and a broken one may
  // linger.
  static constexpr uint32_t kMeshChannelsMax = 4;
  static constexpr uint32_t kMeshChannelsOfSiteMax = kReplicasMax;

  Worker(io::Loop& loop, ProcessState& process, WorkerSink& sink, const WorkerOptions& options);
  ~Worker();

  // --- for the owner -------------------------------------------------------------------------
  // `snapshot` is only read during the call.
  void apply(const Snapshot& snapshot);
  WorkerReport report(bool with_connections);
  // LinkChange::id, of this worker; no effect when it is not open any more.
  void open_mesh(uint64_t connection);
  void send_mesh(const Replica& replica, std::string_view message);
  // That process ends soon, and its site does not: exchanges go elsewhere while they can.
  void on_replica_leaving(const Replica& replica);
  // `refusal`: why the message broke a rule, which ends the link; empty: it did not.
  void on_mesh_message_read(uint64_t link, std::string_view refusal);
  void delete_connection(uint64_t id);
  void place_arrival(const std::string& acceptor, io::Fd fd, std::string_view received);
  void drain(Duration timeout);

  // --- for the objects of this worker --------------------------------------------------------
  io::Loop& loop() { return loop_; }
  ProcessState& process() { return process_; }
  MemoryBound& memory() { return memory_; }
  WorkerSink& sink() { return sink_; }
  Rng& rng() { return rng_; }
  uint32_t index() const { return options_.index; }
  uint32_t worker_count() const { return options_.count; }
  const std::string& site_id() const { return site_id_; }
  const std::string& replica() const { return options_.replica; }

  // Counts one more exchange, or says why there is no room for it.
  std::optional<CloseReason> admit_stream();
  void start_tcp_tunnel(Listener& listener, io::Fd fd);
  // The stream was admitted.
  void start_link_tunnel(LinkStream& stream, std::string routing_key, Passage passage);
  TcpStream& emplace_tcp_stream(io::Fd fd, Tunnel& tunnel);
  void release(TcpStream& stream) { tcp_streams_.erase(stream); }
  void release(Tunnel& tunnel);
  void release_streams(size_t count);  // that were admitted and are no tunnels
  void count_closed(CloseReason reason, uint64_t bytes_in, uint64_t bytes_out);
  template <class Visitor>
  void for_each_tunnel(Visitor&& visit) {
    tunnels_.for_each(visit);
  }

  Route route(const Tunnel& tunnel, std::span<const Tried> tried);
  bool has_alternative(const Tunnel& tunnel, std::span<const Tried> tried);
  // To the link that was tried last, those with the same process.
  void add_links_alike(std::vector<Tried>& tried) const;
  // Streams that come over links.
  bool can_serve(const std::string& routing_key, const Passage& passage);
  bool allows_transit() const { return allows_transit_; }
  void add_waiting(Tunnel& tunnel) { waiting_.push_back(tunnel); }
  // A backend, a link or a snapshot came: exchanges that wait look again.
  void on_routes_changed();

  Result<transport::TlsContext> make_tls_context(transport::TlsRole role,
                                                 const Credentials& credentials);
  codec::LinkMuxOptions mux_options(codec::LinkRole role) const;
  bool has_room_for_link() const { return links_.size() < kLinksMax && !is_draining_; }
  Newcomers& newcomers() { return newcomers_; }
  Link& emplace_link(io::Fd fd, const transport::TlsContext& context, LinkOptions&& options);
  void on_link_changed(Link& link);
  void on_link_ended(Link& link);
  void on_link_leaving(Link& link);
  bool is_leaving(const Replica& replica) const { return leaving_.contains(replica); }
  bool is_draining() const { return is_draining_; }
  bool has_room_for_mesh(const Replica& replica) const;
  // Whoever can reach the link port can cause these lines: some are left out.
  void log_refusal(const std::string& address, const std::string& reason);
  void on_mesh_channel_opened(const Replica& replica);
  void on_mesh_channel_closed(const Replica& replica);
  void on_dialer_changed(LinkDialer& dialer) { sink_.on_link_changed(dialer.change()); }

  // Frees retired objects at the end of the turn.
  void schedule_sweep() { loop_.defer(sweep_); }

  // --- for checkers: what runs ---------------------------------------------------------------
  template <class Visitor>
  void for_each_tcp_stream(Visitor&& visit) {
    tcp_streams_.for_each(visit);
  }
  const std::vector<std::unique_ptr<Link>>& links() const { return links_; }

 private:
  struct Pool {  // the backends of one routing key
    std::vector<Backend*> backends;
  };
  struct Place {  // that a link may lead to, and from where a key is reached: RemoteService
    Replica replica;
    uint32_t cost;
    bool is_cut;
  };
  // What is looked for: a place that serves one key of an exchange and was not tried for it.
  struct Search {
    const std::string& routing_key;
    uint32_t key;  // index, as in Tried
    const Passage& passage;
    std::span<const Tried> tried;
    bool is_tried(uint64_t place) const {
      return std::ranges::find(tried, Tried{place, key}) != tried.end();
    }
  };

  void apply_connectors(const Snapshot& snapshot);
  void apply_listeners(const Snapshot& snapshot, std::vector<Problem>& problems);
  void apply_links(const Snapshot& snapshot, std::vector<Problem>& problems);
  void apply_routes(const Snapshot& snapshot);
  void add_dialers(const LinkConfig& config, uint32_t connections);
  Backend* pick_backend(const Search& search, bool with_set_aside);
  Link* pick_link(const Search& search);
  static std::optional<uint32_t> cost_over(const Link& link, const Search& search,
                                           std::span<const Place> places);
  size_t count_backends(const Search& search) const;
  bool may_become_reachable(const std::string& routing_key, const Passage& passage) const;
  void start_tunnel(Tunnel& tunnel, Stream& client);
  bool has_streams_to_come() const;
  void sweep();
  void on_drain_timer();
  void end_everything();

  io::Loop& loop_;
  ProcessState& process_;
  WorkerSink& sink_;
  WorkerOptions options_;
  Rng rng_;
  Limits limits_;
  std::string site_id_;
  std::string site_name_;
  bool allows_transit_ = true;
  uint64_t next_id_ = 1;         // backends and links
  uint64_t next_tunnel_id_ = 1;  // low 48 bits of a ConnectionReport::id
  bool is_draining_ = false;
  bool is_ending_ = false;
  bool is_drained_ = false;
  uint64_t cut_ = 0;  // exchanges that end_everything() ended

  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::unordered_map<std::string, Pool> pools_;
  std::unordered_map<std::string, std::vector<Place>> places_;  // by routing key
  std::set<std::string> awaited_keys_;                          // as of the Snapshot
  std::vector<std::unique_ptr<LinkDialer>> dialers_;
  std::vector<std::unique_ptr<LinkAcceptor>> acceptors_;
  std::vector<std::unique_ptr<Link>> links_;
  Newcomers newcomers_;                        // links that have shown no certificate yet
  std::map<Replica, uint32_t> mesh_channels_;  // open ones
  std::set<Replica> leaving_;                  // that we have links with
  Slab<TcpStream> tcp_streams_;
  Slab<Tunnel> tunnels_;
  List<Tunnel, TunnelsWaiting> waiting_;
  MemoryBound memory_{*this};

  LogLimiter refusals_;
  uint64_t closed_total_[kCloseReasons] = {};
  uint64_t bytes_in_ = 0;
  uint64_t bytes_out_ = 0;
  io::DeferredOf<Worker, &Worker::sweep> sweep_{*this};
  io::TimerOf<Worker, &Worker::on_drain_timer> drain_timer_{*this};
};

}  // namespace istmo::proxy
