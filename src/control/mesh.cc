#include "control/mesh.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "control/pki.h"

namespace istmo::control {
namespace {

// --- replicas of one site --------------------------------------------------------------------

void add_names(std::vector<std::string>& names, const std::vector<std::string>& more) {
  names.insert(names.end(), more.begin(), more.end());
  std::ranges::sort(names);
  const auto doubles = std::ranges::unique(names);
  names.erase(doubles.begin(), doubles.end());
  if (names.size() > kMeshNamesMax)
    names.resize(kMeshNamesMax);  // it is told on to siblings, who refuse more
}

void add_service(std::map<std::string, ServiceInfo>& services, const ServiceInfo& service) {
  const auto [found, is_new] = services.try_emplace(service.routing_key, service);
  if (is_new) return;
  add_names(found->second.connectors, service.connectors);
  add_names(found->second.listeners, service.listeners);
  for (const uint16_t port : service.published_ports) {
    auto& ports = found->second.published_ports;
    const bool is_new_port = std::ranges::find(ports, port) == ports.end();
    if (is_new_port && ports.size() < kMeshPortsMax) ports.push_back(port);
  }
}

bool is_better(const MeshRoute& a, const MeshRoute& b) {
  return std::tuple(a.is_cut, a.cost, a.path.size()) < std::tuple(b.is_cut, b.cost, b.path.size());
}

// The nearest ones: a sibling that hears of them reads no more.
void keep_what_fits(std::vector<MeshRoute>& routes) {
  std::ranges::stable_sort(routes, is_better);
  MeshRoom room;
  std::erase_if(routes, [&](const MeshRoute& route) { return !room.take(weight_of(route)); });
}

// A process that has just begun does not know everybody again whom the one before knew.
void add_held_routes(RemoteSite& site, const std::vector<const RemoteSite*>& held) {
  if (held.empty()) return;
  std::set<std::string> known;
  for (const MeshRoute& route : site.state.routes) known.insert(route.site.id);
  for (const RemoteSite* replica : held) {
    for (const MeshRoute& route : replica->state.routes) {
      if (!known.insert(route.site.id).second) continue;
      site.state.routes.push_back(route);
      site.state.routes.back().is_cut = true;
    }
  }
  keep_what_fits(site.state.routes);
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
    if (site.state.links.size() < kMeshLinksMax) site.state.links.push_back(std::move(link));
  }
  site.state.routes.clear();
  for (auto& [id, route] : routes) site.state.routes.push_back(std::move(route));
  keep_what_fits(site.state.routes);
  return site;
}

}  // namespace

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
  message.state.site.own_id.clear();
  if (!is_uuid(site_id)) {
    message.state.site.own_id = std::exchange(message.state.site.id, site_id);
  }
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
    if (!reachable.empty()) {
      sites.push_back(merge_replicas(reachable));
      add_held_routes(sites.back(), held);
    } else if (!held.empty()) {
      sites.push_back(merge_replicas(held));
    }
  }
  return sites;
}

}  // namespace istmo::control
