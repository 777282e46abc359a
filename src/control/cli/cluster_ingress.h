// How other sites get to the gateway of a cluster: what `init --ingress` makes, and what a token
// waits for.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "control/cli/arguments.h"
#include "control/cli/cluster_site.h"
#include "control/kubernetes/site_manifest.h"

namespace istmo::control {

// The type of the gateway's Service for `--ingress`; Error::config: there is no such ingress here.
Result<std::string> service_type_of(const std::string& ingress);

// What the options of a command say of the way in, into `options`, whose link_access is known.
// Error::config: they do not go together.
Result<> take_ingress_options(SiteManifestOptions& options, const Arguments& arguments);

// The cluster has the kind of object that the way in takes, in the version that goes to `options`,
// and a Site document that is there already asks for the same. Changes nothing.
Result<> check_ingress(const ClusterSite& site, SiteManifestOptions& options);

// The addresses that a token must name: those of --ingress-host, which the site keeps, and those
// outside of the cluster. Waits for a load balancer's, or for a router's host, with progress;
// Error::config says what to do when there is none.
Result<std::vector<std::string>> wait_for_address(const ClusterSite& site,
                                                  const Arguments& arguments);

}  // namespace istmo::control
