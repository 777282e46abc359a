// Two joined streams: the exchange between a client and a server, wherever they are.
//
// Finds the server first (router), retries elsewhere while no server can have got an octet, then
// passes octets both ways. Credit is the only back-pressure: what one side drained is granted to
// the other. Ends are kept apart (half-close); a reset on one side becomes a reset on the other.
//
// Owned by its Worker's slab. States: routing -> opening -> open -> closing, and from each one to
// closing. Released when both streams and the connect op are gone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/list.h"
#include "dataplane/io/loop.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/proxy/stream.h"

namespace istmo::proxy {

class Backend;
class Link;
class Listener;
class Worker;

struct TunnelsOfListener;
struct TunnelsOfBackend;
struct TunnelsWaiting;

// Where an exchange may go: to backends of this site, to other sites over links of this process, or
// over those of its siblings too.
enum class Reach : uint8_t { local, own_links, all };

// How far an exchange may go from here, and where it came from.
struct Passage {
  Reach reach = Reach::all;
  // Ids of the other sites that it came through, that of its client first: it never goes back.
  // Empty: the client is of this site, or of a sibling.
  std::vector<std::string> sites;
  // Another site that sent it here may know a better way: it is told at once that there is none.
  bool may_wait() const { return sites.empty(); }
};

// A place (backend or link) where an exchange was not served, and for which of its keys: over one
// link another key may be.
struct Tried {
  uint64_t place = 0;
  uint32_t key = 0;  // index in Tunnel::keys()
  friend bool operator==(const Tried&, const Tried&) = default;
};

class Tunnel final : public ListNode<TunnelsOfListener>,
                     public ListNode<TunnelsOfBackend>,
                     public ListNode<TunnelsWaiting>,
                     private StreamSink {
 public:
  // Where the client came in: a listener of this site, or (nullptr) a link. `settings`: the
  // listener's; those of the backend that is chosen come to them.
  // `keys`: at least one, the preferred first.
  Tunnel(Worker& worker, Listener* listener, std::vector<std::string> keys, Passage passage,
         const TcpSettings& settings);
  ~Tunnel();

  StreamSink& sink() { return *this; }
  // Takes the client's stream and starts to look for a server.
  void start(Stream& client);
  // Waiting for a route: something changed, look again.
  void route();
  // Resets both sides. Idempotent.
  void end(CloseReason reason);

  uint64_t id() const { return id_; }
  void set_id(uint64_t id) { id_ = id; }
  const Passage& passage() const { return passage_; }
  std::span<const std::string> keys() const { return keys_; }
  uint64_t buffered_bytes() const { return to_server_.buffered + to_client_.buffered; }
  // When octets last left towards the client or the server, or the first of those held came.
  Instant last_progress() const { return last_progress_; }
  ConnectionReport report() const;

 private:
  enum class State : uint8_t { routing, opening, open, closing };

  // What went from one side towards the other.
  struct Direction {
    uint64_t bytes = 0;     // that came, ever
    uint64_t buffered = 0;  // that came and have not been drained
    uint64_t withheld = 0;  // that were drained and not granted yet: memory is tight
    bool has_ended = false;
  };

  void on_stream_open(Stream& stream) override;
  void on_stream_data(Stream& stream, io::Chain&& bytes) override;
  void on_stream_end(Stream& stream) override;
  void on_stream_drained(Stream& stream, uint64_t count) override;
  void on_stream_closed(Stream& stream, CloseReason reason) override;
  void on_connected(io::Completion&& done);
  void on_timer();

  void transition(State next);
  void wait(Instant deadline);
  bool may_hear_news() const;
  void connect_backend(Backend& backend);
  void open_link_stream(Link& link);
  void send_early();
  void open();
  void attempt_failed(CloseReason reason);
  void link_attempt_failed(CloseReason reason);
  void leave_backend();
  void arm_attempt_timer();
  void arm_open_timer();
  void release_if_done();
  bool is_client(const Stream& stream) const { return &stream == client_; }
  bool is_between_links() const { return !listener_ && !backend_; }
  void add_buffered(Direction& direction, uint64_t count);
  void drop_buffered(Direction& direction, uint64_t count);
  void grant(Direction& direction, Stream* source);

  Worker& worker_;
  Listener* listener_;
  Passage passage_;
  Backend* backend_ = nullptr;  // connecting or connected to
  Stream* client_ = nullptr;
  Stream* server_ = nullptr;
  uint64_t id_ = 0;
  Direction to_server_;
  Direction to_client_;
  Instant started_;
  Instant last_activity_;
  Instant last_progress_;
  Instant route_deadline_;                       // for a route; then for a backend's answer
  Instant first_connect_at_ = Instant::never();  // to a backend
  TcpSettings settings_;
  std::vector<std::string> keys_;
  uint32_t key_ = 0;  // of the last attempt
  uint32_t links_tried_ = 0;
  bool has_waited_for_news_ = false;
  // What came before the server answered, kept for another attempt.
  io::Chain early_;
  uint64_t early_drained_ = 0;  // octets of it that have left on the link of this attempt
  std::vector<Tried> tried_;    // backends and links of this exchange that failed
  State state_ = State::routing;
  CloseReason close_reason_ = CloseReason::finished;
  CloseReason attempt_reason_ = CloseReason::no_route;  // why the last attempt failed
  io::OpOf<Tunnel, &Tunnel::on_connected> connect_op_{*this};
  io::TimerOf<Tunnel, &Tunnel::on_timer> timer_{*this};
};

static_assert(sizeof(Tunnel) <= 640);

}  // namespace istmo::proxy
