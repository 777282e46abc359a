#include "control/mesh_message.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "control/json.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {
namespace {

constexpr size_t kTextBytesMax = 253;
constexpr size_t kNeighboursMax = 1'000;
constexpr size_t kPemBytesMax = 16 * 1024;
constexpr TextLimits kMessageLimits{.bytes_max = 4 * 1024 * 1024,
                                    .depth_max = 12,
                                    .nodes_max = 500'000,
                                    .scalar_bytes_max = 4 * 1024 * 1024};

constexpr size_t MeshWeight::* kWeightParts[] = {&MeshWeight::sites, &MeshWeight::services,
                                                 &MeshWeight::ports, &MeshWeight::nodes,
                                                 &MeshWeight::bytes};

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
  if (!site.own_id.empty()) value.append({}, "ownId", site.own_id);
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
  value.append({}, "cost", link.cost);
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

// The members of the object, without its braces.
std::string members(const Value& map) {
  const std::string text = write_json(map, JsonStyle::compact);
  return text.substr(1, text.size() - 2);
}

std::string routes_text(const MeshSiteState& state) {
  std::string routes;
  for (const MeshRoute& route : state.routes) add_mesh_item(routes, write_mesh_route(route));
  return routes;
}

// --- weighing --------------------------------------------------------------------------------

// As JSON: quoted, escaped, with what separates it from the next one.
size_t text_bytes(std::string_view text) {
  size_t bytes = 3;
  for (const char c : text) {
    const auto octet = static_cast<uint8_t>(c);
    if (octet < 0x20) bytes += 6;
    else if (octet >= 0x80) bytes += 3;  // one that is no UTF-8 is replaced
    else bytes += c == '"' || c == '\\' ? 2 : 1;
  }
  return bytes;
}

size_t texts_bytes(const std::vector<std::string>& texts) {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text_bytes(text);
  return bytes;
}

void add_weight(MeshWeight& weight, const ServiceInfo& service) {
  constexpr size_t kNodes = 11;  // the map, its keys and its values
  constexpr size_t kBytes = 80;
  const size_t names = service.connectors.size() + service.listeners.size();
  ++weight.services;
  weight.ports += service.published_ports.size();
  weight.nodes += kNodes + names + service.published_ports.size();
  weight.bytes += kBytes + text_bytes(service.routing_key) + text_bytes(service.type) +
                  texts_bytes(service.connectors) + texts_bytes(service.listeners) +
                  6 * service.published_ports.size();
}

// Of a state or a route.
template <class Told>
MeshWeight weight_of_site(const Told& told) {
  constexpr size_t kNodes = 40;
  constexpr size_t kBytes = 250;
  constexpr size_t kLinkNodes = 11;
  constexpr size_t kLinkBytes = 100;
  const SiteInfo& site = told.site;
  MeshWeight weight{.sites = 1, .nodes = kNodes, .bytes = kBytes};
  for (const auto* text :
       {&site.id, &site.name, &site.namespace_name, &site.platform, &site.version, &site.own_id}) {
    weight.bytes += text_bytes(*text);
  }
  for (const ServiceInfo& service : told.services) add_weight(weight, service);
  for (const MeshLink& link : told.links) {
    weight.nodes += kLinkNodes;
    weight.bytes += kLinkBytes + text_bytes(link.name) + text_bytes(link.remote_site_id) +
                    text_bytes(link.remote_site_name);
  }
  return weight;
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

Result<uint32_t> cost_at(const Value& map) {
  const uint64_t cost = TRY(number_at(map, "cost"));
  return static_cast<uint32_t>(std::min<uint64_t>(cost, UINT32_MAX));
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
                                          size_t size_max = kMeshNamesMax) {
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
  const Value* ports = TRY(list_at(map, "ports", kMeshPortsMax));
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
  if (map.find("cost")) link.cost = TRY(cost_at(map));
  return link;
}

Result<SiteInfo> read_site(const Value& map) {
  SiteInfo site;
  site.id = TRY(text_at(map, "id", Empty::refused));
  site.name = TRY(text_at(map, "name", Empty::refused));
  site.namespace_name = TRY(text_at(map, "namespace", Empty::allowed));
  site.platform = TRY(text_at(map, "platform", Empty::allowed));
  site.version = TRY(text_at(map, "version", Empty::allowed));
  if (map.find("ownId")) site.own_id = TRY(text_at(map, "ownId", Empty::allowed));
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

Result<std::vector<ServiceInfo>> read_services(const Value& map) {
  std::vector<ServiceInfo> services;
  std::set<std::string> keys;
  for (const Value& item : TRY(list_at(map, "services", kMeshServicesMax))->items()) {
    ServiceInfo service = TRY(read_service(item));
    if (!keys.insert(service.routing_key).second) {
      return Error::protocol("mesh message: a routing key is there twice");
    }
    services.push_back(std::move(service));
  }
  std::ranges::sort(services, {}, &ServiceInfo::routing_key);
  return services;
}

// Of a state or a route.
template <class Told>
Result<> read_site_of(const Value& map, Told& told) {
  const Value* site = TRY(need(map, "site", Value::Kind::map));
  told.site = TRY(read_site(*site));
  told.services = TRY(read_services(map));
  for (const Value& item : TRY(list_at(map, "links", kMeshLinksMax))->items()) {
    told.links.push_back(TRY(read_link(item)));
  }
  return {};
}

Result<MeshRoute> read_route(const Value& map) {
  MeshRoute route;
  TRY(read_site_of(map, route));
  route.path = TRY(names_at(map, "path", proxy::kHopsMax));
  route.cost = TRY(cost_at(map));
  route.is_cut = TRY(truth_at(map, "cut"));
  return route;
}

// Whoever writes knows how much there may be; only octets cannot be counted exactly.
bool take_what_was_read(MeshRoom& room, MeshWeight weight) {
  weight.bytes = 0;
  return room.take(weight);
}

Result<MeshSiteState> read_state(const Value& map) {
  MeshSiteState state;
  TRY(read_site_of(map, state));
  state.is_leaving = TRY(truth_at(map, "leaving"));
  if (MeshRoom own_room; !take_what_was_read(own_room, weight_of(state))) {
    return Error::limit("mesh message: more than " + std::to_string(kMeshPublishedMax) +
                        " published ports, or " + std::to_string(kMeshNodesMax) +
                        " names and other values");
  }
  if (!map.find("routes")) return state;
  MeshRoom room;
  std::set<std::string> sites;
  for (const Value& item : TRY(list_at(map, "routes", kMeshRoutesMax))->items()) {
    // What it passes on from others is no reason not to hear of itself.
    auto route = read_route(item);
    if (!route || sites.contains(route->site.id)) continue;
    if (!take_what_was_read(room, weight_of(*route))) continue;
    sites.insert(route->site.id);
    state.routes.push_back(std::move(*route));
  }
  return state;
}

}  // namespace

void add_mesh_item(std::string& list, std::string_view item) {
  if (!list.empty()) list += ',';
  list += item;
}

MeshWeight weight_of(const MeshRoute& route) {
  MeshWeight weight = weight_of_site(route);
  weight.nodes += route.path.size();
  weight.bytes += texts_bytes(route.path);
  return weight;
}

MeshWeight weight_of(const MeshSiteState& state) { return weight_of_site(state); }

MeshRoom MeshRoom::share(size_t among) const {
  MeshRoom room = *this;
  for (size_t MeshWeight::* part : kWeightParts) room.left_.*part /= std::max<size_t>(among, 1);
  return room;
}

bool MeshRoom::take(const MeshWeight& weight) {
  for (size_t MeshWeight::* part : kWeightParts) {
    if (weight.*part > left_.*part) return false;
  }
  for (size_t MeshWeight::* part : kWeightParts) left_.*part -= weight.*part;
  return true;
}

uint32_t sum_of_costs(uint32_t a, uint32_t b) { return a > UINT32_MAX - b ? UINT32_MAX : a + b; }

std::string write_mesh_site(const MeshSiteState& state) {
  Value map = Value::map();
  append_site(map, state);
  if (state.is_leaving) map.append({}, "leaving", true);
  return members(map);
}

std::string write_mesh_route(const MeshRoute& route) {
  return write_json(route_value(route), JsonStyle::compact);
}

std::string write_mesh_neighbour(const MeshSiteState& state) {
  std::string text = "{" + write_mesh_site(state);
  if (!state.routes.empty()) text += ",\"routes\":[" + routes_text(state) + "]";
  return text + "}";
}

std::string write_mesh_trust(const MeshTrust& trust) {
  return trust == MeshTrust() ? std::string() : write_json(trust_value(trust), JsonStyle::compact);
}

std::string join_mesh_message(uint64_t sequence, const MeshParts& parts) {
  std::string text = "{\"version\":" + std::to_string(kMeshVersion) +
                     ",\"sequence\":" + std::to_string(sequence) + ",";
  text += parts.site;
  if (!parts.routes.empty()) text += ",\"routes\":[" + parts.routes + "]";
  if (!parts.trust.empty()) text += ",\"trust\":" + parts.trust;
  if (!parts.neighbours.empty()) text += ",\"neighbours\":[" + parts.neighbours + "]";
  return text + "}";
}

std::string write_mesh_message(const MeshSiteState& state, const MeshTrust& trust,
                               uint64_t sequence, const std::vector<MeshSiteState>& neighbours) {
  const std::string site = write_mesh_site(state);
  MeshParts parts{.site = site,
                  .routes = routes_text(state),
                  .neighbours = {},
                  .trust = write_mesh_trust(trust)};
  for (const MeshSiteState& neighbour : neighbours) {
    add_mesh_item(parts.neighbours, write_mesh_neighbour(neighbour));
  }
  return join_mesh_message(sequence, parts);
}

Result<MeshMessage> read_mesh_message(std::string_view text) {
  const ParsedText parsed = parse_json(text, kMessageLimits);
  if (parsed.error) {
    const std::string why = "mesh message: " + parsed.error->text;
    return parsed.error->is_limit ? Error::limit(why) : Error::protocol(why);
  }
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

}  // namespace istmo::control
