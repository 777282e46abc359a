// One inter-site connection and the streams on it: TLS below, AMQP above (codec::LinkMux).
//
// Owned by the Worker's LinkSet, on one worker. States: handshaking -> open -> closing; at the end
// the transport is gone, every stream was told (link_lost), and the LinkSet frees it. Its receive
// side is never paused: slow streams are held back by their credit alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/slab.h"
#include "dataplane/codec/link_mux.h"
#include "dataplane/io/loop.h"
#include "dataplane/proxy/link_stream.h"
#include "dataplane/proxy/newcomers.h"
#include "dataplane/proxy/replica.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/tunnel.h"
#include "dataplane/transport/tls_transport.h"

namespace istmo::proxy {

class MeshChannel;
class Worker;

struct LinkOptions {
  std::string name;  // LinkConfig::name or LinkAcceptorConfig::name
  std::string remote_address;
  codec::LinkMuxOptions mux;
  codec::TlsEngineOptions tls;
  bool is_sibling = false;  // the other process must be another replica of this site
  io::Chain received;       // what the acceptor read to place the connection
};

class Link final : public Newcomer, private transport::TransportSink {
 public:
  Link(Worker& worker, uint64_t id, io::Fd fd, const transport::TlsContext& context,
       LinkOptions options);
  ~Link();
  void start();

  uint64_t id() const { return id_; }
  const std::string& name() const { return name_; }
  bool is_incoming() const { return role_ == codec::LinkRole::acceptor; }
  uint32_t connection() const;
  bool is_open() const { return state_ == State::open; }
  bool is_ended() const { return state_ == State::ended; }
  const std::string& site_id() const { return site_id_; }
  bool is_sibling() const { return is_sibling_; }
  // Whether it ends at that process; without a name, at any of the site.
  bool leads_to(const Replica& place) const;
  Replica replica() const { return {site_id_, mux_.remote().replica}; }
  std::string site_label() const;
  uint32_t cost() const;
  uint32_t streams_open() const { return static_cast<uint32_t>(streams_.size()); }
  // Streams that the other site asked for and of which no message has come.
  size_t streams_awaited() const { return awaited_.size(); }
  // Those of an Istmo site, which sends at once what it attached for.
  bool has_streams_to_come() const { return mux_.remote().workers > 0 && !awaited_.empty(); }
  std::optional<Duration> open_time() const;  // nothing: it was never open
  uint32_t remote_workers() const { return mux_.remote().workers; }
  LinkChange change() const;

  // nullptr when the link is not open or out of streams. `sites`: as of a Passage.
  LinkStream* open_stream(StreamSink& sink, const std::string& routing_key,
                          const std::vector<std::string>& sites);
  // The other process ends soon: it gets a stream only when nobody else can take it.
  void on_leaving();
  bool is_leaving() const { return is_leaving_; }
  // Sends an AMQP close and ends. Orderly when `condition` is empty.
  void close(std::string_view condition, std::string_view text);
  // We dialed: the mesh goes over this connection, see mesh_placement.h.
  void open_mesh();
  bool has_mesh() const;
  void send_mesh(std::string_view message);
  void on_mesh_message_read(std::string_view refusal);

  // Octets that left the streams' queues and not yet this process.
  uint64_t pending_bytes() const { return transport_.pending_bytes(); }

  // For LinkStream, and for checkers.
  codec::LinkMux& mux() { return mux_; }
  void schedule_flush();

 private:
  enum class State : uint8_t { handshaking, open, closing, ended };
  bool can_have_mesh() const;
  Passage passage_of_streams() const;
  std::optional<Passage> passage_of(const codec::StreamHead& head) const;
  bool was_open() const { return opened_at_ != Instant::never(); }

  void on_transport_open() override;
  void on_transport_data(io::Chain&& bytes) override;
  void on_transport_end() override;
  void on_transport_drained(uint64_t count) override;
  void on_transport_closed(const Error& error) override;
  void close_transport_if_done();
  uint64_t output_bytes_max() const;
  void flush();
  void on_tick();

  void process_events();
  void count_codec();
  void handle(codec::LinkEvent& event);
  bool is_one_too_many(uint32_t workers_there, uint32_t replicas) const;
  void refuse_site();
  void handle_opened();
  void on_reached_leaving();
  void handle_requested(codec::LinkEvent& event);
  void handle_stream_opened(codec::LinkEvent& event);
  void forget_awaited(codec::StreamId id);
  void handle_closed(codec::LinkEvent& event);
  void close_stream(LinkStream& stream, CloseReason reason);
  void close_all_streams(CloseReason reason);
  LinkStream* find(codec::StreamId id);
  void arm_tick();
  void begin_closing(Error error);

  Worker& worker_;
  uint64_t id_;
  std::string name_;
  std::string remote_address_;
  codec::LinkRole role_;
  uint32_t cost_;
  uint32_t connection_;
  bool is_sibling_;
  State state_ = State::handshaking;
  Instant opened_at_ = Instant::never();
  bool is_encrypted_ = false;  // the TLS handshake is done
  bool has_transport_ended_ = false;
  bool is_leaving_ = false;  // the other process, while open
  bool ended_in_order_ = false;
  std::string site_id_;
  Error error_{ErrorClass::closed, {}};
  io::Chain received_;
  codec::LinkMux mux_;
  Slab<LinkStream> stream_slab_;
  std::unordered_map<codec::StreamId, LinkStream*> streams_;
  std::unordered_set<codec::StreamId> awaited_;  // admitted and counted, without a message
  codec::StreamId awaited_mesh_;
  Gauge* site_connections_ = nullptr;  // of the site that dialed, this link counted
  uint64_t held_head_bytes_ = 0;       // of the codec, as counted in the process
  codec::LinkMuxRefusals counted_;
  std::unique_ptr<MeshChannel> mesh_;
  transport::TlsTransport transport_;
  io::DeferredOf<Link, &Link::flush> flush_{*this};
  io::TimerOf<Link, &Link::on_tick> tick_timer_{*this};
};

}  // namespace istmo::proxy
