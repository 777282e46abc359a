// compile(): from what should be and what is known to what the workers run. Pure: the same
// arguments give the same Snapshot, and every problem is reported, not only the first.
//
// A listener is opened only while its key may be reachable: a Connector of this site has the key,
// a neighbour serves it (or did until its hold time ends), or a configured Link is not up, so that
// nobody can know. A published service of a neighbour becomes a listener `service/<key>:<port>` on
// the site's service address unless a Listener document of this site has the key.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/desired.h"
#include "control/observed.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {

// Links between the replicas of a site: their names have this in front, which no document's has,
// and their certificates name this host.
inline constexpr std::string_view kSiblingLinkPrefix = "sibling/";
inline constexpr std::string_view kSiblingHost = "istmo-replicas";
inline constexpr std::string_view kSiblingSecret = "istmo-sibling";
inline constexpr uint16_t kSiblingPort = 55672;

// The RouterAccess that Site.linkAccess or a token stands for, and PKI's certificate for it.
inline constexpr const char* kImpliedAccess = "istmo-router";
inline constexpr const char* kSiteServerSecret = "istmo-site-server";
inline constexpr uint16_t kLinkPort = 55671;

struct Compiled {
  std::unique_ptr<proxy::Snapshot> snapshot;
  std::vector<Problem> problems;  // of this step; reading reported its own
  std::set<ObjectId> waiting;     // not in the snapshot, but nothing is wrong: a listener
                                  // without a way, a host that is being resolved
};

Compiled compile(const Desired& desired, const Observed& observed);

// What its host means, where that is a Service whose backends are known; else nullptr.
const ServiceSelection* service_of(const ConnectorDocument& connector, const Observed& observed);

// Host names (not numeric) that have to be in Observed::hosts, each as written.
std::set<std::string> hosts_to_resolve(const Desired& desired, const Observed& observed);

// The RouterAccess documents that hold here: those written, and the implied one when the Site or
// `observed` asks for link access and none was written. SiteAccess chooses ports and certificates
// for them.
DocumentMap<RouterAccessDocument> router_accesses(const Desired& desired, const Observed& observed);

// PKI of this site makes the certificate of this RouterAccess (no Secret or Certificate document
// does).
bool makes_credentials(const RouterAccessDocument& access, const Desired& desired);

// What the Site document asks of replicas in vain; empty: nothing.
std::string ha_shortfall(const SiteDocument& site, const Observed& observed);

}  // namespace istmo::control
