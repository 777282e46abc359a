#include "control/kubernetes/sni_ingress.h"

#include <algorithm>

#include "control/compile.h"
#include "control/grant_server.h"
#include "control/ingress_hosts.h"
#include "control/kubernetes/site_manifest.h"
#include "control/plain_text.h"

namespace istmo::control {
namespace {

using Hosts = std::vector<std::string>;

void add_hosts(Hosts& hosts, const Hosts& more) {
  for (const std::string& host : more) {
    if (is_host(host) && hosts.size() < SniHosts::kHostsMax) add_missing_hosts(hosts, {host});
  }
}

// "True", "False"; empty: nobody has said.
const std::string& condition_of(const Value& holder, std::string_view type) {
  for (const Value& condition : value_at(holder, {"conditions"}).items()) {
    if (text_at(condition, "type") == type) return text_at(condition, "status");
  }
  return text_at({}, "status");
}

std::string message_of(const Value& holder, std::string_view type) {
  for (const Value& condition : value_at(holder, {"conditions"}).items()) {
    if (text_at(condition, "type") != type) continue;
    const std::string& message = text_at(condition, "message");
    return text_at(condition, "reason") + (message.empty() ? "" : ": " + message);
  }
  return {};
}

Hosts hosts_of_route(const Value& route) {
  Hosts hosts;
  const auto& routers = value_at(route, {"status", "ingress"}).items();
  for (const Value& router : routers) {
    if (condition_of(router, "Admitted") != "False") hosts.push_back(text_at(router, "host"));
  }
  if (routers.empty()) hosts.push_back(text_at(route, "spec", "host"));
  return hosts;
}

Hosts hosts_of_tls_route(const Value& route) {
  Hosts hosts;
  for (const Value& host : value_at(route, {"spec", "hostnames"}).items()) {
    hosts.push_back(host.text());
  }
  return hosts;
}

SniHosts hosts_of_ingress(const Value& ingress) {
  SniHosts found;
  for (const Value& rule : value_at(ingress, {"spec", "rules"}).items()) {
    const Hosts host{text_at(rule, "host")};
    for (const Value& path : value_at(rule, {"http", "paths"}).items()) {
      const Value& service = value_at(path, {"backend", "service"});
      if (text_at(service, "name") != kGatewayName) continue;
      const std::string& name = text_at(service, "port", "name");
      const uint16_t number = port_at(value_at(service, {"port"}), "number");
      if (name == "links" || number == kLinkPort) add_hosts(found.links, host);
      if (name == "grants" || number == kGrantPort) add_hosts(found.grants, host);
    }
  }
  return found;
}

// Of the entries that routers, or Gateways, have written: one has taken it.
std::string obstacle_of(const Value& entries, std::string_view condition, const std::string& who) {
  std::string refusal;
  for (const Value& entry : entries.items()) {
    if (condition_of(entry, condition) == "True") return {};
    refusal = message_of(entry, condition);
  }
  return refusal.empty() ? "no " + who + " has taken it yet" : "its " + who + " says " + refusal;
}

}  // namespace

std::string_view sni_kind(std::string_view link_access) {
  if (link_access == "route") return "Route";
  if (link_access == "ingress" || link_access == "ingress-nginx") return "Ingress";
  if (link_access == "gateway") return "TLSRoute";
  return {};
}

void SniHosts::add(const SniHosts& more) {
  add_hosts(links, more.links);
  add_hosts(grants, more.grants);
}

SniHosts sni_hosts_of_domains(const std::vector<std::string>& domains,
                              const std::string& namespace_name) {
  SniHosts hosts;
  for (const std::string& domain : domains) {
    const std::string end = "." + namespace_name + "." + domain;
    hosts.add({.links = {"links" + end}, .grants = {"grants" + end}});
  }
  return hosts;
}

SniHosts sni_hosts(std::string_view kind, const Value& object) {
  const std::string& name = text_at(object, "metadata", "name");
  SniHosts hosts;
  if (kind == "Ingress") {
    if (name == kGatewayName) hosts = hosts_of_ingress(object);
    return hosts;
  }
  const Hosts found = kind == "Route" ? hosts_of_route(object) : hosts_of_tls_route(object);
  if (name == kLinksRoute) add_hosts(hosts.links, found);
  if (name == kGrantsRoute) add_hosts(hosts.grants, found);
  return hosts;
}

std::string sni_obstacle(std::string_view kind, const Value& object) {
  if (kind == "Route")
    return obstacle_of(value_at(object, {"status", "ingress"}), "Admitted", "router");
  if (kind == "TLSRoute") {
    return obstacle_of(value_at(object, {"status", "parents"}), "Accepted", "Gateway");
  }
  const bool has_address = !value_at(object, {"status", "loadBalancer", "ingress"}).items().empty();
  return has_address ? "" : "no ingress controller has given it an address yet";
}

std::vector<IngressAddress> sni_addresses(const SniHosts& hosts) {
  std::vector<IngressAddress> addresses;
  for (const std::string& host : hosts.links) {
    addresses.push_back({.host = host, .link_port = kSniPort, .use = IngressUse::links});
  }
  for (const std::string& host : hosts.grants) {
    addresses.push_back({.host = host, .grant_port = kSniPort, .use = IngressUse::grants});
  }
  return addresses;
}

}  // namespace istmo::control
