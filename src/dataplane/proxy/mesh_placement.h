// Which connections carry the mesh. Those of one link may lead to several replicas of the other
// site, behind one address, and each of these is to hear from this process: over the connection
// with it that opened first, and over the next one when that is lost.
//
// Owned by whoever owns the workers, on the control thread. Pure: changes in, decisions out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/proxy/replica.h"
#include "dataplane/proxy/report.h"

namespace istmo::proxy {

class MeshPlacement {
 public:
  // Every change of a link. Answers with the connection that is to open the mesh now
  // (LinkChange::id), or 0.
  uint64_t on_link_changed(const LinkChange& change) {
    if (!change.can_have_mesh) return 0;
    const std::pair key(change.link, Replica{change.site_id, change.replica});
    std::vector<uint64_t>& open = open_[key];
    const uint64_t before = open.empty() ? 0 : open.front();
    std::erase(open, change.id);
    if (change.is_open) open.push_back(change.id);
    const uint64_t now = open.empty() ? 0 : open.front();
    if (open.empty()) open_.erase(key);
    return now == before ? 0 : now;
  }

 private:
  // By link document and replica, in the order in which they opened.
  std::map<std::pair<std::string, Replica>, std::vector<uint64_t>> open_;
};

}  // namespace istmo::proxy
