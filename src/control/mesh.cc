#include "control/mesh.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <tuple>

#include "control/json.h"
#include "control/pki.h"
#include "dataplane/codec/mesh_reader.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {
namespace {

constexpr size_t kTextBytesMax = 253;
constexpr size_t kNamesMax = 1'000;  // connectors or listeners of one key
constexpr size_t kPortsMax = 64;     // published for one key
constexpr size_t kLinksMax = 1'000;
constexpr size_t kNeighboursMax = 1'000;
constexpr size_t kPemBytesMax = 16 * 1024;
constexpr TextLimits kMessageLimits{.bytes_max = 4 * 1024 * 1024,
                                    .depth_max = 12,
                                    .nodes_max = 500'000,
                                    .scalar_bytes_max = 4 * 1024 * 1024};

// --- writing ---------------------------------------------------------------------------------

Value names_value(const std::vector<std::string>& names) {
  Value list = Value::list();
  for (const auto& name : names) list.add(name);
  return list;
}

Value site_value(const SiteInfo& site) {
  Value value = Value::map();
  value.append({}, "id", site.id);
  value.append({}, "name", site.name);
  value.append({}, "namespace", site.namespace_name);
  value.append({}, "platform", site.platform);
  value.append({}, "version", site.version);
  return value;
}

Value service_value(const ServiceInfo& service) {
  Value value = Value::map();
  value.append({}, "routingKey", service.routing_key);
  value.append({}, "type", service.type);
  Value ports = Value::list();
  for (const uint16_t port : service.published_ports) ports.add(port);
  value.append({}, "ports", std::move(ports));
  value.append({}, "connectors", names_value(service.connectors));
  value.append({}, "listeners", names_value(service.listeners));
  return value;
}

Value link_value(const MeshLink& link) {
  Value value = Value::map();
  value.append({}, "name", link.name);
  value.append({}, "remoteSiteId", link.remote_site_id);
  value.append({}, "remoteSiteName", link.remote_site_name);
  value.append({}, "operational", link.is_operational);
  return value;
}

Value trust_value(const MeshTrust& trust) {
  Value value = Value::map();
  value.append({}, "ca", trust.ca);
  value.append({}, "request", trust.request);
  value.append({}, "certificate", trust.certificate);
  value.append({}, "certificateRequest", trust.certificate_request);
  return value;
}

// Of a state or a route.
template <class Told>
void append_site(Value& map, const Told& told) {
  map.append({}, "site", site_value(told.site));
  Value services = Value::list();
  for (const ServiceInfo& service : told.services) services.add(service_value(service));
  map.append({}, "services", std::move(services));
  Value links = Value::list();
  for (const MeshLink& link : told.links) links.add(link_value(link));
  map.append({}, "links", std::move(links));
}

Value route_value(const MeshRoute& route) {
  Value value = Value::map();
  append_site(value, route);
  value.append({}, "path", names_value(route.path));
  value.append({}, "cost", route.cost);
  if (route.is_cut) value.append({}, "cut", true);
  return value;
}

void append_state(Value& map, const MeshSiteState& state) {
  append_site(map, state);
  if (state.is_leaving) map.append({}, "leaving", true);
  if (state.routes.empty()) return;
  Value routes = Value::list();
  for (const MeshRoute& route : state.routes) routes.add(route_value(route));
  map.append({}, "routes", std::move(routes));
}

// --- reading ---------------------------------------------------------------------------------

// Fields that are not known are skipped: a later version may add some.
Result<const Value*> need(const Value& map, std::string_view key, Value::Kind kind) {
  const Value* value = map.find(key);
  if (!value || value->kind() != kind) {
    return Error::protocol("mesh message: " + std::string(key) + " must be " +
                           std::string(to_string(kind)));
  }
  return value;
}

Result<uint64_t> number_at(const Value& map, std::string_view key) {
  const Value* value = TRY(need(map, key, Value::Kind::integer));
  uint64_t number = 0;
  const char* end = value->text().data() + value->text().size();
  const auto [at, failure] = std::from_chars(value->text().data(), end, number);
  if (failure != std::errc() || at != end) {
    return Error::protocol("mesh message: " + std::string(key) + " is out of range");
  }
  return number;
}

// Texts go into log lines, listener names and status files: short, and nothing invisible.
Result<std::string> checked_text(const Value& value, std::string_view key) {
  const std::string& text = value.text();
  const bool is_visible = std::all_of(
      text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) > 0x20 && c != 0x7f; });
  if (value.kind() != Value::Kind::string || text.size() > kTextBytesMax || !is_visible) {
    return Error::protocol("mesh message: " + std::string(key) + " is no short visible string");
  }
  return text;
}

enum class Empty : uint8_t { allowed, refused };

Result<std::string> text_at(const Value& map, std::string_view key, Empty empty) {
  const Value* value = TRY(need(map, key, Value::Kind::string));
  std::string text = TRY(checked_text(*value, key));
  if (text.empty() && empty == Empty::refused) {
    return Error::protocol("mesh message: " + std::string(key) + " is empty");
  }
  return text;
}

Result<const Value*> list_at(const Value& map, std::string_view key, size_t size_max) {
  const Value* list = TRY(need(map, key, Value::Kind::list));
  if (list->items().size() > size_max) {
    return Error::limit("mesh message: " + std::string(key) + " has more than " +
                        std::to_string(size_max) + " entries");
  }
  return list;
}

Result<bool> truth_at(const Value& map, std::string_view key) {
  if (!map.find(key)) return false;
  return TRY(need(map, key, Value::Kind::boolean))->text() == "true";
}

Result<std::vector<std::string>> names_at(const Value& map, std::string_view key,
                                          size_t size_max = kNamesMax) {
  const Value* list = TRY(list_at(map, key, size_max));
  std::vector<std::string> names;
  for (const Value& item : list->items()) names.push_back(TRY(checked_text(item, key)));
  return names;
}

Result<ServiceInfo> read_service(const Value& map) {
  ServiceInfo service;
  service.routing_key = TRY(text_at(map, "routingKey", Empty::refused));
  service.type = TRY(text_at(map, "type", Empty::refused));
  service.connectors = TRY(names_at(map, "connectors"));
  service.listeners = TRY(names_at(map, "listeners"));
  const Value* ports = TRY(list_at(map, "ports", kPortsMax));
  for (const Value& item : ports->items()) {
    unsigned port = 0;
    const char* end = item.text().data() + item.text().size();
    const auto [at, failure] = std::from_chars(item.text().data(), end, port);
    if (item.kind() != Value::Kind::integer || failure != std::errc() || at != end || port < 1 ||
        port > 65535) {
      return Error::protocol("mesh message: a published port is out of range");
    }
    service.published_ports.push_back(static_cast<uint16_t>(port));
  }
  return service;
}

Result<MeshLink> read_link(const Value& map) {
  MeshLink link;
  link.name = TRY(text_at(map, "name", Empty::allowed));
  link.remote_site_id = TRY(text_at(map, "remoteSiteId", Empty::allowed));
  link.remote_site_name = TRY(text_at(map, "remoteSiteName", Empty::allowed));
  link.is_operational = TRY(need(map, "operational", Value::Kind::boolean))->text() == "true";
  return link;
}

Result<SiteInfo> read_site(const Value& map) {
  SiteInfo site;
  site.id = TRY(text_at(map, "id", Empty::refused));
  site.name = TRY(text_at(map, "name", Empty::refused));
  site.namespace_name = TRY(text_at(map, "namespace", Empty::allowed));
  site.platform = TRY(text_at(map, "platform", Empty::allowed));
  site.version = TRY(text_at(map, "version", Empty::allowed));
  return site;
}

Result<std::string> pem_at(const Value& map, std::string_view key) {
  const Value* value = TRY(need(map, key, Value::Kind::string));
  if (value->text().size() > kPemBytesMax) {
    return Error::protocol("mesh message: " + std::string(key) + " is too long");
  }
  return value->text();
}

Result<MeshTrust> read_trust(const Value& map) {
  return MeshTrust{.ca = TRY(pem_at(map, "ca")),
                   .request = TRY(pem_at(map, "request")),
                   .certificate = TRY(pem_at(map, "certificate")),
                   .certificate_request = TRY(text_at(map, "certificateRequest", Empty::allowed))};
}

// How much the services of one site, or of all those behind it, may be.
struct ServiceRoom {
  size_t services = kMeshServicesMax;
  size_t ports = kMeshPublishedMax;
};

Result<std::vector<ServiceInfo>> read_services(const Value& map, ServiceRoom& room) {
  std::vector<ServiceInfo> services;
  std::set<std::string> keys;
  for (const Value& item : TRY(list_at(map, "services", room.services))->items()) {
    ServiceInfo service = TRY(read_service(item));
    if (!keys.insert(service.routing_key).second) {
      return Error::protocol("mesh message: a routing key is there twice");
    }
    if (service.published_ports.size() > room.ports) {
      return Error::limit("mesh message: more than " + std::to_string(kMeshPublishedMax) +
                          " published ports");
    }
    room.ports -= service.published_ports.size();
    --room.services;
    services.push_back(std::move(service));
  }
  std::ranges::sort(services, {}, &ServiceInfo::routing_key);
  return services;
}

// Of a state or a route.
template <class Told>
Result<> read_site_of(const Value& map, ServiceRoom& room, Told& told) {
  const Value* site = TRY(need(map, "site", Value::Kind::map));
  told.site = TRY(read_site(*site));
  told.services = TRY(read_services(map, room));
  for (const Value& item : TRY(list_at(map, "links", kLinksMax))->items()) {
    told.links.push_back(TRY(read_link(item)));
  }
  return {};
}

Result<MeshRoute> read_route(const Value& map, ServiceRoom& room) {
  MeshRoute route;
  TRY(read_site_of(map, room, route));
  route.path = TRY(names_at(map, "path", proxy::kHopsMax));
  const uint64_t cost = TRY(number_at(map, "cost"));
  route.cost = static_cast<uint32_t>(std::min<uint64_t>(cost, UINT32_MAX));
  route.is_cut = TRY(truth_at(map, "cut"));
  return route;
}

Result<MeshSiteState> read_state(const Value& map) {
  MeshSiteState state;
  ServiceRoom own_room;
  TRY(read_site_of(map, own_room, state));
  state.is_leaving = TRY(truth_at(map, "leaving"));
  if (!map.find("routes")) return state;
  ServiceRoom room;
  for (const Value& item : TRY(list_at(map, "routes", kMeshRoutesMax))->items()) {
    // What it passes on from others is no reason not to hear of itself.
    ServiceRoom left = room;
    auto route = read_route(item, left);
    if (!route) continue;
    room = left;
    state.routes.push_back(std::move(*route));
  }
  return state;
}

// --- replicas of one site --------------------------------------------------------------------

void add_names(std::vector<std::string>& names, const std::vector<std::string>& more) {
  names.insert(names.end(), more.begin(), more.end());
  std::ranges::sort(names);
  const auto doubles = std::ranges::unique(names);
  names.erase(doubles.begin(), doubles.end());
  if (names.size() > kNamesMax)
    names.resize(kNamesMax);  // it is told on to siblings, who refuse more
}

void add_service(std::map<std::string, ServiceInfo>& services, const ServiceInfo& service) {
  const auto [found, is_new] = services.try_emplace(service.routing_key, service);
  if (is_new) return;
  add_names(found->second.connectors, service.connectors);
  add_names(found->second.listeners, service.listeners);
  for (const uint16_t port : service.published_ports) {
    auto& ports = found->second.published_ports;
    const bool is_new_port = std::ranges::find(ports, port) == ports.end();
    if (is_new_port && ports.size() < kPortsMax) ports.push_back(port);
  }
}

bool is_better(const MeshRoute& a, const MeshRoute& b) {
  return std::tuple(a.is_cut, a.cost, a.path.size()) < std::tuple(b.is_cut, b.cost, b.path.size());
}

// They run the same documents, and one may be a little ahead of another: together they offer what
// any of them offers. One that refuses a stream is not the last to be asked.
RemoteSite merge_replicas(const std::vector<const RemoteSite*>& replicas) {
  RemoteSite site = *replicas.front();
  if (replicas.size() == 1) return site;
  std::map<std::string, ServiceInfo> services;
  std::map<std::pair<std::string, std::string>, MeshLink> links;
  std::map<std::string, MeshRoute> routes;
  for (const RemoteSite* replica : replicas) {
    for (const ServiceInfo& service : replica->state.services) add_service(services, service);
    for (const MeshLink& link : replica->state.links) {
      const auto [found, is_new] = links.try_emplace({link.name, link.remote_site_id}, link);
      if (!is_new) found->second.is_operational |= link.is_operational;
    }
    for (const MeshRoute& route : replica->state.routes) {
      const auto [found, is_new] = routes.try_emplace(route.site.id, route);
      if (!is_new && is_better(route, found->second)) found->second = route;
    }
    // Who asks for a certificate is answered first.
    if (site.trust.request.empty() && !replica->trust.request.empty()) site.trust = replica->trust;
  }
  site.state.services.clear();
  for (auto& [key, service] : services) site.state.services.push_back(std::move(service));
  site.state.links.clear();
  for (auto& [key, link] : links) {
    if (site.state.links.size() < kLinksMax) site.state.links.push_back(std::move(link));
  }
  site.state.routes.clear();
  for (auto& [id, route] : routes) site.state.routes.push_back(std::move(route));
  return site;
}

}  // namespace

std::string write_mesh_message(const MeshSiteState& state, const MeshTrust& trust,
                               uint64_t sequence, const std::vector<MeshSiteState>& neighbours) {
  Value message = Value::map();
  message.append({}, "version", kMeshVersion);
  message.append({}, "sequence", sequence);
  append_state(message, state);
  if (trust != MeshTrust()) message.append({}, "trust", trust_value(trust));
  if (!neighbours.empty()) {
    Value list = Value::list();
    for (const MeshSiteState& neighbour : neighbours) {
      Value value = Value::map();
      append_state(value, neighbour);
      list.add(std::move(value));
    }
    message.append({}, "neighbours", std::move(list));
  }
  return write_json(message, JsonStyle::compact);
}

Result<MeshMessage> read_mesh_message(std::string_view text) {
  const ParsedText parsed = parse_json(text, kMessageLimits);
  if (parsed.error) return Error::protocol("mesh message: " + parsed.error->text);
  const Value& map = parsed.documents.front();
  const uint64_t version = TRY(number_at(map, "version"));
  if (version != kMeshVersion) {
    return Error::refused("mesh message: version " + std::to_string(version) +
                          " is not understood; this site speaks version " +
                          std::to_string(kMeshVersion));
  }
  MeshMessage message;
  message.sequence = TRY(number_at(map, "sequence"));
  message.state = TRY(read_state(map));
  if (map.find("trust")) {
    const Value* trust = TRY(need(map, "trust", Value::Kind::map));
    message.trust = TRY(read_trust(*trust));
  }
  if (map.find("neighbours")) {
    for (const Value& item : TRY(list_at(map, "neighbours", kNeighboursMax))->items()) {
      // What one neighbour says is no reason not to hear of the others.
      if (auto state = read_state(item)) message.neighbours.push_back(std::move(*state));
    }
  }
  return message;
}

// --- what is known ---------------------------------------------------------------------------

// A site may name its replicas as it likes: it has room for so many, and those that are gone make
// room for new ones.
Result<MeshState::Known*> MeshState::known_of(const proxy::Replica& replica) {
  if (const auto found = known_.find(replica); found != known_.end()) return &found->second;
  const auto first = known_.lower_bound({replica.site_id, {}});
  auto oldest = known_.end();
  uint32_t count = 0;
  for (auto at = first; at != known_.end() && at->first.site_id == replica.site_id; ++at) {
    ++count;
    const Instant forget_at = at->second.forget_at;
    if (forget_at == Instant::never()) continue;
    if (oldest == known_.end() || forget_at < oldest->second.forget_at) oldest = at;
  }
  if (count >= proxy::kReplicasMax) {
    if (oldest == known_.end()) {
      return Error::limit("mesh message: the site has more than " +
                          std::to_string(proxy::kReplicasMax) + " replicas");
    }
    known_.erase(oldest);
  }
  return &known_[replica];
}

Result<bool> MeshState::on_message(const proxy::Replica& replica, std::string_view text) {
  const std::string& site_id = replica.site_id;
  MeshMessage message = TRY(read_mesh_message(text));
  // A certificate that no token gave (`link generate`) names no site: then its name is the identity
  // under which the neighbour is known here, whatever it calls itself.
  if (!is_uuid(site_id)) message.state.site.id = site_id;
  if (message.state.site.id != site_id) {
    return Error::protocol("mesh message: the site calls itself " + message.state.site.id +
                           ", its certificate says " + site_id);
  }
  if (site_id == local_site_id_) return Error::protocol("mesh message: a link to this site itself");
  Known& known = *TRY(known_of(replica));
  if (known.has_sequence && message.sequence <= known.sequence) return false;
  known.has_sequence = true;
  known.sequence = message.sequence;
  const bool is_same = known.has_state && known.remote.is_reachable &&
                       known.remote.state == message.state && known.remote.trust == message.trust;
  known.remote = {.state = std::move(message.state), .trust = std::move(message.trust)};
  known.has_state = true;
  known.forget_at = Instant::never();
  return !is_same;
}

void MeshState::on_replica_open(const proxy::Replica& replica) {
  const auto found = known_.find(replica);
  if (found == known_.end()) return;
  // What was held stays until the site says how it is now.
  found->second.has_sequence = false;
  found->second.forget_at = Instant::never();
}

bool MeshState::on_replica_lost(const proxy::Replica& replica, Loss loss, Instant now) {
  const auto found = known_.find(replica);
  if (found == known_.end()) return false;
  Known& known = found->second;
  const bool is_over = loss == Loss::orderly && !known.remote.state.is_leaving;
  if (is_over || !known.has_state) {
    const bool was_known = known.has_state;
    known_.erase(found);
    return was_known;
  }
  if (!known.remote.is_reachable && known.forget_at != Instant::never()) return false;
  const bool was_reachable = known.remote.is_reachable;
  known.remote.is_reachable = false;
  known.has_sequence = false;
  known.forget_at = now + kHoldTime;
  return was_reachable;
}

bool MeshState::is_leaving(const proxy::Replica& replica) const {
  const auto found = known_.find(replica);
  return found != known_.end() && found->second.remote.state.is_leaving;
}

bool MeshState::tick(Instant now) {
  const size_t forgotten =
      std::erase_if(known_, [now](const auto& entry) { return entry.second.forget_at <= now; });
  return forgotten > 0;
}

Instant MeshState::next_deadline() const {
  Instant next = Instant::never();
  for (const auto& [id, known] : known_) next = std::min(next, known.forget_at);
  return next;
}

std::vector<RemoteSite> MeshState::sites() const {
  std::vector<RemoteSite> sites;
  for (auto at = known_.begin(); at != known_.end();) {
    std::vector<const RemoteSite*> reachable;
    std::vector<const RemoteSite*> held;
    const std::string& site_id = at->first.site_id;
    for (; at != known_.end() && at->first.site_id == site_id; ++at) {
      if (!at->second.has_state) continue;
      const RemoteSite& remote = at->second.remote;
      (remote.is_reachable ? reachable : held).push_back(&remote);
    }
    if (!reachable.empty()) sites.push_back(merge_replicas(reachable));
    else if (!held.empty()) sites.push_back(merge_replicas(held));
  }
  return sites;
}

std::string MeshAnnouncer::message_for(const proxy::Replica& replica, const MeshSiteState& state,
                                       const MeshTrust& trust,
                                       const std::vector<MeshSiteState>& neighbours) {
  if (state_number_ == 0 || !(state == state_) || neighbours != neighbours_) {
    state_ = state;
    neighbours_ = neighbours;
    ++state_number_;
  }
  Told& told = told_[replica];
  if (told.state == state_number_ && told.trust == trust) return {};
  told = {state_number_, trust};
  ++sequence_;
  std::string message = write_mesh_message(state_, trust, sequence_, neighbours_);
  // Of too many neighbours a sibling hears of some, and of the others from themselves.
  std::vector<MeshSiteState> some = neighbours_;
  while (message.size() > codec::kMeshMessageBytesMax && !some.empty()) {
    some.resize(some.size() / 2);
    message = write_mesh_message(state_, trust, sequence_, some);
  }
  MeshSiteState nearest = state_;
  while (message.size() > codec::kMeshMessageBytesMax && !nearest.routes.empty()) {
    nearest.routes.resize(nearest.routes.size() / 2);
    message = write_mesh_message(nearest, trust, sequence_, some);
  }
  return message;
}

}  // namespace istmo::control
