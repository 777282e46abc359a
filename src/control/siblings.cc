#include "control/siblings.h"

#include <algorithm>
#include <utility>

#include "control/compile.h"

namespace istmo::control {

bool Siblings::is_link(const proxy::LinkChange& change) const {
  if (change.is_incoming) return change.site_id == site_id_;
  return change.link.starts_with(kSiblingLinkPrefix);
}

bool Siblings::on_link_changed(const proxy::LinkChange& change) {
  if (change.is_open) {
    open_[change.replica].insert(change.id);
    return false;  // it has told nothing yet
  }
  const auto open = open_.find(change.replica);
  if (open == open_.end() || open->second.erase(change.id) == 0 || !open->second.empty()) {
    return false;
  }
  open_.erase(open);
  sequences_.erase(change.replica);
  return told_.erase(change.replica) > 0;
}

Result<bool> Siblings::on_message(const proxy::Replica& replica, std::string_view text) {
  MeshMessage message = TRY(read_mesh_message(text));
  if (message.state.site.id != site_id_) {
    return Error::protocol("mesh message: a replica of this site calls itself " +
                           message.state.site.id);
  }
  if (!open_.contains(replica.id)) return false;
  const auto last = sequences_.find(replica.id);
  if (last != sequences_.end() && message.sequence <= last->second) return false;
  sequences_[replica.id] = message.sequence;
  SiblingState told{.replica = replica.id,
                    .state = std::move(message.state),
                    .neighbours = std::move(message.neighbours)};
  SiblingState& known = told_[replica.id];
  if (known == told) return false;
  known = std::move(told);
  return true;
}

std::vector<SiblingState> Siblings::states() const {
  std::vector<SiblingState> states;
  for (const auto& [replica, state] : told_) states.push_back(state);
  return states;
}

namespace {

uint32_t cost_of_link(const SiblingState& sibling, const std::string& neighbour) {
  uint32_t cost = UINT32_MAX;
  for (const MeshLink& link : sibling.state.links) {
    if (link.is_operational && link.remote_site_id == neighbour) cost = std::min(cost, link.cost);
  }
  return cost == UINT32_MAX ? 1 : cost;
}

}  // namespace

void add_reach_of_siblings(std::vector<RemoteSite>& sites,
                           const std::vector<SiblingState>& siblings) {
  for (const SiblingState& sibling : siblings) {
    for (const MeshSiteState& neighbour : sibling.neighbours) {
      auto known = std::ranges::find_if(
          sites, [&](const RemoteSite& site) { return site.state.site.id == neighbour.site.id; });
      if (known == sites.end()) {
        known = sites.insert(sites.end(), {.state = neighbour, .is_linked = false});
      } else if (!known->is_reachable) {  // what was held is older
        known->state = neighbour;
        known->is_reachable = true;
      }
      known->siblings.push_back({sibling.replica, cost_of_link(sibling, neighbour.site.id)});
    }
  }
}

void add_links_of_siblings(std::vector<LinkState>& links,
                           const std::vector<SiblingState>& siblings) {
  for (const SiblingState& sibling : siblings) {
    for (const MeshLink& theirs : sibling.state.links) {
      if (!theirs.is_operational) continue;
      const auto ours = std::ranges::find_if(links, [&](const LinkState& link) {
        return link.link == theirs.name &&
               (!link.is_incoming || link.site_id == theirs.remote_site_id);
      });
      if (ours != links.end() && ours->is_up()) continue;
      LinkState link = ours != links.end() ? *ours : LinkState{.link = theirs.name};
      link.is_incoming = theirs.name.empty();
      link.site_id = theirs.remote_site_id;
      link.site_name = theirs.remote_site_name;
      link.connections_open = 1;
      link.cost = theirs.cost;
      link.error.clear();
      if (ours != links.end()) *ours = link;
      else links.push_back(link);
    }
  }
}

}  // namespace istmo::control
