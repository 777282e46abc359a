#include "control/mesh_routes.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string_view>
#include <tuple>

#include "dataplane/proxy/snapshot.h"

namespace istmo::control {
namespace {

// A way, and what was told of the site at its end.
struct Candidate {
  MeshWay way;
  uint32_t cost;  // with that of the link
  const MeshRoute* route;
};

bool contains(const std::vector<std::string>& ids, const std::string& id) {
  return std::ranges::find(ids, id) != ids.end();
}

uint32_t sum(uint32_t a, uint32_t b) {
  return a > std::numeric_limits<uint32_t>::max() - b ? std::numeric_limits<uint32_t>::max()
                                                      : a + b;
}

uint32_t cost_of(const NeighbourCosts& costs, const std::string& neighbour) {
  const auto found = costs.find(neighbour);
  return found == costs.end() ? 1 : found->second;
}

// Whether a route that `teller` told leads anywhere from the site `local`.
bool is_usable(const MeshRoute& route, const std::string& teller, const std::string& local) {
  return route.site.id != local && route.site.id != teller && !contains(route.path, local) &&
         !contains(route.path, teller) && !contains(route.path, route.site.id) &&
         route.path.size() + 2 <= proxy::kHopsMax;  // the links: to the teller, and from it on
}

std::tuple<bool, uint32_t, size_t, std::string_view> rank(const Candidate& candidate) {
  const MeshWay& way = candidate.way;
  return {way.is_cut, candidate.cost, way.path.size(), way.neighbour()};
}

// By the site at the end, the best first.
std::map<std::string, std::vector<Candidate>> candidates_of(const std::vector<RemoteSite>& sites,
                                                            const std::string& local_site_id,
                                                            const NeighbourCosts& costs) {
  std::map<std::string, std::vector<Candidate>> candidates;
  for (const RemoteSite& neighbour : sites) {
    const std::string& id = neighbour.state.site.id;
    for (const MeshRoute& route : neighbour.state.routes) {
      if (!is_usable(route, id, local_site_id)) continue;
      MeshWay way{
          .path = {id}, .cost = route.cost, .is_cut = route.is_cut || !neighbour.is_reachable};
      way.path.insert(way.path.end(), route.path.begin(), route.path.end());
      candidates[route.site.id].push_back(
          {std::move(way), sum(cost_of(costs, id), route.cost), &route});
    }
  }
  for (auto& [id, list] : candidates) {
    std::ranges::sort(list, {}, rank);
    if (list.size() > kMeshWaysMax) list.erase(list.begin() + kMeshWaysMax, list.end());
  }
  return candidates;
}

// All but its routes: they are its own word, and candidates point to them.
void take_state(RemoteSite& site, const MeshRoute& route) {
  site.state.site = route.site;
  site.state.services = route.services;
  site.state.links = route.links;
}

MeshRoute best_route(const RemoteSite& site, const NeighbourCosts& costs) {
  MeshRoute route{.site = site.state.site,
                  .services = site.state.services,
                  .links = site.state.links,
                  .path = {},
                  .cost = cost_of(costs, site.state.site.id),
                  .is_cut = !site.is_reachable};
  if (site.ways.empty()) return route;
  const MeshWay& way = site.ways.front();
  const uint32_t cost = sum(cost_of(costs, way.neighbour()), way.cost);
  // The own link of a neighbour is lost while nothing but a way makes it reachable.
  const bool is_linked = site.is_neighbour() && costs.contains(site.state.site.id);
  if (is_linked && (way.is_cut || route.cost <= cost)) return route;
  route.path = way.path;
  route.cost = cost;
  route.is_cut = way.is_cut;
  return route;
}

}  // namespace

void add_ways(std::vector<RemoteSite>& sites, const std::string& local_site_id,
              const NeighbourCosts& costs) {
  std::vector<RemoteSite> others;
  for (auto& [id, candidates] : candidates_of(sites, local_site_id, costs)) {
    const Candidate& best = candidates.front();
    const auto known = std::ranges::find_if(
        sites, [&](const RemoteSite& site) { return site.state.site.id == id; });
    const bool is_new = known == sites.end();
    RemoteSite& site = is_new ? others.emplace_back() : *known;
    if (is_new) {
      site.is_linked = false;
      site.is_reachable = !best.way.is_cut;
      take_state(site, *best.route);
    } else if (!site.is_reachable && !best.way.is_cut) {  // what was held is older
      site.is_reachable = true;
      take_state(site, *best.route);
    }
    for (Candidate& candidate : candidates) site.ways.push_back(std::move(candidate.way));
  }
  std::ranges::move(others, std::back_inserter(sites));
}

RoutesToTell routes_to_tell(const std::vector<RemoteSite>& sites, const NeighbourCosts& costs) {
  RoutesToTell told;
  for (const RemoteSite& site : sites) told.routes.push_back(best_route(site, costs));
  std::ranges::sort(told.routes, [](const MeshRoute& a, const MeshRoute& b) {
    return std::tie(a.cost, a.site.id) < std::tie(b.cost, b.site.id);
  });
  size_t services = 0;
  size_t ports = 0;
  const auto has_room = [&](const MeshRoute& route) {
    services += route.services.size();
    for (const ServiceInfo& service : route.services) ports += service.published_ports.size();
    return services <= kMeshServicesMax && ports <= kMeshPublishedMax;
  };
  size_t count = 0;
  while (count < told.routes.size() && count < kMeshRoutesMax && has_room(told.routes[count])) {
    ++count;
  }
  told.left_out = told.routes.size() - count;
  told.routes.resize(count);
  return told;
}

}  // namespace istmo::control
