#include "control/kubernetes/gateway_ingress.h"

#include "control/kubernetes/site_manifest.h"
#include "control/plain_text.h"

namespace istmo::control {
namespace {

// Of the ports `links` and `grants`.
struct Ports {
  uint16_t link = 0;
  uint16_t grant = 0;
};

Ports ports_of(const Value& service, std::string_view key) {
  Ports ports;
  for (const Value& port : value_at(service, {"spec", "ports"}).items()) {
    if (text_at(port, "name") == "links") ports.link = port_at(port, key);
    if (text_at(port, "name") == "grants") ports.grant = port_at(port, key);
  }
  return ports;
}

}  // namespace

std::string gateway_host(const std::string& namespace_name) {
  return std::string(kGatewayName) + "." + namespace_name + ".svc";
}

std::vector<std::string> load_balancer_addresses(const Value& service) {
  std::vector<std::string> addresses;
  for (const Value& entry : value_at(service, {"status", "loadBalancer", "ingress"}).items()) {
    for (const char* key : {"ip", "hostname"}) {
      if (const std::string& text = text_at(entry, key); !text.empty()) addresses.push_back(text);
    }
  }
  return addresses;
}

std::vector<IngressAddress> ingress_addresses(const Value& service,
                                              const std::string& namespace_name,
                                              const std::vector<std::string>& hosts) {
  const Ports ports = ports_of(service, "port");
  const bool has_node_ports = text_at(service, "spec", "type") == "NodePort";
  const Ports outside = has_node_ports ? ports_of(service, "nodePort") : ports;
  std::vector<IngressAddress> addresses;
  for (const std::string& host : hosts) addresses.push_back({host, outside.link, outside.grant});
  for (const std::string& host : load_balancer_addresses(service)) {
    addresses.push_back({host, ports.link, ports.grant});
  }
  addresses.push_back({gateway_host(namespace_name), ports.link, ports.grant});
  return addresses;
}

}  // namespace istmo::control
