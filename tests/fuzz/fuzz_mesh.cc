// What a neighbour site may say about itself: texts, separated by octets of zero, are fed to what a
// site knows of its neighbours. Whatever they are: reading ends, what was taken keeps the rules
// that the rest of the site relies on, and written again it is read alike.
#include <algorithm>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "control/mesh.h"
#include "control/mesh_routes.h"
#include "dataplane/proxy/snapshot.h"

using namespace istmo;
using namespace istmo::control;

namespace {

constexpr const char* kLocalSite = "00000000-0000-4000-8000-000000000001";
constexpr const char* kRemoteSite = "00000000-0000-4000-8000-000000000002";
constexpr const char* kNamedSite = "made-by-link-generate";  // its certificate holds no UUID

// Names become log lines, files and listeners.
bool is_harmless(const std::string& text) {
  return text.size() <= 253 && std::ranges::all_of(text, [](char c) {
           return static_cast<uint8_t>(c) > ' ' && c != 0x7f;
         });
}

// Of a state or a route.
template <class Told>
void check_site(const Told& told) {
  const SiteInfo& site = told.site;
  for (const auto& text : {site.id, site.name, site.namespace_name, site.platform, site.version}) {
    ASSERT(is_harmless(text));
  }
  ASSERT(!site.id.empty() && !site.name.empty());
  ASSERT(told.services.size() <= kMeshServicesMax);
  for (size_t i = 0; i < told.services.size(); ++i) {
    const ServiceInfo& service = told.services[i];
    ASSERT(is_harmless(service.routing_key) && !service.routing_key.empty());
    ASSERT(is_harmless(service.type) && !service.type.empty());
    ASSERT(i == 0 || told.services[i - 1].routing_key < service.routing_key);
    ASSERT(std::ranges::all_of(service.connectors, is_harmless));
    ASSERT(std::ranges::all_of(service.listeners, is_harmless));
    ASSERT(std::ranges::none_of(service.published_ports, [](uint16_t port) { return port == 0; }));
  }
  for (const MeshLink& link : told.links) ASSERT(is_harmless(link.name));
}

void check(const MeshSiteState& state) {
  check_site(state);
  ASSERT(state.routes.size() <= kMeshRoutesMax);
  size_t services = 0;
  for (const MeshRoute& route : state.routes) {
    check_site(route);
    ASSERT(std::ranges::all_of(route.path, is_harmless));
    services += route.services.size();
  }
  ASSERT(services <= kMeshServicesMax);
}

// Whatever neighbours say, no way leads through this site, or farther than a stream goes.
void check_ways(std::vector<RemoteSite> sites) {
  add_ways(sites, kLocalSite, {});
  for (const RemoteSite& site : sites) {
    ASSERT(site.state.site.id != kLocalSite && site.ways.size() <= kMeshWaysMax);
    for (const MeshWay& way : site.ways) {
      ASSERT(!way.path.empty() && way.path.size() < proxy::kHopsMax);
      ASSERT(std::ranges::find(way.path, kLocalSite) == way.path.end());
      ASSERT(way.neighbour == kRemoteSite || way.neighbour == kNamedSite);
    }
  }
  const RoutesToTell told = routes_to_tell(sites, {});
  ASSERT(told.routes.size() + told.left_out == sites.size());
}

void on_text(MeshState& mesh, std::string_view text, uint64_t& last_sequence) {
  const auto message = read_mesh_message(text);
  const auto changed = mesh.on_message({kRemoteSite, ""}, text);
  if (!message) {
    ASSERT(!changed);
    return;
  }
  check(message->state);
  const auto again =
      read_mesh_message(write_mesh_message(message->state, message->trust, message->sequence));
  ASSERT(again && again->sequence == message->sequence && again->state == message->state);
  ASSERT(again->trust == message->trust);
  if (message->state.site.id != kRemoteSite) {
    ASSERT(!changed);
    return;
  }
  ASSERT(changed && (!*changed || message->sequence > last_sequence || last_sequence == 0));
  last_sequence = std::max(last_sequence, message->sequence);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  MeshState mesh(kLocalSite);
  uint64_t last_sequence = 0;
  ASSERT(!mesh.on_message({kLocalSite, ""}, rest));
  ASSERT(mesh.on_message({kNamedSite, ""}, rest).has_value() ==
         read_mesh_message(rest).has_value());
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    on_text(mesh, rest.substr(0, end), last_sequence);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (const RemoteSite& remote : mesh.sites()) {
    ASSERT(remote.state.site.id == kRemoteSite || remote.state.site.id == kNamedSite);
    check(remote.state);
  }
  check_ways(mesh.sites());
  return 0;
}
