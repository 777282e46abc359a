// The other replicas of this site: what each of them reaches over links of its own, as it tells
// over the mesh. A stream that no own link can take goes to one that has a link.
//
// Owned by the controller, control thread only. What a replica told is forgotten with its last
// link: it is told again when there is one.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/mesh.h"
#include "control/observed.h"
#include "dataplane/proxy/replica.h"
#include "dataplane/proxy/report.h"

namespace istmo::control {

class Siblings {
 public:
  explicit Siblings(std::string site_id) : site_id_(std::move(site_id)) {}

  bool is_one(const proxy::Replica& replica) const { return replica.site_id == site_id_; }
  // A link that compile() made for a sibling, or that a sibling made.
  bool is_link(const proxy::LinkChange& change) const;
  // Of such a link. True: what is known changed.
  bool on_link_changed(const proxy::LinkChange& change);
  // As of MeshState.
  Result<bool> on_message(const proxy::Replica& replica, std::string_view message);
  void on_open(const proxy::Replica& replica) { sequences_.erase(replica.id); }
  bool has_told(const std::string& replica) const { return told_.contains(replica); }
  size_t linked() const { return open_.size(); }

  std::vector<SiblingState> states() const;  // by replica

 private:
  std::string site_id_;
  std::map<std::string, std::set<uint64_t>> open_;  // LinkChange::id by replica
  std::map<std::string, uint64_t> sequences_;       // of the last message of a channel
  std::map<std::string, SiblingState> told_;
};

// Adds what siblings reach to what this process reaches itself.
void add_reach_of_siblings(std::vector<RemoteSite>& sites,
                           const std::vector<SiblingState>& siblings);
// A link of the site is up when it is so at one of its replicas.
void add_links_of_siblings(std::vector<LinkState>& links,
                           const std::vector<SiblingState>& siblings);

}  // namespace istmo::control
