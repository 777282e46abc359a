// The links as they are now: folds the data plane's LinkChange letters into one LinkState each.
//
// Owned by the controller, control thread only. Outgoing links are known by document name,
// incoming ones by the site that dialled, with all its replicas; an incoming link disappears with
// its last connection.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/observed.h"
#include "dataplane/proxy/replica.h"
#include "dataplane/proxy/report.h"

namespace istmo::control {

class LinkTable {
 public:
  void on_link_changed(const proxy::LinkChange& change);
  // Drops what is known of Link documents that are no longer there.
  void keep_only(const std::set<std::string>& link_names);
  std::vector<LinkState> links() const;
  // Whether a connection with that process of another site is open.
  bool is_linked(const proxy::Replica& replica) const;

 private:
  struct Row {
    LinkState state;
    std::map<uint64_t, proxy::Replica> open;  // connections, by LinkChange::id
  };
  std::map<std::pair<std::string, std::string>, Row> rows_;  // (link, incoming site)
};

}  // namespace istmo::control
