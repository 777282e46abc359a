#include "control/mesh_routes.h"

#include <algorithm>
#include <iterator>
#include <set>
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

uint32_t cost_of(const NeighbourCosts& costs, const std::string& neighbour) {
  const auto found = costs.find(neighbour);
  return found == costs.end() ? 1 : found->second;
}

// Whether a route that `teller` told leads anywhere from the site `local`.
bool is_usable(const MeshRoute& route, const SiteInfo& teller, const std::string& local) {
  const auto& path = route.path;
  const bool leads_back = route.site.called() == local || route.site.id == local ||
                          route.site.id == teller.id || contains(path, local);
  const bool is_circle = contains(path, teller.called()) || contains(path, route.site.called());
  // The links: to the teller, and from it on.
  return !leads_back && !is_circle && path.size() + 2 <= proxy::kHopsMax;
}

std::tuple<bool, uint32_t, size_t, std::string_view> rank(const Candidate& candidate) {
  const MeshWay& way = candidate.way;
  return {way.is_cut, candidate.cost, way.path.size(), way.neighbour};
}

// By the site at the end, the best first.
std::map<std::string, std::vector<Candidate>> candidates_of(const std::vector<RemoteSite>& sites,
                                                            const std::string& local_site_id,
                                                            const NeighbourCosts& costs) {
  std::map<std::string, std::vector<Candidate>> candidates;
  for (const RemoteSite& neighbour : sites) {
    const SiteInfo& teller = neighbour.state.site;
    for (const MeshRoute& route : neighbour.state.routes) {
      if (!is_usable(route, teller, local_site_id)) continue;
      MeshWay way{.neighbour = teller.id,
                  .path = {teller.called()},
                  .cost = route.cost,
                  .is_cut = route.is_cut || !neighbour.is_reachable};
      way.path.insert(way.path.end(), route.path.begin(), route.path.end());
      candidates[route.site.id].push_back(
          {std::move(way), sum_of_costs(cost_of(costs, teller.id), route.cost), &route});
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
  const uint32_t cost = sum_of_costs(cost_of(costs, way.neighbour), way.cost);
  // The own link of a neighbour is lost while nothing but a way makes it reachable.
  const bool is_linked = site.is_neighbour() && costs.contains(site.state.site.id);
  if (is_linked && (way.is_cut || route.cost <= cost)) return route;
  route.path = way.path;
  route.cost = cost;
  route.is_cut = way.is_cut;
  return route;
}

// Which routes have room in a message. No first step takes more than its share from the others,
// however much it offers and however near it says that all of it is.
std::vector<bool> choose(const std::vector<MeshRoute>& routes) {
  const auto first_step = [](const MeshRoute& route) -> const std::string& {
    return route.path.empty() ? route.site.called() : route.path.front();
  };
  std::set<std::string> steps;
  for (const MeshRoute& route : routes) steps.insert(first_step(route));
  MeshRoom room;
  std::map<std::string, MeshRoom> shares;
  for (const std::string& step : steps) shares.emplace(step, room.share(steps.size()));
  std::vector<bool> is_told(routes.size());
  for (size_t i = 0; i < routes.size(); ++i) {
    const MeshWeight weight = weight_of(routes[i]);
    is_told[i] = shares.at(first_step(routes[i])).take(weight) && room.take(weight);
  }
  for (size_t i = 0; i < routes.size(); ++i) {
    if (!is_told[i]) is_told[i] = room.take(weight_of(routes[i]));
  }
  return is_told;
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
  const std::vector<bool> is_told = choose(told.routes);
  size_t index = 0;
  told.left_out = std::erase_if(told.routes, [&](const MeshRoute&) { return !is_told[index++]; });
  return told;
}

}  // namespace istmo::control
