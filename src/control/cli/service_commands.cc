// expose, unexpose, service status: services as v1 speaks of them.
//
// A service is what Connector documents with `settings.publishPort` make together: each exposed
// host is one Connector of the service's routing key. The first port of a service has the plain
// address as its key, further ones `address:port`.
#include <algorithm>
#include <charconv>
#include <set>

#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
#include "control/settings.h"

namespace istmo::control {

namespace {

constexpr Duration kApplyPatience = Duration::seconds(15);

struct Target {
  std::string type;
  std::string host;
};

struct ServicePort {
  uint16_t port = 0;
  uint16_t target_port = 0;
};

Result<Target> target_of(const std::vector<std::string>& words) {
  const size_t slash = words.front().find('/');
  Target target;
  if (words.size() == 2) target = {words[0], words[1]};
  else if (slash != std::string::npos) {
    target = {words[0].substr(0, slash), words[0].substr(slash + 1)};
  }
  if (target.type.empty() || target.host.empty()) {
    return Error::config("'" + words.front() + "' is not a target: write host/ADDRESS");
  }
  if (target.type != "host") {
    return Error::config("a " + target.type +
                         " can only be exposed on Kubernetes; on this machine write "
                         "host/ADDRESS with the address of " +
                         target.host);
  }
  return target;
}

Result<uint16_t> port_from(std::string_view text) {
  uint16_t port = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (code != std::errc() || end != text.data() + text.size() || port == 0) {
    return Error::config("'" + std::string(text) + "' is not a port (1 to 65535)");
  }
  return port;
}

Result<std::vector<ServicePort>> ports_of(const ExposeArguments& expose) {
  if (expose.target_ports.size() > expose.ports.size()) {
    return Error::config("there are more --target-port than --port");
  }
  std::vector<ServicePort> ports;
  for (size_t index = 0; index < expose.ports.size(); ++index) {
    const std::string& text = expose.ports[index];
    const size_t colon = text.find(':');
    ServicePort port{.port = TRY(port_from(text.substr(0, colon)))};
    port.target_port = port.port;
    if (colon != std::string::npos) port.target_port = TRY(port_from(text.substr(colon + 1)));
    if (index < expose.target_ports.size()) port.target_port = expose.target_ports[index];
    ports.push_back(port);
  }
  return ports;
}

bool is_key_of(const std::string& routing_key, const std::string& address) {
  return routing_key == address || routing_key.starts_with(address + ":");
}

// The key of one port of a service: the one that it has here already, else the plain address if
// no other port has it.
std::string key_for(const Desired& documents, const std::string& address, uint16_t port) {
  const std::string published = std::to_string(port);
  bool is_plain_free = true;
  for (const auto& [name, connector] : documents.connectors) {
    const auto setting = connector.settings.find(kSettingPublishPort);
    if (setting == connector.settings.end() || !is_key_of(connector.routing_key, address)) continue;
    if (setting->second == published) return connector.routing_key;
    if (connector.routing_key == address) is_plain_free = false;
  }
  return is_plain_free ? address : address + ":" + published;
}

std::string connector_name(const std::string& address, const std::string& host, uint16_t port) {
  return as_resource_name(address + "-" + host + "-" + std::to_string(port));
}

Tree site_branch(const Value& site) {
  Tree branch{.label = text_at(site, "id") + "(" + text_at(site, "name") + ")",
              .notes = {"policy: disabled"}};
  const std::vector<Value>& targets = items_at(site, "targets");
  if (targets.empty()) return branch;
  Tree list{.label = "Targets:"};
  for (const Value& target : targets) {
    std::string label = text_at(target, "host");
    if (!text_at(target, "port").empty()) label += ":" + text_at(target, "port");
    list.branches.push_back(
        {.label = label + (label.empty() ? "name=" : " name=") + text_at(target, "name")});
  }
  branch.branches.push_back(std::move(list));
  return branch;
}

std::string services_text(const std::vector<Value>& services) {
  if (services.empty()) return "No services defined\n";
  Tree tree{.label = "Services exposed through Istmo:"};
  for (const Value& service : services) {
    Tree branch{.label = text_at(service, "status", "address") + ":" +
                         text_at(service, "spec", "port") + " (" +
                         text_at(service, "spec", "type") + ")"};
    if (text_at(service, "status", "status") != "Ready") {
      branch.notes.push_back(text_at(service, "status", "status") + ": " +
                             text_at(service, "status", "message"));
    }
    Tree sites{.label = "Sites:"};
    if (const Value* status = service.find("status")) {
      for (const Value& site : items_at(*status, "sites")) {
        sites.branches.push_back(site_branch(site));
      }
    }
    branch.branches.push_back(std::move(sites));
    tree.branches.push_back(std::move(branch));
  }
  return draw(tree);
}

}  // namespace

Result<int> expose(const Arguments& arguments) {
  const Target target = TRY(target_of(arguments.expose.target));
  const std::string& address = arguments.expose.address;
  if (address.empty()) {
    return Error::config("a host needs --address: the name under which other sites know it");
  }
  TRY(check_resource_name(address));
  const std::vector<ServicePort> ports = TRY(ports_of(arguments.expose));
  const LocalSite site = TRY(LocalSite::open(arguments));
  TRY(site.connect());  // a site that does not run would leave the user waiting
  for (const ServicePort& port : ports) {
    ConnectorDocument connector;
    connector.metadata.name = connector_name(address, target.host, port.port);
    connector.routing_key = key_for(site.documents(), address, port.port);
    connector.host = target.host;
    connector.port = port.target_port;
    connector.settings[kSettingPublishPort] = std::to_string(port.port);
    TRY(site.write(connector));
    const Value applied = TRY(site.wait_applied(connector, kApplyPatience));
    if (text_at(applied, "status", "status") == "Error") {
      print_notice("istmo: " + text_at(applied, "status", "message") + "\n");
    }
  }
  print("host " + target.host + " exposed as " + address + "\n");
  return kExitDone;
}

Result<int> unexpose(const Arguments& arguments) {
  const Target target = TRY(target_of(arguments.expose.target));
  const std::string& address = arguments.expose.address;
  const LocalSite site = TRY(LocalSite::open(arguments));
  std::vector<ObjectId> found;
  const Desired documents = site.documents();
  for (const auto& [name, connector] : documents.connectors) {
    if (connector.host != target.host || !connector.settings.contains(kSettingPublishPort))
      continue;
    if (!address.empty() && !is_key_of(connector.routing_key, address)) continue;
    found.push_back(id_of(connector));
  }
  if (found.empty()) {
    return Error::config("host " + target.host + " is not exposed" +
                         (address.empty() ? std::string() : " as " + address));
  }
  const bool is_running = site.connect().has_value();
  for (const ObjectId& id : found) TRY(site.remove(id));
  for (const ObjectId& id : found) {
    if (is_running) TRY(site.wait_gone(id, kApplyPatience));
  }
  print("host " + target.host + " unexposed\n");
  return kExitDone;
}

Result<int> show_services(const Arguments& arguments) {
  const LocalSite site = TRY(LocalSite::open(arguments));
  const std::vector<Value> services = TRY(site.ask(request_of("services")));
  print(arguments.output == Output::text ? services_text(services)
                                         : list_text(services, arguments.output));
  return kExitDone;
}

}  // namespace istmo::control
