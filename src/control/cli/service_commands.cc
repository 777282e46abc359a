// expose, unexpose, service status: services as v1 speaks of them.
//
// A service is what Connector documents with `settings.publishPort` make together: each exposed
// host is one Connector of the service's routing key. The first port of a service has the plain
// address as its key, further ones `address:port`.
#include <optional>

#include "control/cli/command_line.h"
#include "control/cli/cluster_workloads.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
#include "control/cli/usage.h"
#include "control/settings.h"

namespace istmo::control {

namespace {

constexpr Duration kApplyPatience = Duration::seconds(15);
// On Connectors in a cluster: "deployment/backend", for `unexpose`.
constexpr const char* kTargetAnnotation = "istmo.dev/target";

// What a workload is to a Connector. On a machine: an address.
Result<Workload> workload_of(const CommandSite& site, const ExposeTarget& target) {
  if (site.is_in_cluster()) {
    return find_workload(dynamic_cast<const ClusterSite&>(site), target);
  }
  if (target.type == "host") return Workload{.target = target, .host = target.name};
  return Error::config("a " + target.type +
                       " can only be exposed on Kubernetes; on this machine write "
                       "host/ADDRESS with the address of " +
                       target.name);
}

Result<std::vector<PortPair>> ports_of(const ExposeArguments& expose, const Workload& workload) {
  std::vector<PortPair> ports;
  if (expose.ports.empty() && workload.ports.empty()) {
    return Error::config(workload.text() + " names no port: say which with --port");
  }
  if (expose.ports.empty()) {
    for (const uint16_t port : workload.ports) ports.push_back({port, port});
  }
  for (size_t index = 0; index < expose.ports.size(); ++index) {
    PortPair port = TRY(parse_port_pair(expose.ports[index]));
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

bool is_of(const ConnectorDocument& connector, const Workload& workload) {
  if (!connector.settings.contains(kSettingPublishPort)) return false;
  const auto target = connector.metadata.annotations.find(kTargetAnnotation);
  if (target != connector.metadata.annotations.end()) {
    return target->second == workload.target.text();
  }
  return workload.target.type == "host" && usual_host(connector.host) == workload.target.name;
}

// The exposure of a workload at one port of a service, if it is there already.
const ConnectorDocument* find_exposed(const Desired& documents, const ConnectorDocument& wanted,
                                      const Workload& workload) {
  for (const auto& [name, connector] : documents.connectors) {
    if (is_of(connector, workload) && connector.routing_key == wanted.routing_key &&
        connector.settings.at(kSettingPublishPort) == wanted.settings.at(kSettingPublishPort)) {
      return &connector;
    }
  }
  return nullptr;
}

// The name that it has already, or a new one.
std::string connector_name(const Desired& documents, const std::string& address,
                           const ConnectorDocument& wanted, const Workload& workload) {
  if (const ConnectorDocument* exposed = find_exposed(documents, wanted, workload)) {
    return exposed->name();
  }
  const std::string text =
      address + "-" + workload.target.name + "-" + wanted.settings.at(kSettingPublishPort);
  return free_resource_name(
      text, [&](const std::string& name) { return documents.connectors.contains(name); });
}

// Makes one port of a service, and takes it back when the site refuses it.
Result<> expose_port(const CommandSite& site, const std::string& address, const Workload& workload,
                     const PortPair& port) {
  const Desired documents = TRY(site.documents());
  ConnectorDocument connector;
  connector.routing_key = key_for(documents, address, port.port);
  connector.host = workload.host;
  connector.selector = workload.selector;
  connector.port = port.target_port;
  connector.settings[kSettingPublishPort] = std::to_string(port.port);
  if (site.is_in_cluster()) {
    connector.metadata.annotations[kTargetAnnotation] = workload.target.text();
  }
  connector.metadata.name = connector_name(documents, address, connector, workload);
  TRY(check_document(connector));
  const std::optional<Document> before = documents.find(id_of(connector));
  TRY(site.write(connector));
  const Value applied = TRY(site.wait_applied(connector, kApplyPatience));
  if (text_at(applied, "status", "status") != "Error") return {};
  if (before) TRY(site.write(*before));
  else TRY(site.remove(id_of(connector)));
  return Error::config(workload.text() + " is not exposed as " + address + ": " +
                       text_at(applied, "status", "message"));
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
  const ExposeTarget target = TRY(parse_target(arguments.expose.target));
  const auto site = TRY(open_site_to_change(arguments));
  const Workload workload = TRY(workload_of(*site, target));
  const std::string& given = arguments.expose.address;
  const std::string& address = given.empty() ? target.name : given;
  TRY(check_resource_name(address));
  const std::vector<PortPair> ports = TRY(ports_of(arguments.expose, workload));
  TRY(site->check_takes_changes());  // else the user would be left waiting
  for (const PortPair& port : ports) TRY(expose_port(*site, address, workload, port));
  print(workload.text() + " exposed as " + address + "\n");
  return kExitDone;
}

Result<int> unexpose(const Arguments& arguments) {
  const ExposeTarget target = TRY(parse_target(arguments.expose.target));
  const std::string& address = arguments.expose.address;
  const auto site = TRY(open_site_to_change(arguments));
  // It may be gone already.
  const Workload workload =
      site->is_in_cluster() ? Workload{.target = target} : TRY(workload_of(*site, target));
  std::vector<ObjectId> found;
  const Desired documents = TRY(site->documents());
  for (const auto& [name, connector] : documents.connectors) {
    if (!is_of(connector, workload)) continue;
    if (!address.empty() && !is_key_of(connector.routing_key, address)) continue;
    found.push_back(id_of(connector));
  }
  if (found.empty()) {
    return Error::config(workload.text() + " is not exposed" +
                         (address.empty() ? std::string() : " as " + address));
  }
  const bool is_running = site->check_runs().has_value();
  for (const ObjectId& id : found) TRY(site->remove(id));
  for (const ObjectId& id : found) {
    if (is_running) TRY(site->wait_gone(id, kApplyPatience));
  }
  print(workload.text() + " unexposed\n");
  return kExitDone;
}

Result<int> show_services(const Arguments& arguments) {
  const auto site = TRY(open_site(arguments));
  const auto services = site->ask(request_of("services"));
  if (!services) return print_no_list(services.error(), arguments.output);
  print(arguments.output == Output::text ? services_text(*services)
                                         : list_text(*services, arguments.output));
  return kExitDone;
}

}  // namespace istmo::control
