// The EndpointSlices of a namespace: what stands behind its Services, and the zone of each pod.
//
// A value: fed by watches, control thread only.
// Source: Kubernetes, "EndpointSlices" and "Topology Aware Routing".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/observed.h"
#include "control/value.h"

namespace istmo::control {

// Where somebody is who could serve.
struct EndpointPlace {
  std::string zone;             // empty: not known
  std::set<std::string> hints;  // the zones whose clients it should serve; empty: no word
  friend bool operator==(const EndpointPlace&, const EndpointPlace&) = default;
};

// Which of the places a client in `zone` prefers; all, where it prefers none. By hints where every
// place has some, else by zone.
std::vector<bool> preferred_places(const std::vector<EndpointPlace>& places,
                                   const std::string& zone);

class EndpointTable {
 public:
  // True, of these: what the questions below are answered may be another than before.
  bool put_slice(const Value& slice);
  bool remove_slice(const std::string& name);
  // The Service that a slice is of; empty: there is no such slice.
  std::string service_of_slice(const std::string& name) const;
  // The names of a Service's ports, which lead to the ports of its slices.
  bool put_service(const Value& service);
  bool remove_service(const std::string& name) { return services_.erase(name) > 0; }

  bool has_service(const std::string& name) const { return services_.contains(name); }
  // As the first of its slices by name has it.
  EndpointPlace place_of_pod(const std::string& pod) const;
  // Of a Service that lists those that are not ready too: the first address of each, by pod.
  std::map<std::string, std::string> pods_of(const std::string& service) const;
  // What serves a port of a Service for a client in `zone`: those that are ready, of the zone while
  // there are any. nullopt: the Service has no slices, so its name has to be looked up.
  std::optional<ServiceSelection> select(const std::string& service, uint16_t port,
                                         const std::string& zone) const;

 private:
  struct Endpoint {
    std::vector<std::string> addresses;
    std::string pod;  // empty: it is none
    bool is_ready = false;
    EndpointPlace place;
    friend bool operator==(const Endpoint&, const Endpoint&) = default;
  };
  struct Slice {
    std::string service;
    std::map<std::string, uint16_t> ports;  // TCP, by name
    std::vector<Endpoint> endpoints;
    friend bool operator==(const Slice&, const Slice&) = default;
  };
  using PortNames = std::map<uint16_t, std::string>;
  static Endpoint read_endpoint(const Value& endpoint);
  static Slice read_slice(const Value& slice);

  void forget_slice(const std::string& slice_name);

  const std::set<std::string>& slices_of(const std::string& service) const;

  std::map<std::string, Slice> slices_;
  std::map<std::string, std::set<std::string>> by_service_;           // names of slices
  std::map<std::string, std::map<std::string, EndpointPlace>> pods_;  // by pod, then by slice
  std::map<std::string, PortNames> services_;
};

}  // namespace istmo::control
