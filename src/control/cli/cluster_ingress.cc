#include "control/cli/cluster_ingress.h"

#include <algorithm>
#include <functional>

#include "control/cli/terminal.h"
#include "control/ingress_hosts.h"
#include "control/kubernetes/gateway_ingress.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/site_manifest.h"
#include "control/kubernetes/sni_ingress.h"
#include "control/plain_text.h"
#include "control/settings.h"
#include "dataplane/io/socket.h"

namespace istmo::control {

namespace {

constexpr Duration kAddressPatience = Duration::seconds(120);
constexpr Duration kLookAgain = Duration::milliseconds(500);
constexpr Duration kTellAgain = Duration::seconds(10);

// Into the Site document, from where the gateway takes them.
Result<> remember_hosts(const ClusterSite& site, SiteDocument document,
                        const std::vector<std::string>& given) {
  std::vector<std::string> hosts = ingress_hosts_setting(document.settings);
  const size_t known = hosts.size();
  add_missing_hosts(hosts, given);
  if (hosts.size() == known) return {};
  std::string text;
  for (const std::string& host : hosts) text += (text.empty() ? "" : ",") + host;
  document.settings[kSettingIngressHosts] = text;
  TRY(check_document(document));
  return site.write(document);
}

// What `look` finds, which is empty until it is there. Says `what` is waited for; Error::timeout.
Result<std::vector<std::string>> wait_for_hosts(
    const std::function<Result<std::vector<std::string>>(std::string& what)>& look) {
  const Instant began = monotonic_now();
  Instant told = began;
  while (true) {
    std::string what;
    std::vector<std::string> hosts = TRY(look(what));
    if (!hosts.empty()) return hosts;
    const Instant now = monotonic_now();
    if (now - began >= kAddressPatience) return Error::timeout(what);
    if (now - told >= kTellAgain || told == began) {
      print_notice("istmo: waiting for " + what + "...\n");
      told = now;
    }
    sleep_for(kLookAgain);
  }
}

Result<std::vector<std::string>> wait_for_load_balancer(const ClusterSite& site) {
  auto found = wait_for_hosts([&](std::string& what) -> Result<std::vector<std::string>> {
    what = "the external address of service/" + std::string(kGatewayName);
    const Value service = TRY(site.api().get({"Service", kGatewayName}));
    return load_balancer_addresses(service);
  });
  if (found || found.error().error_class() != ErrorClass::timeout) return found;
  return Error::config(
      "service/" + std::string(kGatewayName) +
      " has no external address after 120s: start the cluster's load balancer (on minikube run "
      "`minikube tunnel`), or delete the site and make it anew with `istmo init --ingress nodeport "
      "--ingress-host ADDRESS-OF-A-NODE`, or with `--ingress none` and let this site link to the "
      "other one");
}

// --- ways in by host names ---------------------------------------------------------------------

const char* what_to_do(std::string_view kind) {
  if (kind == "Route") return "look at `oc describe route`: the cluster's router has to take them";
  if (kind == "Ingress") {
    return "an ingress controller has to take ingress/istmo (`--ingress-class` of `istmo init` "
           "names its class), with TLS passed through";
  }
  return "the Gateway that `istmo init --ingress-gateway` named has to be there, and to take "
         "TLSRoutes of this namespace at a listener of protocol TLS, mode Passthrough, port 443";
}

// The hosts for grants, once what leads to both ports was taken by whoever passes connections on.
Result<std::vector<std::string>> look_for_hosts(const ClusterSite& site, std::string_view kind,
                                                std::string& what) {
  std::vector<std::string> names{kLinksRoute, kGrantsRoute};
  if (kind == "Ingress") names = {kGatewayName};
  SniHosts hosts;
  for (const std::string& name : names) {
    const Value object = TRY(site.api().get({std::string(kind), name}));
    const std::string obstacle = sni_obstacle(kind, object);
    if (!obstacle.empty()) {
      what = in_lower_case(std::string(kind)) + "/" + name + ": " + obstacle;
      return std::vector<std::string>();
    }
    hosts.add(sni_hosts(kind, object));
  }
  what = "hosts in " + std::string(kind);
  if (!hosts.is_complete()) return std::vector<std::string>();
  return hosts.grants;
}

// `domains`: of the Site. Somebody who names one of them says that it works.
Result<std::vector<std::string>> wait_for_router(const ClusterSite& site, std::string_view kind,
                                                 const std::vector<std::string>& domains,
                                                 const std::vector<std::string>& given) {
  for (const std::string& domain : given) {
    if (std::ranges::find(domains, domain) != domains.end()) continue;
    return Error::config("the hosts of this site are not below " + domain +
                         ": their domain is chosen with `istmo init --ingress-host`");
  }
  if (!given.empty()) return sni_hosts_of_domains(given, site.namespace_name()).grants;
  if (TRY(site.api().find_served(kind)) == nullptr) {
    return Error::config("the cluster has no " + std::string(kind) + " in " +
                         group_of(*find_kube_kind(kind)));
  }
  auto found = wait_for_hosts([&](std::string& what) { return look_for_hosts(site, kind, what); });
  if (found) return found;
  // Who may not look at it knows the hosts all the same.
  const bool may_look = found.error().error_class() != ErrorClass::config;
  if (!may_look && !domains.empty()) {
    return sni_hosts_of_domains(domains, site.namespace_name()).grants;
  }
  if (found.error().error_class() != ErrorClass::timeout) return found;
  return Error::config("nobody gets here after 120s: " + found.error().text() + "; " +
                       what_to_do(kind) +
                       ". If they do all the same, say so with --ingress-host DOMAIN, the domain "
                       "that the site was made with");
}

}  // namespace

Result<> take_ingress_options(SiteManifestOptions& options, const Arguments& arguments) {
  options.ingress_class = arguments.init.ingress_class;
  options.ingress_gateway = arguments.init.ingress_gateway;
  const std::string_view kind = sni_kind(options.link_access);
  const std::string ingress = "--ingress " + options.link_access;
  if (kind != "Ingress" && !options.ingress_class.empty()) {
    return Error::config("--ingress-class is for --ingress ingress");
  }
  if (kind != "TLSRoute" && !options.ingress_gateway.empty()) {
    return Error::config("--ingress-gateway is for --ingress gateway");
  }
  if (kind.empty()) return {};
  const std::vector<std::string>& domains = options.ingress_hosts;
  if (domains.empty() && kind != "Route") {
    return Error::config(ingress +
                         " needs the domain of its hosts: --ingress-host DOMAIN, for "
                         "links.NAMESPACE.DOMAIN and grants.NAMESPACE.DOMAIN");
  }
  if (domains.size() > 1 || (!domains.empty() && io::Address::is_numeric(domains.front()))) {
    return Error::config(ingress + " takes one --ingress-host, which is a domain");
  }
  if (kind == "TLSRoute" && options.ingress_gateway.empty()) {
    return Error::config(ingress + " needs --ingress-gateway NAME, the Gateway that takes it in");
  }
  return {};
}

Result<> check_ingress(const ClusterSite& site, SiteManifestOptions& options) {
  const std::string_view kind = sni_kind(options.link_access);
  const Desired documents = TRY(site.documents());
  const SiteDocument* known = documents.site();
  if (known != nullptr && sni_kind(known->link_access) != kind) {
    return Error::config("Site " + known->name() + " is there already, with linkAccess '" +
                         known->link_access + "', which is another --ingress; nothing was made");
  }
  if (kind.empty()) return {};
  const KubeKind* served = TRY(site.api().find_served(kind));
  if (served == nullptr) {
    const KubeKind& missing = *find_kube_kind(kind);
    return Error::config("the cluster has no " + std::string(missing.plural) + " (" +
                         group_of(missing) + "), which --ingress " + options.link_access +
                         " takes; nothing was made. Choose another --ingress");
  }
  options.ingress_version = std::string(served->api_version);
  return {};
}

Result<std::string> service_type_of(const std::string& ingress) {
  if (ingress.empty() || ingress == "default" || ingress == "loadbalancer") return "LoadBalancer";
  if (ingress == "nodeport") return "NodePort";
  if (ingress == "local" || ingress == "none" || !sni_kind(ingress).empty()) return "ClusterIP";
  return Error::config("--ingress " + ingress +
                       " is not for a cluster: loadbalancer, nodeport, route, ingress, gateway, "
                       "local or none");
}

Result<std::vector<std::string>> wait_for_address(const ClusterSite& site,
                                                  const Arguments& arguments) {
  const Desired documents = TRY(site.documents());
  const SiteDocument* document = documents.site();
  if (document == nullptr) {
    return Error::config("namespace '" + site.namespace_name() + "' has no Site document");
  }
  if (!document->accepts_links()) {
    return Error::config("the site of namespace '" + site.namespace_name() +
                         "' was made with --ingress none: others cannot link to it");
  }
  const std::vector<std::string>& given = arguments.run.ingress_hosts;
  if (const std::string_view kind = sni_kind(document->link_access); !kind.empty()) {
    return wait_for_router(site, kind, ingress_hosts_setting(document->settings), given);
  }
  if (!given.empty()) {
    TRY(remember_hosts(site, *document, given));
    return given;
  }
  const Value service = TRY(site.api().get({"Service", kGatewayName}));
  const std::string& type = text_at(service, "spec", "type");
  const std::vector<std::string> hosts = ingress_hosts_setting(document->settings);
  if (type == "LoadBalancer" && hosts.empty()) return wait_for_load_balancer(site);
  if (type == "NodePort" && hosts.empty()) {
    return Error::config(
        "nobody said at which address the nodes are reached: give one with --ingress-host");
  }
  return hosts;
}

}  // namespace istmo::control
