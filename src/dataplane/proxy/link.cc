#include "dataplane/proxy/link.h"

#include <algorithm>

#include "base/log.h"
#include "dataplane/io/cores.h"
#include "dataplane/proxy/mesh_channel.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {
namespace {

// Octets that are handed to the transport and have not left. Small, so that the order in which
// streams are served is decided late: together with one frame of overshoot at most 64 KiB of other
// streams' octets leave before a frame that just became ready.
constexpr uint64_t kOutputBytesMax = 48 * 1024;
// What the socket takes at once has left at the end of the turn, before whatever becomes ready
// later: larger sends cost less CPU per octet (perf/LOG.md).
constexpr uint64_t kOutputAtOnceBytesMax = 240 * 1024;

constexpr uint32_t kSiteConnectionsMin = 16;

constexpr std::string_view kSiteUri = "istmo://site/";

// Ids of the sites that a stream came through, of the opener's head, with commas between them.
constexpr std::string_view kPathProperty = "istmo:path";

std::string write_path(const std::vector<std::string>& sites) {
  std::string text;
  for (const std::string& site : sites) text += (text.empty() ? "" : ",") + site;
  return text;
}

constexpr size_t kSiteIdBytesMax = 253;

// Nothing: too many, or one that no site has.
std::optional<std::vector<std::string>> read_path(std::string_view text) {
  std::vector<std::string> sites;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    if (end == 0 || end > kSiteIdBytesMax || sites.size() == kHopsMax) return std::nullopt;
    sites.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return sites;
}

// The identity of a site is in its certificate: URI istmo://site/<id>, else the common name.
std::string site_of(const codec::TlsIdentity& identity) {
  for (const auto& uri : identity.uris) {
    if (uri.starts_with(kSiteUri)) return uri.substr(kSiteUri.size());
  }
  return identity.common_name;
}

}  // namespace

Link::Link(Worker& worker, uint64_t id, io::Fd fd, const transport::TlsContext& context,
           LinkOptions options)
    : worker_(worker),
      id_(id),
      name_(std::move(options.name)),
      remote_address_(std::move(options.remote_address)),
      role_(options.mux.role),
      cost_(options.mux.cost),
      connection_(options.mux.connection),
      is_sibling_(options.is_sibling),
      received_(std::move(options.received)),
      mux_(std::move(options.mux), worker.loop().now()),
      transport_(worker.loop(), fd, context, *this, std::move(options.tls)) {}

Link::~Link() { ASSERT(streams_.empty()); }

void Link::start() {
  arm_tick();
  transport_.start_with(std::move(received_));
}

uint32_t Link::connection() const {
  return is_incoming() && was_open() ? mux_.remote().connection : connection_;
}

uint32_t Link::cost() const { return is_incoming() ? mux_.remote().cost : cost_; }

std::string Link::site_label() const {
  const auto& name = mux_.remote().site_name;
  return name.empty() ? site_id_ : name;
}

std::optional<Duration> Link::open_time() const {
  if (!was_open()) return std::nullopt;
  return worker_.loop().now() - opened_at_;
}

LinkChange Link::change() const {
  LinkChange change;
  if (!is_incoming()) change.link = name_;
  change.is_incoming = is_incoming();
  change.connection = connection();
  change.id = uint64_t{worker_.index()} << kWorkerIdShift | id_;
  change.can_have_mesh = !is_incoming() && can_have_mesh();
  change.is_open = is_open();
  change.ended_in_order = ended_in_order_;
  change.site_id = site_id_;
  change.site_name = mux_.remote().site_name;
  change.replica = mux_.remote().replica;
  change.remote_address = remote_address_;
  change.cost = cost();
  change.connections_wanted = std::max(worker_.worker_count(), mux_.remote().workers);
  change.error = error_.text();
  return change;
}

LinkStream* Link::open_stream(StreamSink& sink, const std::string& routing_key,
                              const std::vector<std::string>& sites) {
  if (!is_open()) return nullptr;
  codec::StreamHead head{.to = routing_key};
  if (!sites.empty()) {
    head.application_properties.emplace_back(kPathProperty, write_path(sites));
  }
  const auto id = mux_.open_stream(head);
  if (!id) return nullptr;
  auto& stream = stream_slab_.emplace(*this, *id);
  stream.set_sink(sink);
  streams_.emplace(*id, &stream);
  schedule_flush();
  return &stream;
}

void Link::on_leaving() {
  if (!is_open() || is_leaving_) return;
  is_leaving_ = true;
  LOG_INFO("the other process leaves", "link", name_, "site", site_label(), "address",
           remote_address_);
  worker_.on_link_leaving(*this);
}

void Link::close(std::string_view condition, std::string_view text) {
  if (state_ == State::closing || state_ == State::ended) return;
  ended_in_order_ = condition.empty();
  mux_.close(condition, text);
  begin_closing(ended_in_order_ ? Error::closed(std::string(text))
                                : Error::protocol(std::string(text)));
}

// Before there were replicas, only the first connection had it.
bool Link::can_have_mesh() const {
  const auto& remote = mux_.remote();
  return remote.workers > 0 && (connection() == 0 || !remote.replica.empty());
}

void Link::open_mesh() {
  if (!is_open() || is_incoming() || mesh_) return;
  mesh_ = std::make_unique<MeshChannel>(worker_, *this);
  if (auto* stream = open_stream(mesh_->sink(), std::string(kMeshKey), {})) mesh_->start(*stream);
}

bool Link::leads_to(const Replica& place) const {
  return site_id_ == place.site_id && (place.id.empty() || mux_.remote().replica == place.id);
}

bool Link::has_mesh() const { return mesh_ && mesh_->is_open() && is_open(); }

void Link::send_mesh(std::string_view message) {
  if (has_mesh()) mesh_->send(message);
}

void Link::on_mesh_message_read(std::string_view refusal) {
  if (has_mesh()) mesh_->on_message_read(refusal);
}

// --- transport -------------------------------------------------------------------------------

void Link::on_transport_open() {
  is_encrypted_ = true;
  Newcomer::unlink();
  const auto identity = transport_.remote_identity();
  if (identity) site_id_ = site_of(*identity);
  if (site_id_.empty()) {
    return begin_closing(Error::protocol("the other site's certificate names no site"));
  }
  if ((site_id_ == worker_.site_id()) != is_sibling_) {
    return begin_closing(Error::config(is_sibling_ ? "the other process is of another site"
                                                   : "the link leads to this site itself"));
  }
  if (is_incoming()) {
    site_connections_ = &worker_.process().site_connections.of(site_id_);
    site_connections_->add(1);
    if (is_one_too_many(io::kWorkersMax, kReplicasMax))
      return refuse_site();  // whatever its open would say
  }
  schedule_flush();
}

void Link::on_transport_data(io::Chain&& bytes) {
  if (state_ == State::closing || state_ == State::ended) return;
  mux_.feed(std::move(bytes), worker_.loop().now());
  process_events();
}

void Link::on_transport_end() {
  has_transport_ended_ = true;
  if (state_ == State::closing) return close_transport_if_done();
  if (state_ == State::ended) return;
  mux_.feed_end(worker_.loop().now());
  process_events();
}

void Link::on_transport_drained(uint64_t) {
  if (state_ == State::closing) return close_transport_if_done();
  if (mux_.has_output()) schedule_flush();
}

void Link::on_transport_closed(const Error& error) {
  const bool is_told = state_ == State::closing;
  if (!is_told) error_ = error;
  state_ = State::ended;
  Newcomer::unlink();
  if (was_open() && !is_told) worker_.on_link_changed(*this);
  worker_.loop().timers().cancel(tick_timer_);
  close_all_streams(CloseReason::link_lost);
  count_codec();
  if (site_connections_) site_connections_->add(-1);
  worker_.on_link_ended(*this);
}

// The other side has said its last word, too: what it still sent to a closed socket would make its
// kernel forget what it has not read yet, the ends of streams among them. Only an end in order is
// worth waiting for.
void Link::close_transport_if_done() {
  const bool waits = ended_in_order_ && !has_transport_ended_;
  if (waits || transport_.pending_bytes() > 0 || transport_.is_closed()) return;
  transport_.close(io::Loop::Ending::orderly, error_);
}

void Link::schedule_flush() {
  if (state_ != State::ended) worker_.loop().defer(flush_);
}

// Asks the kernel only when there is more to send than may wait.
uint64_t Link::output_bytes_max() const {
  if (mux_.queued_bytes() <= kOutputBytesMax) return kOutputBytesMax;
  const uint64_t room = transport_.send_room(Worker::kLinkNotSentBytes);
  return std::clamp(room, kOutputBytesMax, kOutputAtOnceBytesMax);
}

void Link::flush() {
  if (state_ == State::ended || transport_.is_closed() || !is_encrypted_) return;
  const uint64_t pending = transport_.pending_bytes();
  if (pending < kOutputBytesMax && mux_.has_output()) {
    io::Chain output;
    mux_.take_output(output, output_bytes_max() - pending, worker_.loop().now());
    if (!output.empty()) transport_.send(std::move(output));
  }
  process_events();  // what the output drained, and what our verbs ended
  arm_tick();
}

void Link::arm_tick() {
  if (state_ == State::ended) return;
  worker_.loop().timers().arm(tick_timer_, mux_.next_tick());
}

void Link::on_tick() {
  if (state_ == State::closing) {  // the close frame did not leave, or was not answered, in time
    const bool has_left = transport_.pending_bytes() == 0;
    return transport_.close(has_left ? io::Loop::Ending::orderly : io::Loop::Ending::abort, error_);
  }
  mux_.hear(transport_.received_at());  // on a slow path a record takes longer than the timeout
  mux_.tick(worker_.loop().now());
  process_events();
  if (state_ == State::closing || state_ == State::ended) return;
  schedule_flush();
  arm_tick();
}

// Tells the streams now, lets what is queued (the close frame) leave, then ends.
void Link::begin_closing(Error error) {
  if (state_ == State::closing || state_ == State::ended) return;
  state_ = State::closing;
  Newcomer::unlink();
  error_ = std::move(error);
  LOG_DEBUG("link closing", "link", name_, "site", site_label(), "reason", error_.text());
  if (was_open()) worker_.on_link_changed(*this);
  close_all_streams(CloseReason::link_lost);
  io::Chain output;
  mux_.take_output(output, UINT64_MAX, worker_.loop().now());
  const bool can_say_so = !transport_.is_closed() && is_encrypted_ &&
                          error_.error_class() != ErrorClass::timeout && !output.empty();
  if (!can_say_so) {
    const bool is_orderly = error_.error_class() == ErrorClass::closed;
    return transport_.close(is_orderly ? io::Loop::Ending::orderly : io::Loop::Ending::abort,
                            error_);
  }
  transport_.send(std::move(output));
  transport_.shutdown_send();
  worker_.loop().timers().arm(tick_timer_, worker_.loop().now() + Duration::seconds(1));
}

// --- events ----------------------------------------------------------------------------------

void Link::process_events() {
  codec::LinkEvent event;
  while (state_ != State::closing && state_ != State::ended && mux_.next_event(event)) {
    handle(event);
  }
  // With a full transport the next flush is on_transport_drained's business.
  const bool can_send = is_encrypted_ && transport_.pending_bytes() < kOutputBytesMax;
  if (can_send && mux_.has_output()) schedule_flush();
  count_codec();
}

// What the codec holds and refuses before there is a stream.
void Link::count_codec() {
  const uint64_t held = state_ == State::ended ? 0 : mux_.held_head_bytes();
  if (held != held_head_bytes_) {
    worker_.memory().drop(std::exchange(held_head_bytes_, held));
    worker_.memory().add(held);
  }
  const auto count = [&](uint64_t codec::LinkMuxRefusals::* what, CloseReason reason) {
    for (; counted_.*what < mux_.refusals().*what; ++(counted_.*what)) {
      worker_.count_closed(reason, 0, 0);
    }
  };
  count(&codec::LinkMuxRefusals::heads_too_large, CloseReason::memory_limit);
  count(&codec::LinkMuxRefusals::links_too_many, CloseReason::connections_limit);
  count(&codec::LinkMuxRefusals::links_too_late, CloseReason::idle_timeout);
}

void Link::handle(codec::LinkEvent& event) {
  using Kind = codec::LinkEvent::Kind;
  LinkStream* stream = find(event.stream);
  switch (event.kind) {
    case Kind::opened: return handle_opened();
    case Kind::stream_requested: return handle_requested(event);
    case Kind::stream_opened: return handle_stream_opened(event);
    case Kind::stream_answered:
      if (stream) stream->sink()->on_stream_open(*stream);
      return;
    case Kind::stream_data:
      if (stream && !stream->is_reset_by_us()) {
        stream->sink()->on_stream_data(*stream, std::move(event.bytes));
      }
      return;
    case Kind::stream_ended:
      if (stream && !stream->is_reset_by_us()) stream->sink()->on_stream_end(*stream);
      return;
    case Kind::stream_drained:
      if (stream && !stream->is_reset_by_us()) {
        stream->sink()->on_stream_drained(*stream, event.count);
      }
      return;
    case Kind::stream_reset:
      if (stream) {
        const auto named = close_reason_from(event.text);
        if (named == CloseReason::shutdown) on_leaving();  // before its tunnel looks elsewhere
        close_stream(*stream, stream->is_reset_by_us() ? stream->reason()
                                                       : named.value_or(CloseReason::client_reset));
      }
      return;
    case Kind::stream_released:
      if (stream) close_stream(*stream, stream->reason());
      else forget_awaited(event.stream);
      return;
    case Kind::closed: return handle_closed(event);
  }
}

// A site needs as many as the workers say (D4), for each of its replicas, and all of them twice
// when it comes back before the loss of the old ones was noticed here. Programs have no workers and
// need a few.
bool Link::is_one_too_many(uint32_t workers_there, uint32_t replicas) const {
  const uint32_t needed = std::max({worker_.worker_count(), workers_there, kSiteConnectionsMin});
  return site_connections_ && site_connections_->value() > int64_t{needed} * replicas * 2;
}

void Link::refuse_site() {
  worker_.count_closed(CloseReason::connections_limit, 0, 0);
  close("amqp:resource-limit-exceeded", "too many connections of one site");
}

void Link::handle_opened() {
  const uint32_t replicas = mux_.remote().replica.empty() ? 1 : kReplicasMax;
  if (is_one_too_many(mux_.remote().workers, replicas)) return refuse_site();
  if (is_sibling_ && mux_.remote().replica == worker_.replica()) {
    return begin_closing(Error::config("the link leads to this process itself"));
  }
  state_ = State::open;
  opened_at_ = worker_.loop().now();
  LOG_INFO("link open", "link", name_, "site", site_label(), "connection", connection(), "incoming",
           is_incoming(), "address", remote_address_);
  worker_.on_link_changed(*this);
  if (worker_.is_leaving(replica())) on_reached_leaving();
}

// Behind one address there is somebody else, if not yet then soon.
void Link::on_reached_leaving() {
  if (!is_incoming()) return close("", "this process leaves");
  on_leaving();
}

// What comes from a sibling goes on to another site, but to no further sibling.
Passage Link::passage_of_streams() const {
  if (is_sibling_) return {.reach = Reach::own_links, .sites = {}};
  return {.reach = worker_.allows_transit() ? Reach::all : Reach::local, .sites = {site_id_}};
}

// With the sites that its head names. Nothing: it came in a circle, or too far.
std::optional<Passage> Link::passage_of(const codec::StreamHead& head) const {
  Passage passage = passage_of_streams();
  const auto& properties = head.application_properties;
  const auto path =
      std::ranges::find(properties, kPathProperty, &std::pair<std::string, std::string>::first);
  if (path == properties.end()) return passage;
  const auto sites = read_path(path->second);
  if (!sites || std::ranges::find(*sites, worker_.site_id()) != sites->end()) return std::nullopt;
  passage.sites.insert(passage.sites.begin(), sites->begin(), sites->end());
  return passage;
}

void Link::handle_requested(codec::LinkEvent& event) {
  // A program says neither replica nor workers: its mesh, too, is on connection 0.
  const bool may_be_mesh = connection() == 0 || !mux_.remote().replica.empty();
  const bool is_mesh = event.head.to == kMeshKey && is_incoming() && may_be_mesh && !mesh_;
  if (is_mesh && awaited_mesh_ == codec::StreamId()) {
    awaited_mesh_ = event.stream;
    return mux_.admit(event.stream);
  }
  if (worker_.is_draining()) {
    return mux_.refuse(event.stream, "istmo:reset", to_string(CloseReason::shutdown));
  }
  if (!worker_.can_serve(event.head.to, passage_of_streams())) {
    worker_.count_closed(CloseReason::no_route, 0, 0);
    return mux_.refuse(
        event.stream, "amqp:not-found",
        "nothing at this site or behind it has the routing key \"" + event.head.to + "\"");
  }
  // Counted from now on, so that what is attached and never used is bounded like what is.
  if (const auto refusal = worker_.admit_stream()) {
    worker_.count_closed(*refusal, 0, 0);
    return mux_.refuse(event.stream, "amqp:resource-limit-exceeded", to_string(*refusal));
  }
  awaited_.insert(event.stream);
  mux_.admit(event.stream);
}

// Its message came, or it ended without one.
void Link::forget_awaited(codec::StreamId id) {
  if (id == awaited_mesh_) awaited_mesh_ = {};
  if (awaited_.erase(id) > 0) worker_.release_streams(1);
}

void Link::handle_stream_opened(codec::LinkEvent& event) {
  auto& stream = stream_slab_.emplace(*this, event.stream);
  stream.mark_opened_by_remote();
  streams_.emplace(event.stream, &stream);
  if (event.head.to != kMeshKey) {
    awaited_.erase(event.stream);  // the tunnel takes its place in the count
    auto passage = passage_of(event.head);
    if (passage) {
      return worker_.start_link_tunnel(stream, std::move(event.head.to), std::move(*passage));
    }
    worker_.release_streams(1);
    worker_.count_closed(CloseReason::no_route, 0, 0);
    return stream.reset(CloseReason::no_route);
  }
  awaited_mesh_ = {};
  if (mesh_) return close("amqp:not-allowed", "a second mesh stream");
  if (!worker_.has_room_for_mesh(replica())) return stream.reset(CloseReason::connections_limit);
  mesh_ = std::make_unique<MeshChannel>(worker_, *this);
  mesh_->start(stream);
  stream.accept();
  mesh_->open();
}

void Link::handle_closed(codec::LinkEvent& event) {
  ended_in_order_ = event.error.error_class() == ErrorClass::closed && was_open();
  LOG_INFO("link closed", "link", name_, "site", site_label(), "connection", connection(), "reason",
           event.error.text().empty() ? "closed by the other site" : event.error.text());
  begin_closing(std::move(event.error));
}

LinkStream* Link::find(codec::StreamId id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second;
}

void Link::close_stream(LinkStream& stream, CloseReason reason) {
  streams_.erase(stream.id());
  if (auto* sink = stream.sink()) sink->on_stream_closed(stream, reason);
  stream_slab_.erase(stream);
}

void Link::close_all_streams(CloseReason reason) {
  while (!streams_.empty()) {
    LinkStream& stream = *streams_.begin()->second;
    if (stream.is_reset_by_us()) close_stream(stream, stream.reason());
    else close_stream(stream, mux_.has_ended(stream.id()) ? CloseReason::finished : reason);
  }
  worker_.release_streams(awaited_.size());
  awaited_.clear();
  if (mesh_) mesh_->end();
}

}  // namespace istmo::proxy
