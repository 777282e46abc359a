// What `expose` can name in a cluster, and what a Connector of it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/cli/cluster_site.h"
#include "control/cli/usage.h"

namespace istmo::control {

// Exactly one of host and selector, once it was found.
struct Workload {
  ExposeTarget target;
  std::string host;
  std::string selector;
  std::vector<uint16_t> ports;  // that it names
  std::string text() const { return target.type + " " + target.name; }
};

// Error::config when it is not there; it says what else can be meant.
Result<Workload> find_workload(const ClusterSite& site, const ExposeTarget& target);

}  // namespace istmo::control
