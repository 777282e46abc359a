#include "control/mesh_announcer.h"

#include <algorithm>
#include <functional>

namespace istmo::control {
bool MeshAnnouncer::Route::is_news_for(const std::string& site) const {
  return site_id != site && std::ranges::find(path, site) == path.end();
}

std::string MeshAnnouncer::message_for(const proxy::Replica& replica, const MeshSiteState& state,
                                       const MeshTrust& trust,
                                       const std::vector<MeshSiteState>& neighbours) {
  take(state, neighbours);
  Told& told = told_[replica];
  if (told.state == state_number_ && told.trust == trust) return {};
  MeshParts parts{.site = site_text_,
                  .routes = {},
                  .neighbours = neighbours_text_,
                  .trust = write_mesh_trust(trust)};
  for (const Route& route : routes_) {
    if (route.is_news_for(replica.site_id)) add_mesh_item(parts.routes, route.text);
  }
  const size_t routes = std::hash<std::string>{}(parts.routes);
  const bool is_same = told.parts == parts_number_ && told.routes == routes && told.trust == trust;
  told = {state_number_, parts_number_, routes, trust};
  return is_same ? std::string() : join_mesh_message(++sequence_, parts);
}

// Nothing is copied when nothing is new: this is asked for every replica at every refresh.
void MeshAnnouncer::take(const MeshSiteState& state, const std::vector<MeshSiteState>& neighbours) {
  const bool is_first = state_number_ == 0;
  const bool has_new_site = is_first || state.site != state_.site ||
                            state.services != state_.services || state.links != state_.links ||
                            state.is_leaving != state_.is_leaving;
  const bool has_new_neighbours = is_first || neighbours != neighbours_;
  const bool has_new_routes = state.routes != state_.routes;
  if (!has_new_site && !has_new_neighbours && !has_new_routes) return;
  ++state_number_;
  if (has_new_site) write_site(state);
  if (has_new_neighbours) write_neighbours(neighbours);
  if (has_new_site || has_new_neighbours) ++parts_number_;
  if (has_new_neighbours) neighbours_ = neighbours;
  if (has_new_routes) {
    routes_.clear();
    for (const MeshRoute& route : state.routes) {
      routes_.push_back({route.site.id, route.path, write_mesh_route(route)});
    }
  }
  state_ = state;
}

void MeshAnnouncer::write_site(MeshSiteState site) {
  const MeshRoom room;
  site.routes.clear();
  services_left_out_ = 0;
  if (site.links.size() > kMeshLinksMax) site.links.resize(kMeshLinksMax);
  while (!site.services.empty() && !MeshRoom(room).take(weight_of(site))) {
    const size_t fewer = site.services.size() - site.services.size() / 8 - 1;
    services_left_out_ += site.services.size() - fewer;
    site.services.resize(fewer);
  }
  site_text_ = write_mesh_site(site);
}

// Each with the sites behind it, the nearest first, as far as there is room.
void MeshAnnouncer::write_neighbours(std::vector<MeshSiteState> neighbours) {
  MeshRoom room;
  neighbours_left_out_ = std::erase_if(
      neighbours, [&](const MeshSiteState& neighbour) { return !room.take(weight_of(neighbour)); });
  neighbours_text_.clear();
  for (size_t i = 0; i < neighbours.size(); ++i) {
    MeshRoom share = room.share(neighbours.size() - i);
    std::erase_if(neighbours[i].routes, [&](const MeshRoute& route) {
      const MeshWeight weight = weight_of(route);
      if (!share.take(weight)) return true;
      room.take(weight);
      return false;
    });
    add_mesh_item(neighbours_text_, write_mesh_neighbour(neighbours[i]));
  }
}

}  // namespace istmo::control
