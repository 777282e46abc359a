// Ways in that tell by the host name in TLS (SNI, RFC 6066 3) where a connection goes, and pass it
// on unopened: Routes of OpenShift, an Ingress of a controller that passes TLS through, TLSRoutes
// of the Gateway API. One host leads to the gateway's port for links and one to that for grants,
// both at port 443.
//
// Pure; any thread.
// Source: OpenShift "Route" (route.openshift.io/v1), Kubernetes "Ingress", Gateway API "TLSRoute".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/observed.h"
#include "control/value.h"

namespace istmo::control {

inline constexpr uint16_t kSniPort = 443;

// The Route or TLSRoute to each port. The Ingress has both, and the gateway's name.
inline constexpr const char* kLinksRoute = "istmo-links";
inline constexpr const char* kGrantsRoute = "istmo-grants";

// The kind of object that makes it, for what a Site calls linkAccess: "Route", "Ingress",
// "TLSRoute". Empty: that one is no such way in.
std::string_view sni_kind(std::string_view link_access);

struct SniHosts {
  static constexpr size_t kHostsMax = 16;  // of each

  std::vector<std::string> links;
  std::vector<std::string> grants;
  void add(const SniHosts& more);
  bool is_complete() const { return !links.empty() && !grants.empty(); }
  friend bool operator==(const SniHosts&, const SniHosts&) = default;
};

// "links.oeste.example.com", "grants.oeste.example.com" for each of the domains.
SniHosts sni_hosts_of_domains(const std::vector<std::string>& domains,
                              const std::string& namespace_name);

// That lead to the gateway by this object, as far as it is one of ours by name. Of a Route those
// that a router took, and before any did, the one that it asks for.
SniHosts sni_hosts(std::string_view kind, const Value& object);

// What has to come yet before connections get through, for people; empty: nothing.
std::string sni_obstacle(std::string_view kind, const Value& object);

std::vector<IngressAddress> sni_addresses(const SniHosts& hosts);

}  // namespace istmo::control
