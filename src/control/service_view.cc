#include "control/service_view.h"

#include <algorithm>
#include <map>
#include <set>

#include "control/paths.h"
#include "control/settings.h"

namespace istmo::control {

namespace {

// Where a service is offered here.
struct Offer {
  std::string name;      // of the item
  std::string listener;  // in the snapshot; empty: by no listener
  std::string routing_key;
  std::string host;
  uint16_t port = 0;
};

std::string address_of(const std::string& routing_key) {
  return routing_key.substr(0, routing_key.find(':'));
}

std::string published_name(const std::string& key, uint16_t port) {
  return "service/" + key + ":" + std::to_string(port);
}

std::set<std::pair<std::string, uint16_t>> published_services(const Desired& desired,
                                                              const Observed& observed) {
  std::set<std::pair<std::string, uint16_t>> services;
  for (const auto& [name, connector] : desired.connectors) {
    const auto port = traffic_settings(connector.settings).publish_port;
    if (port) services.emplace(connector.routing_key, *port);
  }
  for (const RemoteSite& remote : observed.remote_sites) {
    for (const ServiceInfo& service : remote.state.services) {
      for (uint16_t port : service.published_ports) services.emplace(service.routing_key, port);
    }
  }
  return services;
}

std::vector<Offer> offers_of(const Desired& desired, const Observed& observed) {
  std::vector<Offer> offers;
  std::set<std::string> explicit_keys;
  for (const auto& [name, listener] : desired.listeners) {
    explicit_keys.insert(listener.routing_key);
    offers.push_back({name, name, listener.routing_key, listener.host, listener.port});
  }
  std::set<std::string> names;
  for (const auto& [key, port] : published_services(desired, observed)) {
    if (explicit_keys.contains(key)) continue;
    std::string name = address_of(key);
    if (!names.insert(name).second) name = as_resource_name(name + "-" + std::to_string(port));
    offers.push_back({name, published_name(key, port), key, observed.service_host, port});
  }
  std::ranges::sort(offers, {}, &Offer::name);
  return offers;
}

Value site_value(const SiteInfo& site) {
  Value value = Value::map();
  value.set("id", site.id);
  value.set("name", site.name);
  if (!site.namespace_name.empty()) value.set("namespace", site.namespace_name);
  return value;
}

// Every site that serves the key or has clients for it, this one first.
Value sites_of(const std::string& key, const Desired& desired, const Observed& observed) {
  Value sites = Value::list();
  Value targets = Value::list();
  for (const auto& [name, connector] : desired.connectors) {
    if (connector.routing_key != key) continue;
    Value& target = targets.add(Value::map());
    target.set("name", name);
    target.set("host", connector.host);
    target.set("port", connector.port);
  }
  Value& local = sites.add(site_value(observed.site));
  if (!targets.items().empty()) local.set("targets", std::move(targets));
  for (const RemoteSite& remote : observed.remote_sites) {
    for (const ServiceInfo& service : remote.state.services) {
      if (service.routing_key != key) continue;
      Value& site = sites.add(site_value(remote.state.site));
      if (service.connectors.empty()) continue;
      Value remote_targets = Value::list();
      for (const std::string& name : service.connectors) {
        remote_targets.add(Value::map()).set("name", name);
      }
      site.set("targets", std::move(remote_targets));
    }
  }
  return sites;
}

bool is_served(const std::string& key, const Desired& desired, const Observed& observed) {
  for (const auto& [name, connector] : desired.connectors) {
    if (connector.routing_key == key) return true;
  }
  return std::ranges::any_of(observed.remote_sites, [&](const RemoteSite& remote) {
    return remote.is_reachable &&
           std::ranges::any_of(remote.state.services, [&](const ServiceInfo& service) {
             return service.routing_key == key && !service.connectors.empty();
           });
  });
}

// What keeps the offer from being open; empty when nothing is wrong.
std::string error_of(const Offer& offer, const Observed& observed, const Compiled& compiled) {
  const std::string kind = offer.name == offer.listener ? "Listener" : "Service";
  const std::string name =
      kind == "Listener" ? offer.name : offer.routing_key + ":" + std::to_string(offer.port);
  for (const Problem& problem : compiled.problems) {
    if (problem.severity == Severity::error && problem.object == ObjectId{kind, name}) {
      return problem.text;
    }
  }
  for (const proxy::Problem& problem : observed.running_problems) {
    if (problem.kind == "Listener" && problem.name == offer.listener) return problem.text;
  }
  return {};
}

bool is_open(const Offer& offer, const proxy::Snapshot& snapshot) {
  return std::ranges::any_of(snapshot.listeners,
                             [&](const auto& listener) { return listener.name == offer.listener; });
}

}  // namespace

std::vector<Value> services_view(const Desired& desired, const Observed& observed,
                                 const Compiled& compiled) {
  std::vector<Value> services;
  for (const Offer& offer : offers_of(desired, observed)) {
    const bool has_connector = is_served(offer.routing_key, desired, observed);
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
    spec.set("routingKey", offer.routing_key);
    spec.set("host", offer.host);
    spec.set("port", offer.port);
    spec.set("type", "tcp");
    Value& status = document.set("status", Value::map());
    status.set("status", !error.empty() ? "Error" : message.empty() ? "Ready" : "Pending");
    status.set("message", message.empty() ? std::string("OK") : message);
    status.set("address", address_of(offer.routing_key));
    status.set("host", offer.host);
    status.set("port", offer.port);
    status.set("hasMatchingConnector", has_connector);
    status.set("sites", sites_of(offer.routing_key, desired, observed));
  }
  return services;
}

}  // namespace istmo::control
