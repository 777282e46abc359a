#include "control/service_offers.h"

#include <algorithm>

#include "control/paths.h"
#include "control/settings.h"

namespace istmo::control {

std::vector<ServiceOffer> service_offers(const Desired& desired, const Observed& observed) {
  std::vector<ServiceOffer> offers;
  for (const auto& [name, listener] : desired.listeners) {
    offers.push_back(
        {name, id_of(listener), name, {listener.routing_key}, listener.host, listener.port});
  }
  for (const auto& [name, listener] : desired.multi_key_listeners) {
    std::vector<std::string> keys;
    for (const auto& key : listener.choice.keys) keys.push_back(key.key);
    offers.push_back({name, id_of(listener), multi_key_listener(name), std::move(keys),
                      listener.host, listener.port});
  }
  std::set<std::string> names;
  for (const auto& [key, port] : published_services(desired, observed)) {
    std::string name = service_name(key);
    if (!names.insert(name).second) name = as_resource_name(name + "-" + std::to_string(port));
    const std::string host = observed.cluster ? service_name(key) : observed.service_host;
    ObjectId object{"Service", key + ":" + std::to_string(port)};
    offers.push_back({name, std::move(object), published_listener(key, port), {key}, host, port});
  }
  std::ranges::sort(offers, {}, &ServiceOffer::name);
  return offers;
}

std::set<std::pair<std::string, uint16_t>> published_services(const Desired& desired,
                                                              const Observed& observed) {
  std::set<std::string> explicit_keys;
  for (const auto& [name, listener] : desired.listeners) {
    explicit_keys.insert(listener.routing_key);
  }
  for (const auto& [name, listener] : desired.multi_key_listeners) {
    for (const auto& key : listener.choice.keys) explicit_keys.insert(key.key);
  }
  if (observed.cluster) {
    for (const auto& [name, connector] : desired.connectors) {
      const std::string service = service_of_host(connector.host, observed.site.namespace_name);
      if (!service.empty() && service == service_name(connector.routing_key)) {
        explicit_keys.insert(connector.routing_key);
      }
    }
  }
  std::set<std::pair<std::string, uint16_t>> services;
  for (const auto& [name, connector] : desired.connectors) {
    const auto port = traffic_settings(connector.settings).publish_port;
    if (port && !explicit_keys.contains(connector.routing_key)) {
      services.emplace(connector.routing_key, *port);
    }
  }
  for (const auto& [name, binding] : desired.attached_bindings) {
    const auto port = traffic_settings(binding.settings).publish_port;
    if (port && !explicit_keys.contains(binding.routing_key)) {
      services.emplace(binding.routing_key, *port);
    }
  }
  for (const RemoteSite& remote : observed.remote_sites) {
    for (const ServiceInfo& service : remote.state.services) {
      if (service.connectors.empty() || explicit_keys.contains(service.routing_key)) continue;
      for (const uint16_t port : service.published_ports) {
        services.emplace(service.routing_key, port);
      }
    }
  }
  return services;
}

std::string multi_key_listener(const std::string& document_name) { return "keys/" + document_name; }

std::string attached_connector(const std::string& binding_name) {
  return "attached/" + binding_name;
}

std::string published_listener(const std::string& routing_key, uint16_t port) {
  return "service/" + routing_key + ":" + std::to_string(port);
}

std::string service_of_host(std::string_view host, std::string_view namespace_name) {
  constexpr std::string_view kDomain = ".cluster.local";
  const std::string_view name = host.substr(0, host.find('.'));
  std::string_view rest = host.substr(name.size());
  if (rest.ends_with(kDomain)) rest.remove_suffix(kDomain.size());
  const std::string in_namespace = "." + std::string(namespace_name);
  const bool is_here = rest.empty() || rest == in_namespace || rest == in_namespace + ".svc";
  return is_here ? std::string(name) : std::string();
}

std::string service_name(const std::string& routing_key) {
  return routing_key.substr(0, routing_key.find(':'));
}

}  // namespace istmo::control
