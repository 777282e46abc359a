#include "dataplane/proxy/worker.h"

#include <algorithm>

#include "base/log.h"
#include "dataplane/proxy/balancer.h"

namespace istmo::proxy {
namespace {

// How far a place is over a link: by cost, an own link before that of a sibling which costs the
// same, and whoever leaves behind all others.
uint64_t distance_over(const Link& link, uint32_t cost) {
  constexpr uint64_t kLeavingDistance = uint64_t{1} << 40;
  const uint64_t own = link.is_sibling() ? 0 : link.cost();  // among siblings costs mean nothing
  return (own + cost) * 2 + (link.is_sibling() ? 1 : 0) +
         (link.is_leaving() ? kLeavingDistance : 0);
}

}  // namespace

Worker::Worker(io::Loop& loop, ProcessState& process, WorkerSink& sink,
               const WorkerOptions& options)
    : loop_(loop), process_(process), sink_(sink), options_(options), rng_(options.seed) {}

Worker::~Worker() {
  ASSERT(tunnels_.empty() && tcp_streams_.empty());
  ASSERT(listeners_.empty() && backends_.empty() && dialers_.empty() && acceptors_.empty());
  ASSERT(links_.empty());
}

// --- exchanges -------------------------------------------------------------------------------

std::optional<CloseReason> Worker::admit_stream() {
  if (is_draining_) return CloseReason::shutdown;
  if (!memory_.has_room()) return CloseReason::memory_limit;
  if (!process_.streams_open.try_add(1, limits_.streams_max)) {
    return CloseReason::connections_limit;
  }
  return std::nullopt;
}

void Worker::start_tcp_tunnel(Listener& listener, io::Fd fd) {
  const auto& config = listener.config();
  auto keys = config.choice.keys.empty() ? std::vector{config.routing_key}
                                         : order_keys(config.choice, rng_);
  auto& tunnel = tunnels_.emplace(*this, &listener, std::move(keys), Passage{}, config.tcp);
  auto& stream = emplace_tcp_stream(fd, tunnel);
  stream.start();
  start_tunnel(tunnel, stream);
}

void Worker::start_link_tunnel(LinkStream& stream, std::string routing_key, Passage passage) {
  if (is_ending_ || !can_serve(routing_key, passage)) {
    const auto reason = is_ending_ ? CloseReason::shutdown : CloseReason::no_route;
    release_streams(1);
    count_closed(reason, 0, 0);
    return stream.reset(reason);
  }
  // A route is there; all other limits are those of the connector that is chosen.
  const TcpSettings settings{.idle_timeout = {}, .half_close_timeout = {}};
  auto& tunnel = tunnels_.emplace(*this, nullptr, std::vector{std::move(routing_key)},
                                  std::move(passage), settings);
  stream.set_sink(tunnel.sink());
  start_tunnel(tunnel, stream);
}

void Worker::start_tunnel(Tunnel& tunnel, Stream& client) {
  tunnel.set_id((uint64_t{options_.index} << kWorkerIdShift) | next_tunnel_id_++);
  tunnel.start(client);
}

TcpStream& Worker::emplace_tcp_stream(io::Fd fd, Tunnel& tunnel) {
  return tcp_streams_.emplace(*this, fd, tunnel.sink(), limits_.window_bytes);
}

void Worker::release_streams(size_t count) {
  process_.streams_open.add(-static_cast<int64_t>(count));
  if (is_draining_ && count > 0) schedule_sweep();
}

void Worker::release(Tunnel& tunnel) {
  tunnels_.erase(tunnel);
  release_streams(1);
}

void Worker::count_closed(CloseReason reason, uint64_t bytes_in, uint64_t bytes_out) {
  ++closed_total_[static_cast<int>(reason)];
  bytes_in_ += bytes_in;
  bytes_out_ += bytes_out;
}

// --- routes ----------------------------------------------------------------------------------

// For each key at this site first, then over the cheapest way; a link whose other end leaves and a
// backend that is set aside are better than nothing.
Route Worker::route(const Tunnel& tunnel, std::span<const Tried> tried) {
  const auto keys = tunnel.keys();
  const auto count = static_cast<uint32_t>(keys.size());
  const Passage& passage = tunnel.passage();
  for (uint32_t key = 0; key < count; ++key) {
    const Search search{keys[key], key, passage, tried};
    if (auto* backend = pick_backend(search, false)) {
      return {.kind = Route::Kind::backend, .backend = backend, .key = key};
    }
    if (auto* link = pick_link(search)) {
      return {.kind = Route::Kind::link, .link = link, .key = key};
    }
  }
  for (uint32_t key = 0; key < count; ++key) {
    if (auto* backend = pick_backend({keys[key], key, passage, tried}, true)) {
      return {.kind = Route::Kind::backend, .backend = backend, .key = key};
    }
  }
  const auto may_come = [&](const auto& key) { return may_become_reachable(key, passage); };
  if (std::ranges::any_of(keys, may_come)) return {.kind = Route::Kind::wait};
  return {};
}

Backend* Worker::pick_backend(const Search& search, bool with_set_aside) {
  const auto pool = pools_.find(search.routing_key);
  if (pool == pools_.end()) return nullptr;
  std::vector<Candidate> candidates;
  candidates.reserve(pool->second.backends.size());
  for (const auto* backend : pool->second.backends) {
    candidates.push_back({.streams_open = backend->streams_open(),
                          .is_usable = (with_set_aside || !backend->is_set_aside()) &&
                                       !search.is_tried(backend->id())});
  }
  const auto picked = pick_fewest_streams(candidates, rng_);
  return picked ? pool->second.backends[*picked] : nullptr;
}

// What it costs from the other end of the link on; nothing: no way leads over it.
std::optional<uint32_t> Worker::cost_over(const Link& link, const Search& search,
                                          std::span<const Place> places) {
  if (!link.is_open() || search.is_tried(link.id())) return std::nullopt;
  const Passage& passage = search.passage;
  if (link.is_sibling() && passage.reach == Reach::own_links) return std::nullopt;
  if (std::ranges::find(passage.sites, link.site_id()) != passage.sites.end()) return std::nullopt;
  std::optional<uint32_t> cost;
  for (const Place& place : places) {
    if (place.is_cut || !link.leads_to(place.replica)) continue;
    cost = std::min(cost.value_or(UINT32_MAX), place.cost);
  }
  return cost;
}

Link* Worker::pick_link(const Search& search) {
  const Passage& passage = search.passage;
  if (passage.reach == Reach::local || passage.sites.size() >= kHopsMax) return nullptr;
  const auto places = places_.find(search.routing_key);
  if (places == places_.end()) return nullptr;
  std::vector<Link*> usable;
  uint64_t distance = UINT64_MAX;
  for (const auto& link : links_) {
    const auto cost = cost_over(*link, search, places->second);
    if (!cost) continue;
    const uint64_t its_distance = distance_over(*link, *cost);
    if (its_distance > distance) continue;
    if (its_distance < distance) usable.clear();
    distance = its_distance;
    usable.push_back(link.get());
  }
  std::vector<Candidate> candidates;
  for (const auto* link : usable) candidates.push_back({.streams_open = link->streams_open()});
  const auto picked = pick_fewest_streams(candidates, rng_);
  return picked ? usable[*picked] : nullptr;
}

size_t Worker::count_backends(const Search& search) const {
  const auto pool = pools_.find(search.routing_key);
  if (pool == pools_.end()) return 0;
  return static_cast<size_t>(std::ranges::count_if(
      pool->second.backends, [&](const auto* backend) { return !search.is_tried(backend->id()); }));
}

bool Worker::has_alternative(const Tunnel& tunnel, std::span<const Tried> tried) {
  const auto keys = tunnel.keys();
  size_t left = 0;
  for (uint32_t key = 0; key < keys.size(); ++key) {
    const Search search{keys[key], key, tunnel.passage(), tried};
    left += count_backends(search);
    if (pick_link(search) != nullptr) return true;
  }
  return left > 1;
}

void Worker::add_links_alike(std::vector<Tried>& tried) const {
  const Tried last = tried.back();
  const auto its =
      std::ranges::find_if(links_, [&](const auto& link) { return link->id() == last.place; });
  if (its == links_.end()) return;
  for (const auto& link : links_) {
    const bool is_alike = link != *its && link->replica() == (*its)->replica();
    if (is_alike) tried.push_back({link->id(), last.key});
  }
}

// With backends here, that may have to be found out first; or by way of another site: over a link
// that is there, or, for those who may wait, to a site that is known.
bool Worker::can_serve(const std::string& routing_key, const Passage& passage) {
  if (pools_.contains(routing_key) || awaited_keys_.contains(routing_key)) return true;
  if (passage.reach == Reach::local) return false;
  if (!passage.may_wait()) return pick_link({routing_key, 0, passage, {}}) != nullptr;
  const auto places = places_.find(routing_key);
  return places != places_.end() && std::ranges::any_of(places->second, [](const Place& place) {
           return place.replica.id.empty();
         });
}

// A site that is known to serve the key is not connected now, or nobody can know yet.
bool Worker::may_become_reachable(const std::string& routing_key, const Passage& passage) const {
  if (awaited_keys_.contains(routing_key)) return true;
  if (passage.reach == Reach::local || !passage.may_wait()) return false;
  const auto places = places_.find(routing_key);
  if (places == places_.end()) {
    return passage.reach == Reach::all && std::ranges::any_of(dialers_, [](const auto& dialer) {
             return !dialer->is_open() && !dialer->config().is_sibling;
           });
  }
  return std::ranges::any_of(places->second, [&](const Place& place) {
    if (passage.reach == Reach::own_links && !place.replica.id.empty()) return false;
    return place.is_cut || std::ranges::none_of(links_, [&](const auto& link) {
             return link->is_open() && !link->is_leaving() && link->leads_to(place.replica);
           });
  });
}

void Worker::on_routes_changed() {
  List<Tunnel, TunnelsWaiting> looking;
  looking.splice_back(waiting_);
  while (!looking.empty()) looking.pop_front().route();  // it may wait again, in waiting_
}

// --- links -----------------------------------------------------------------------------------

Result<transport::TlsContext> Worker::make_tls_context(transport::TlsRole role,
                                                       const Credentials& credentials) {
  transport::TlsContextOptions options;
  options.role = role;
  options.certificate_chain_pem = credentials.certificate;
  options.private_key_pem = credentials.private_key;
  options.ca_pem = credentials.ca;
  if (role == transport::TlsRole::server) options.alpn = {"amqp"};
  options.key_log = options_.key_log;
  return transport::TlsContext::create(options);
}

codec::LinkMuxOptions Worker::mux_options(codec::LinkRole role) const {
  codec::LinkMuxOptions options;
  options.role = role;
  options.container_id = site_id_;
  options.site_name = site_name_;
  options.replica = options_.replica;
  options.workers = options_.count;
  options.window_bytes = limits_.link_window_bytes;
  return options;
}

Link& Worker::emplace_link(io::Fd fd, const transport::TlsContext& context, LinkOptions&& options) {
  links_.push_back(std::make_unique<Link>(*this, next_id_++, fd, context, std::move(options)));
  return *links_.back();
}

void Worker::on_link_changed(Link& link) {
  sink_.on_link_changed(link.change());
  if (!link.is_open()) return;
  if (!link.is_incoming() && link.remote_workers() > 0) {
    const uint32_t wanted = std::max(worker_count(), link.remote_workers());
    const LinkConfig* config = nullptr;
    for (auto& dialer : dialers_) {
      if (dialer->has_link(link)) config = &dialer->config();
      if (dialer->name() == link.name() && dialer->connection() >= wanted) dialer->retire();
    }
    if (config) add_dialers(LinkConfig(*config), wanted);
  }
  on_routes_changed();
}

void Worker::on_link_ended(Link& link) {
  const std::string error = link.change().error;
  for (auto& dialer : dialers_) {
    if (!dialer->has_link(link)) continue;
    dialer->on_link_ended(link.open_time(), error);
    break;
  }
  if (!link.open_time() && link.is_incoming()) log_refusal(link.change().remote_address, error);
  schedule_sweep();
}

void Worker::on_link_leaving(Link& link) {
  for (auto& dialer : dialers_) {
    if (dialer->has_link(link)) return dialer->let_go();
  }
}

void Worker::on_replica_leaving(const Replica& replica) {
  const auto is_its = [&](const auto& link) {
    return link->is_open() && link->replica() == replica;
  };
  if (std::ranges::none_of(links_, is_its)) return;
  leaving_.insert(replica);
  for (auto& link : links_) {
    if (is_its(link)) link->on_leaving();
  }
}

void Worker::log_refusal(const std::string& address, const std::string& reason) {
  if (!refusals_.allows(loop_.now())) return;
  LOG_WARNING("incoming link refused", "address", address, "reason", reason, "left_out",
              refusals_.take_left_out());
}

// Connection i of a link is this worker's when i mod N is its index (D4).
void Worker::add_dialers(const LinkConfig& config, uint32_t connections) {
  for (uint32_t i = options_.index; i < connections; i += options_.count) {
    const bool exists = std::ranges::any_of(dialers_, [&](const auto& dialer) {
      return !dialer->is_retired() && dialer->name() == config.name && dialer->connection() == i;
    });
    if (exists) continue;
    dialers_.push_back(std::make_unique<LinkDialer>(*this, config, i));
    dialers_.back()->start();
  }
}

void Worker::place_arrival(const std::string& acceptor, io::Fd fd, std::string_view received) {
  for (auto& candidate : acceptors_) {
    if (candidate->name() != acceptor) continue;
    loop_.adopt(fd, {.keepalive = Duration::seconds(10), .notsent_lowat_bytes = kLinkNotSentBytes});
    return candidate->start_link(fd, io::Chain::copy_of(received));
  }
  loop_.adopt(fd, {});
  loop_.close(fd, io::Loop::Ending::abort);
}

bool Worker::has_room_for_mesh(const Replica& replica) const {
  uint32_t of_site = 0;
  uint32_t of_replica = 0;
  for (const auto& link : links_) {
    if (!link->is_incoming() || !link->has_mesh() || link->site_id() != replica.site_id) continue;
    ++of_site;
    of_replica += link->replica() == replica;
  }
  return of_replica < kMeshChannelsMax && of_site < kMeshChannelsOfSiteMax;
}

void Worker::open_mesh(uint64_t connection) {
  const uint64_t number = connection & ((uint64_t{1} << kWorkerIdShift) - 1);
  for (auto& link : links_) {
    if (link->id() == number) return link->open_mesh();
  }
}

// Both sites may have a link to each other: the mesh is open while one channel is.
void Worker::on_mesh_channel_opened(const Replica& replica) {
  if (++mesh_channels_[replica] == 1) sink_.on_mesh_open(replica);
}

void Worker::on_mesh_channel_closed(const Replica& replica) {
  const auto found = mesh_channels_.find(replica);
  ASSERT(found != mesh_channels_.end());
  if (--found->second > 0) return;
  mesh_channels_.erase(found);
  sink_.on_mesh_closed(replica);
}

// On every channel: one may belong to a link that is about to be found dead.
void Worker::send_mesh(const Replica& replica, std::string_view message) {
  for (auto& link : links_) {
    if (link->replica() == replica) link->send_mesh(message);
  }
}

void Worker::on_mesh_message_read(uint64_t link_id, std::string_view refusal) {
  for (auto& link : links_) {
    if (link->id() == link_id) return link->on_mesh_message_read(refusal);
  }
}

// --- ending ----------------------------------------------------------------------------------

void Worker::delete_connection(uint64_t id) {
  if (id >> kWorkerIdShift != options_.index) return;
  tunnels_.for_each([id](Tunnel& tunnel) {
    if (tunnel.id() == id) tunnel.end(CloseReason::administrator);
  });
}

void Worker::drain(Duration timeout) {
  if (is_draining_) {  // again: no more patience
    if (!is_ending_) end_everything();
    return;
  }
  is_draining_ = true;
  for (auto& listener : listeners_) listener->close_sockets();
  for (auto& acceptor : acceptors_) acceptor->retire();
  loop_.timers().arm(drain_timer_, loop_.now() + timeout);
  schedule_sweep();
}

void Worker::on_drain_timer() {
  if (!is_ending_) end_everything();
}

void Worker::end_everything() {
  is_ending_ = true;
  loop_.timers().cancel(drain_timer_);
  cut_ = tunnels_.size();
  tunnels_.for_each([](Tunnel& tunnel) { tunnel.end(CloseReason::shutdown); });
  for (auto& listener : listeners_) listener->retire();
  for (auto& backend : backends_) backend->retire();
  pools_.clear();
  for (auto& dialer : dialers_) dialer->retire();
  for (auto& link : links_) link->close("", "the site stops");
  schedule_sweep();
}

bool Worker::has_streams_to_come() const {
  return std::ranges::any_of(links_, [](const auto& link) { return link->has_streams_to_come(); });
}

void Worker::sweep() {
  if (is_draining_ && !is_ending_ && tunnels_.empty() && !has_streams_to_come()) end_everything();
  const auto can_be_freed = [](const auto& object) { return object->can_be_freed(); };
  std::erase_if(listeners_, can_be_freed);
  std::erase_if(backends_, can_be_freed);
  std::erase_if(dialers_, can_be_freed);
  std::erase_if(acceptors_, can_be_freed);
  std::erase_if(links_, [](const auto& link) { return link->is_ended(); });
  std::erase_if(leaving_, [this](const Replica& replica) {
    return std::ranges::none_of(links_,
                                [&](const auto& link) { return link->replica() == replica; });
  });
  if (!is_ending_ || is_drained_) return;
  const bool is_empty = tunnels_.empty() && tcp_streams_.empty() && listeners_.empty() &&
                        backends_.empty() && dialers_.empty() && acceptors_.empty() &&
                        links_.empty();
  if (!is_empty) return;
  memory_.stop();
  is_drained_ = true;
  sink_.on_drained(cut_);  // last: the owner may stop the loop
}

}  // namespace istmo::proxy
