// Sites behind neighbours: which way leads to each, and what this site tells of them
// (docs/adr/0007-more-than-one-hop.md).
//
// Path vectors, as in BGP (RFC 4271 section 9): every route names the sites that it leads over, and
// whoever finds itself among them takes it for none. So the tables settle after every change, and
// nothing counts to infinity.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/mesh.h"

namespace istmo::control {

// Ways that are remembered for one site.
inline constexpr size_t kMeshWaysMax = 4;

// Of the cheapest link with each neighbour that is linked, by its id. Others count as 1.
using NeighbourCosts = std::map<std::string, uint32_t>;

// `sites`: the neighbours, those of siblings among them. Adds the ways that they tell of, and the
// sites that are reached by these alone.
void add_ways(std::vector<RemoteSite>& sites, const std::string& local_site_id,
              const NeighbourCosts& costs);

struct RoutesToTell {
  std::vector<MeshRoute> routes;
  size_t left_out = 0;  // sites that have no room: those of their neighbour that are the farthest
};
// The best way to each site, with the neighbours and the ways that add_ways() added.
RoutesToTell routes_to_tell(const std::vector<RemoteSite>& sites, const NeighbourCosts& costs);

}  // namespace istmo::control
