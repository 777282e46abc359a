#include "control/kubernetes/endpoint_table.h"

#include <algorithm>

#include "control/plain_text.h"

namespace istmo::control {
namespace {

bool is_tcp(const Value& port) {
  const std::string& protocol = text_at(port, "protocol");
  return protocol.empty() || protocol == "TCP";
}

}  // namespace

std::vector<bool> preferred_places(const std::vector<EndpointPlace>& places,
                                   const std::string& zone) {
  const std::vector<bool> all(places.size(), true);
  if (zone.empty()) return all;
  const bool are_hinted =
      std::ranges::none_of(places, [](const EndpointPlace& place) { return place.hints.empty(); });
  std::vector<bool> preferred;
  for (const EndpointPlace& place : places) {
    preferred.push_back(are_hinted ? place.hints.contains(zone) : place.zone == zone);
  }
  return std::ranges::find(preferred, true) == preferred.end() ? all : preferred;
}

EndpointTable::Endpoint EndpointTable::read_endpoint(const Value& endpoint) {
  Endpoint known;
  for (const Value& address : value_at(endpoint, {"addresses"}).items()) {
    known.addresses.push_back(address.text());
  }
  if (text_at(endpoint, "targetRef", "kind") == "Pod") {
    known.pod = text_at(endpoint, "targetRef", "name");
  }
  // No word counts as ready.
  known.is_ready = text_at(endpoint, "conditions", "ready") != "false";
  known.place.zone = text_at(endpoint, "zone");
  if (const Value* hints = endpoint.find("hints")) {
    for (const Value& zone : value_at(*hints, {"forZones"}).items()) {
      known.place.hints.insert(text_at(zone, "name"));
    }
  }
  return known;
}

EndpointTable::Slice EndpointTable::read_slice(const Value& slice) {
  Slice known;
  known.service = text_at(slice, "metadata", "labels", "kubernetes.io/service-name");
  for (const Value& port : value_at(slice, {"ports"}).items()) {
    const uint16_t number = port_at(port, "port");
    if (number != 0 && is_tcp(port)) known.ports[text_at(port, "name")] = number;
  }
  for (const Value& endpoint : value_at(slice, {"endpoints"}).items()) {
    known.endpoints.push_back(read_endpoint(endpoint));
  }
  return known;
}

bool EndpointTable::put_slice(const Value& slice) {
  Slice known = read_slice(slice);
  const auto [at, is_new] = slices_.try_emplace(text_at(slice, "metadata", "name"));
  if (!is_new && at->second == known) return false;
  forget_slice(at->first);
  at->second = std::move(known);
  by_service_[at->second.service].insert(at->first);
  for (const Endpoint& endpoint : at->second.endpoints) {
    if (!endpoint.pod.empty()) pods_[endpoint.pod][at->first] = endpoint.place;
  }
  return true;
}

bool EndpointTable::remove_slice(const std::string& name) {
  forget_slice(name);
  return slices_.erase(name) > 0;
}

std::string EndpointTable::service_of_slice(const std::string& name) const {
  const auto slice = slices_.find(name);
  return slice == slices_.end() ? std::string() : slice->second.service;
}

const std::set<std::string>& EndpointTable::slices_of(const std::string& service) const {
  static const std::set<std::string> kNone;
  const auto found = by_service_.find(service);
  return found == by_service_.end() ? kNone : found->second;
}

void EndpointTable::forget_slice(const std::string& slice_name) {
  const auto slice = slices_.find(slice_name);
  if (slice == slices_.end()) return;
  if (const auto of = by_service_.find(slice->second.service); of != by_service_.end()) {
    of->second.erase(slice_name);
    if (of->second.empty()) by_service_.erase(of);
  }
  for (const Endpoint& endpoint : slice->second.endpoints) {
    const auto pod = pods_.find(endpoint.pod);
    if (pod == pods_.end()) continue;
    pod->second.erase(slice_name);
    if (pod->second.empty()) pods_.erase(pod);
  }
}

bool EndpointTable::put_service(const Value& service) {
  PortNames ports;
  if (const Value* spec = service.find("spec")) {
    for (const Value& port : value_at(*spec, {"ports"}).items()) {
      const uint16_t number = port_at(port, "port");
      if (number != 0 && is_tcp(port)) ports[number] = text_at(port, "name");
    }
  }
  const auto [at, is_new] = services_.try_emplace(text_at(service, "metadata", "name"));
  if (!is_new && at->second == ports) return false;
  at->second = std::move(ports);
  return true;
}

EndpointPlace EndpointTable::place_of_pod(const std::string& pod) const {
  const auto known = pods_.find(pod);
  return known == pods_.end() ? EndpointPlace() : known->second.begin()->second;
}

std::map<std::string, std::string> EndpointTable::pods_of(const std::string& service) const {
  std::map<std::string, std::string> pods;
  for (const std::string& name : slices_of(service)) {
    for (const Endpoint& endpoint : slices_.at(name).endpoints) {
      if (endpoint.pod.empty() || endpoint.addresses.empty()) continue;
      pods.emplace(endpoint.pod, endpoint.addresses.front());
    }
  }
  return pods;
}

std::optional<ServiceSelection> EndpointTable::select(const std::string& service, uint16_t port,
                                                      const std::string& zone) const {
  const auto ports = services_.find(service);
  if (ports == services_.end()) return std::nullopt;
  const auto port_name = ports->second.find(port);
  ServiceSelection selection{.service = service, .is_known = true};
  bool has_slices = false;
  std::vector<EndpointPlace> places;
  for (const std::string& name : slices_of(service)) {
    const Slice& slice = slices_.at(name);
    has_slices = true;
    if (port_name == ports->second.end()) continue;
    const auto number = slice.ports.find(port_name->second);
    if (number == slice.ports.end()) continue;
    for (const Endpoint& endpoint : slice.endpoints) {
      if (!endpoint.is_ready) continue;
      for (const std::string& address : endpoint.addresses) {
        selection.backends.push_back({address, number->second});
        places.push_back(endpoint.place);
      }
    }
  }
  if (!has_slices) return std::nullopt;
  if (port_name == ports->second.end()) {
    selection.error = "Service " + service + " has no port " + std::to_string(port);
  }
  const std::vector<bool> preferred = preferred_places(places, zone);
  size_t i = 0;
  std::erase_if(selection.backends, [&](const auto&) { return !preferred[i++]; });
  return selection;
}

}  // namespace istmo::control
