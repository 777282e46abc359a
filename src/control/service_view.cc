#include "control/service_view.h"

#include <algorithm>
#include <map>
#include <set>

#include "control/service_offers.h"

namespace istmo::control {

namespace {

Value site_value(const SiteInfo& site) {
  Value value = Value::map();
  value.set("id", site.id);
  value.set("name", site.name);
  if (!site.namespace_name.empty()) value.set("namespace", site.namespace_name);
  return value;
}

using Keys = std::vector<std::string>;

bool has(const Keys& keys, const std::string& key) {
  return std::ranges::find(keys, key) != keys.end();
}

Value target_value(const std::string& name, const std::string& host, uint16_t port) {
  Value target = Value::map();
  target.set("name", name);
  target.set("host", host);
  target.set("port", port);
  return target;
}

// The pods that it selects, else the connector itself.
void add_targets(const ConnectorDocument& connector, const Observed& observed, Value& targets) {
  const size_t before = targets.items().size();
  if (observed.cluster && observed.cluster->pods.contains(connector.name())) {
    for (const auto& pod : observed.cluster->pods.at(connector.name()).pods) {
      targets.add(target_value(pod.name, pod.ip, connector.port));
    }
  }
  if (targets.items().size() > before) return;
  targets.add(target_value(connector.name(), connector.host, connector.port));
}

// Every site that serves one of the keys or has clients for it, this one first.
Value sites_of(const Keys& keys, const Desired& desired, const Observed& observed) {
  Value sites = Value::list();
  Value targets = Value::list();
  for (const auto& [name, connector] : desired.connectors) {
    if (has(keys, connector.routing_key)) add_targets(connector, observed, targets);
  }
  for (const auto& [name, binding] : desired.attached_bindings) {
    if (has(keys, binding.routing_key)) targets.add(Value::map()).set("name", name);
  }
  Value& local = sites.add(site_value(observed.site));
  if (!targets.items().empty()) local.set("targets", std::move(targets));
  for (const RemoteSite& remote : observed.remote_sites) {
    bool is_one = false;
    Value remote_targets = Value::list();
    for (const ServiceInfo& service : remote.state.services) {
      if (!has(keys, service.routing_key)) continue;
      is_one = true;
      for (const std::string& name : service.connectors) {
        remote_targets.add(Value::map()).set("name", name);
      }
    }
    if (!is_one) continue;
    Value& site = sites.add(site_value(remote.state.site));
    if (!remote_targets.items().empty()) site.set("targets", std::move(remote_targets));
  }
  return sites;
}

bool is_served(const Keys& keys, const Desired& desired, const Observed& observed) {
  for (const auto& [name, connector] : desired.connectors) {
    if (has(keys, connector.routing_key)) return true;
  }
  for (const auto& [name, binding] : desired.attached_bindings) {
    if (has(keys, binding.routing_key)) return true;
  }
  return std::ranges::any_of(observed.remote_sites, [&](const RemoteSite& remote) {
    return remote.is_reachable &&
           std::ranges::any_of(remote.state.services, [&](const ServiceInfo& service) {
             return has(keys, service.routing_key) && !service.connectors.empty();
           });
  });
}

// What keeps the offer from being open; empty when nothing is wrong.
std::string error_of(const ServiceOffer& offer, const Observed& observed,
                     const Compiled& compiled) {
  for (const Problem& problem : compiled.problems) {
    if (problem.severity == Severity::error && problem.object == offer.object) {
      return problem.text;
    }
  }
  for (const proxy::Problem& problem : observed.running_problems) {
    if (problem.kind == "Listener" && problem.name == offer.listener) return problem.text;
  }
  return {};
}

bool is_open(const ServiceOffer& offer, const proxy::Snapshot& snapshot) {
  return std::ranges::any_of(snapshot.listeners,
                             [&](const auto& listener) { return listener.name == offer.listener; });
}

}  // namespace

std::vector<Value> services_view(const Desired& desired, const Observed& observed,
                                 const Compiled& compiled) {
  std::vector<Value> services;
  for (const ServiceOffer& offer : service_offers(desired, observed)) {
    const bool has_connector = is_served(offer.routing_keys, desired, observed);
    const std::string error = error_of(offer, observed, compiled);
    std::string message = error;
    if (message.empty() && !has_connector) message = "No matching connectors";
    if (message.empty() && !is_open(offer, *compiled.snapshot))
      message = "Not offered at this site";
    Value& document = services.emplace_back(Value::map());
    document.set("apiVersion", "skupper.io/v2alpha1");
    document.set("kind", "Listener");
    document.set("metadata", Value::map()).set("name", offer.name);
    Value& spec = document.set("spec", Value::map());
    spec.set("routingKey", offer.routing_keys.front());
    spec.set("host", offer.host);
    spec.set("port", offer.port);
    spec.set("type", "tcp");
    Value& status = document.set("status", Value::map());
    status.set("status", !error.empty() ? "Error" : message.empty() ? "Ready" : "Pending");
    status.set("message", message.empty() ? std::string("OK") : message);
    status.set("address", service_name(offer.routing_keys.front()));
    status.set("host", offer.host);
    status.set("port", offer.port);
    status.set("hasMatchingConnector", has_connector);
    status.set("sites", sites_of(offer.routing_keys, desired, observed));
  }
  return services;
}

}  // namespace istmo::control
