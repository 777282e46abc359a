// Links, neighbours and siblings, what they say and what they are told: the fourth part of
// controller.h.
#include <algorithm>

#include "base/log.h"
#include "control/compile.h"
#include "control/controller.h"
#include "control/local_state.h"

namespace istmo::control {

namespace {

NeighbourCosts neighbour_costs(const std::vector<LinkState>& links) {
  NeighbourCosts costs;
  for (const LinkState& link : links) {
    if (!link.is_up()) continue;
    const auto [known, is_new] = costs.try_emplace(link.site_id, link.cost);
    if (!is_new) known->second = std::min(known->second, link.cost);
  }
  return costs;
}

}  // namespace

// --- what changes ----------------------------------------------------------------------------

void Controller::on_link_changed(const proxy::LinkChange& change) {
  LOG_INFO(change.is_open ? "link open" : "link not open", "link", change.link, "site",
           change.site_name.empty() ? change.site_id : change.site_name, "connection",
           change.connection, "remote", change.remote_address, "error", change.error);
  if (siblings_->is_link(change)) {
    if (siblings_->on_link_changed(change)) on_news();
    return;
  }
  const proxy::Replica replica{change.site_id, change.replica};
  const bool was_linked = links_.is_linked(replica);
  links_.on_link_changed(change);
  if (was_linked && !links_.is_linked(replica)) {
    // A link that we deleted is an end in order, too.
    const bool is_ours = !change.is_incoming && !desired_.links.contains(change.link);
    const bool is_orderly = change.ended_in_order || is_ours;
    mesh_->on_replica_lost(replica, is_orderly ? MeshState::Loss::orderly : MeshState::Loss::silent,
                           loop_.now());
  }
  on_news();
}

// Of the site as a whole: a link of a sibling is one.
void Controller::tell_of_links() {
  std::map<std::string, std::string> linked;  // name by id
  for (const LinkState& link : observed_.links) {
    if (link.is_up()) linked[link.site_id] = link.site_name.empty() ? link.site_id : link.site_name;
  }
  const auto before = std::exchange(told_links_, linked);
  if (!observed_.acts_for_site) return;
  for (const auto& [id, name] : linked) {
    if (before.contains(id)) continue;
    platform_->tell(desired_, {.reason = "SiteLinked", .text = "linked with site " + name});
  }
  for (const auto& [id, name] : before) {
    if (linked.contains(id)) continue;
    platform_->tell(
        desired_,
        {.is_warning = true, .reason = "SiteUnlinked", .text = "no link with site " + name});
  }
}

Result<> Controller::on_mesh_message(const proxy::Replica& replica, std::string message) {
  auto changed = siblings_->is_one(replica) ? siblings_->on_message(replica, message)
                                            : mesh_->on_message(replica, message);
  if (changed) {
    if (mesh_->is_leaving(replica)) dataplane_->leave(replica);
    if (*changed) on_news();
    return {};
  }
  if (changed.error().error_class() == ErrorClass::protocol) return std::move(changed).error();
  if (not_understood_.insert(replica.site_id).second) {
    LOG_WARNING("mesh message ignored", "site", replica.site_id, "error", changed.error().text());
  }
  return {};
}

void Controller::on_mesh_open(const proxy::Replica& replica) {
  open_meshes_.insert(replica);
  mesh_->on_replica_open(replica);
  siblings_->on_open(replica);
  announcer_.forget(replica);
  sibling_announcer_.forget(replica);
  mark_dirty();
}

void Controller::on_mesh_closed(const proxy::Replica& replica) {
  open_meshes_.erase(replica);
  announcer_.forget(replica);
  sibling_announcer_.forget(replica);
  not_understood_.erase(replica.site_id);
}

// --- bringing it in line ---------------------------------------------------------------------

void Controller::refresh_network() {
  const bool has_news = news_.take(loop_.now());
  if (has_news) observed_.siblings = siblings_->states();
  observed_.links = links_.links();
  add_links_of_siblings(observed_.links, observed_.siblings);
  if (has_news) {
    observed_.remote_sites = mesh_->sites();
    add_reach_of_siblings(observed_.remote_sites, observed_.siblings);
    add_ways(observed_.remote_sites, observed_.site.id, neighbour_costs(observed_.links));
  }
}

void Controller::refresh_sibling_credentials() {
  if (!observed_.cluster || observed_.cluster->siblings.empty()) return;
  if (!sibling_credentials_) {
    auto credentials = state_->server_credentials(std::string(kSiblingSecret),
                                                  {std::string(kSiblingHost)}, wall_now());
    if (!credentials) {
      return LOG_ERROR("no certificate for links between replicas", "error",
                       credentials.error().text());
    }
    sibling_credentials_ = std::move(*credentials);
  }
  observed_.credentials[std::string(kSiblingSecret)] = *sibling_credentials_;
}

// A new process is not ready before it can reach what those that are there do. One of them may be
// dead: then not for ever.
bool Controller::has_heard_siblings() const {
  if (!observed_.cluster || loop_.now() >= siblings_awaited_until_) return true;
  return observed_.cluster->are_siblings_known && publishing_ == 0 &&
         observed_.siblings.size() >= observed_.cluster->siblings.size();
}

// --- what they are told ----------------------------------------------------------------------

// Not while this process is to find out what its Connectors lead to: neighbours still hold what the
// one before it said, and would take its first word for the whole.
bool Controller::may_announce() const {
  return were_backends_known_ || loop_.now() >= first_word_at_;
}

void Controller::announce() {
  if (!may_announce()) return;
  MeshSiteState state = local_state(desired_, observed_, *compiled_.snapshot);
  state.is_leaving =
      phase_ == Phase::leaving && platform_->replaces_process() && desired_.site() != nullptr;
  MeshSiteState own_state = state;
  own_state.links = mesh_links(links_.links(), IncomingLinks::included);
  size_t left_out = 0;
  if (compiled_.snapshot->allows_transit) {
    auto told = routes_to_tell(observed_.remote_sites, neighbour_costs(observed_.links));
    state.routes = std::move(told.routes);
    left_out = told.left_out;
  }
  std::vector<MeshSiteState> neighbours;
  for (RemoteSite& remote : mesh_->sites()) {
    if (remote.is_reachable) neighbours.push_back(std::move(remote.state));
  }
  for (const proxy::Replica& replica : open_meshes_) {
    const std::string message =
        siblings_->is_one(replica)
            ? sibling_announcer_.message_for(replica, own_state, {}, neighbours)
            : announcer_.message_for(replica, state, renewal_->trust_for(replica.site_id));
    if (!message.empty()) dataplane_->send_mesh(replica, message);
  }
  tell_of_left_out(left_out + announcer_.left_out() + sibling_announcer_.left_out());
}

void Controller::tell_of_left_out(size_t count) {
  if (std::exchange(left_out_, count) > 0 || count == 0) return;
  LOG_WARNING("linked sites are not told of everything that is reached here: it is too much",
              "sites_or_services_left_out", count);
}

}  // namespace istmo::control
