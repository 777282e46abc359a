#include "control/cli/cluster_workloads.h"

#include <algorithm>

#include "control/cli/terminal.h"
#include "control/kubernetes/label_selector.h"
#include "control/kubernetes/object_keeper.h"
#include "control/plain_text.h"

namespace istmo::control {

namespace {

struct KindName {
  const char* type;  // as `expose` has it
  const char* kind;
};
constexpr KindName kKinds[] = {{"deployment", "Deployment"},
                               {"statefulset", "StatefulSet"},
                               {"daemonset", "DaemonSet"},
                               {"service", "Service"}};

const char* kind_of_type(const std::string& type) {
  const auto* found = std::ranges::find(kKinds, type, &KindName::type);
  return found == std::end(kKinds) ? "" : found->kind;
}

void add_port(std::vector<uint16_t>& ports, const Value& entry, std::string_view key) {
  const std::string& protocol = text_at(entry, "protocol");
  if (!protocol.empty() && protocol != "TCP") return;
  const uint16_t port = port_at(entry, key);
  if (port != 0 && std::ranges::find(ports, port) == ports.end()) ports.push_back(port);
}

std::vector<uint16_t> container_ports(const Value& workload) {
  std::vector<uint16_t> ports;
  for (const Value& container :
       value_at(workload, {"spec", "template", "spec", "containers"}).items()) {
    for (const Value& port : value_at(container, {"ports"}).items()) {
      add_port(ports, port, "containerPort");
    }
  }
  return ports;
}

std::vector<uint16_t> service_ports(const Value& service) {
  std::vector<uint16_t> ports;
  for (const Value& port : value_at(service, {"spec", "ports"}).items())
    add_port(ports, port, "port");
  return ports;
}

// Sites that offer the name, for somebody who looks for it in the wrong one.
std::string offers_of(const ClusterSite& site, const std::string& name) {
  const auto services = site.ask(request_of("services"));
  if (!services) return {};
  for (const Value& service : *services) {
    if (text_at(service, "status", "address") != name) continue;
    for (const Value& offering : value_at(service, {"status", "sites"}).items()) {
      if (value_at(offering, {"targets"}).items().empty()) continue;
      return "; site " + text_at(offering, "name") +
             " offers it already, and it is here as service " + name + ":" +
             text_at(service, "spec", "port");
    }
  }
  return {};
}

// An example of what can be published from here.
std::string hint_of(const ClusterSite& site, const std::string& kind) {
  const auto workloads = site.api().list(kind == "Service" ? "Deployment" : kind, "");
  if (!workloads) return {};
  for (const Value& workload : *workloads) {
    if (text_at(workload, "metadata", "labels", kManagedByLabel) == kManagedBy) continue;
    const std::string& name = text_at(workload, "metadata", "name");
    if (kind == "DaemonSet" || kind == "StatefulSet") {  // kubectl has no expose for these
      return ". To publish " + name + ": `istmo expose " + in_lower_case(kind) + "/" + name +
             " --port PORT` offers it to linked sites";
    }
    return ". To publish " + name + ": `istmo expose deployment/" + name +
           " --port PORT` offers it to linked sites, `kubectl expose deployment/" + name +
           " --port PORT --type LoadBalancer` to clients outside";
  }
  return {};
}

Error missing(const ClusterSite& site, const ExposeTarget& target) {
  return Error::config("there is no " + target.type + " '" + target.name + "' in namespace '" +
                       site.namespace_name() + "'" + offers_of(site, target.name) +
                       hint_of(site, kind_of_type(target.type)));
}

}  // namespace

Result<Workload> find_workload(const ClusterSite& site, const ExposeTarget& target) {
  Workload workload{.target = target};
  if (target.type == "host") {
    workload.host = target.name;
    return workload;
  }
  if (target.type == "pods") {
    TRY(LabelSelector::parse(target.name));
    workload.selector = target.name;
    return workload;
  }
  const char* kind = kind_of_type(target.type);
  const auto found = site.api().get({kind, target.name});
  if (!found && found.error().error_class() == ErrorClass::closed) return missing(site, target);
  if (!found) return std::unexpected(found.error());
  if (text_at(*found, "metadata", "labels", kManagedByLabel) == kManagedBy) {
    return Error::config(target.text() + " is Istmo's own: what is behind it is offered already");
  }
  if (target.type == "service") {
    workload.host = target.name + "." + site.namespace_name() + ".svc";
    workload.ports = service_ports(*found);
    return workload;
  }
  workload.selector = selector_text(value_at(*found, {"spec", "selector"}));
  workload.ports = container_ports(*found);
  return workload;
}

}  // namespace istmo::control
