#include "control/cli/cluster_ingress.h"

#include <algorithm>

#include "control/cli/terminal.h"
#include "control/ingress_hosts.h"
#include "control/kubernetes/gateway_ingress.h"
#include "control/kubernetes/site_manifest.h"
#include "control/settings.h"

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

Result<std::vector<std::string>> wait_for_load_balancer(const ClusterSite& site) {
  const Instant began = monotonic_now();
  Instant told = began;
  while (true) {
    const Value service = TRY(site.api().get({"Service", kGatewayName}));
    std::vector<std::string> addresses = load_balancer_addresses(service);
    if (!addresses.empty()) return addresses;
    const Instant now = monotonic_now();
    if (now - began >= kAddressPatience) break;
    if (now - told >= kTellAgain || told == began) {
      print_notice("istmo: waiting for the external address of service/" +
                   std::string(kGatewayName) + "...\n");
      told = now;
    }
    sleep_for(kLookAgain);
  }
  return Error::config(
      "service/" + std::string(kGatewayName) +
      " has no external address after 120s: start the cluster's load balancer (on minikube run "
      "`minikube tunnel`), or delete the site and make it anew with `istmo init --ingress nodeport "
      "--ingress-host ADDRESS-OF-A-NODE`, or with `--ingress none` and let this site link to the "
      "other one");
}

}  // namespace

Result<std::string> service_type_of(const std::string& ingress) {
  if (ingress.empty() || ingress == "default" || ingress == "loadbalancer") return "LoadBalancer";
  if (ingress == "nodeport") return "NodePort";
  if (ingress == "local" || ingress == "none") return "ClusterIP";
  return Error::config("--ingress " + ingress +
                       " is not for a cluster: loadbalancer, nodeport, local or none");
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
