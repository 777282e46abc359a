#include "control/local_state.h"

#include <algorithm>
#include <map>
#include <optional>

#include "control/service_offers.h"
#include "control/settings.h"

namespace istmo::control {

namespace {

// Of a connector in the snapshot, as its document says.
std::optional<uint16_t> publish_port_of(const std::string& connector, const Desired& desired) {
  if (const auto found = desired.connectors.find(connector); found != desired.connectors.end()) {
    return traffic_settings(found->second.settings).publish_port;
  }
  const std::string prefix = attached_connector("");
  if (!connector.starts_with(prefix)) return std::nullopt;
  const auto binding = desired.attached_bindings.find(connector.substr(prefix.size()));
  if (binding == desired.attached_bindings.end()) return std::nullopt;
  return traffic_settings(binding->second.settings).publish_port;
}

}  // namespace

MeshSiteState local_state(const Desired& desired, const Observed& observed,
                          const proxy::Snapshot& snapshot) {
  std::map<std::string, ServiceInfo> services;
  const auto service_of = [&](const std::string& key) -> ServiceInfo& {
    ServiceInfo& service = services[key];
    service.routing_key = key;
    return service;
  };
  // A connector counts once it can be used: its host is known and nothing is wrong with it.
  for (const proxy::ConnectorConfig& connector : snapshot.connectors) {
    ServiceInfo& service = service_of(connector.routing_key);
    service.connectors.push_back(connector.name);
    const auto port = publish_port_of(connector.name, desired);
    auto& ports = service.published_ports;
    if (port && std::find(ports.begin(), ports.end(), *port) == ports.end()) ports.push_back(*port);
  }
  for (const auto& [name, listener] : desired.listeners) {
    service_of(listener.routing_key).listeners.push_back(name);
  }
  for (const auto& [name, listener] : desired.multi_key_listeners) {
    for (const auto& key : listener.choice.keys) service_of(key.key).listeners.push_back(name);
  }
  for (const proxy::ListenerConfig& listener : snapshot.listeners) {
    if (!listener.choice.keys.empty() || desired.listeners.contains(listener.name)) continue;
    service_of(listener.routing_key).listeners.push_back(listener.name);
  }
  MeshSiteState state{.site = observed.site};
  for (auto& [key, service] : services) {
    std::sort(service.published_ports.begin(), service.published_ports.end());
    std::sort(service.connectors.begin(), service.connectors.end());
    std::sort(service.listeners.begin(), service.listeners.end());
    state.services.push_back(std::move(service));
  }
  state.links = mesh_links(observed.links, IncomingLinks::left_out);
  return state;
}

std::vector<MeshLink> mesh_links(const std::vector<LinkState>& links, IncomingLinks incoming) {
  std::vector<MeshLink> told;
  for (const LinkState& link : links) {
    if (link.is_incoming && incoming == IncomingLinks::left_out) continue;
    told.push_back({link.link, link.site_id, link.site_name, link.is_up(), link.cost});
  }
  return told;
}

}  // namespace istmo::control
