// What `link generate` and tokens of type cert give away in a cluster. The gateway is asked by a
// Certificate document: it issues the credentials as a Secret, which the command reads with its
// user's own right. Both go again; what was issued stays listed among the site's records.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/cli/cluster_site.h"

namespace istmo::control {

struct LinkRequest {
  std::string name;
  std::vector<std::string> hosts;  // which it names; empty: all where the site is reached
  // Where it is reached for sure (wait_for_address()), before the site's list is taken.
  std::vector<std::string> awaited_hosts;
  uint32_t cost = 1;
};

// The Secret and the Link with which another site links to this one. Error::timeout: the gateway
// did not do its part.
Result<std::vector<Document>> make_cluster_link(const ClusterSite& site,
                                                const LinkRequest& request);

}  // namespace istmo::control
