// The links as they are now: folds the data plane's LinkChange letters into one LinkState each.
//
// Owned by the controller, control thread only. Outgoing links are known by document name,
// incoming ones by the site that dialled; an incoming link disappears with its last connection.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/observed.h"
#include "dataplane/proxy/report.h"

namespace istmo::control {

class LinkTable {
 public:
  void on_link_changed(const proxy::LinkChange& change);
  // Drops what is known of Link documents that are no longer there.
  void keep_only(const std::set<std::string>& link_names);
  std::vector<LinkState> links() const;

 private:
  struct Row {
    LinkState state;
    // Index and remote address: a new connection may come before its dead forerunner is noticed.
    std::set<std::pair<uint32_t, std::string>> open;
  };
  std::map<std::pair<std::string, std::string>, Row> rows_;  // (link, incoming site)
};

}  // namespace istmo::control
