// Where services are offered at this site: by Listener documents, and as published services of
// this site's Connectors and of neighbours.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/desired.h"
#include "control/observed.h"

namespace istmo::control {

struct ServiceOffer {
  std::string name;      // of what people see: the Listener's, or the service's address
  ObjectId object;       // what problems are about: a document, or Service "KEY:PORT"
  std::string listener;  // in the snapshot
  std::vector<std::string> routing_keys;  // at least one; several of a MultiKeyListener
  std::string host;                       // where clients find it
  uint16_t port = 0;
};

// Sorted by name.
std::vector<ServiceOffer> service_offers(const Desired& desired, const Observed& observed);

// Key and port of each published service for whose key there is no Listener. This site's own are
// among them, so that a workload finds them at every site alike; but in a cluster not what a
// Service of that name, which is there already, offers itself.
std::set<std::pair<std::string, uint16_t>> published_services(const Desired& desired,
                                                              const Observed& observed);

// The listener of a MultiKeyListener: never the name of another one.
std::string multi_key_listener(const std::string& document_name);

// The connector of an AttachedConnectorBinding: never the name of another one.
std::string attached_connector(const std::string& binding_name);

// The listener of a published service.
std::string published_listener(const std::string& routing_key, uint16_t port);

// The Service of a namespace that a host means there: "backend" of "backend", "backend.oeste",
// "backend.oeste.svc" and "backend.oeste.svc.cluster.local" in oeste. Empty: it means none.
std::string service_of_host(std::string_view host, std::string_view namespace_name);

// "backend" of the routing key "backend:8080": the service as people call it.
std::string service_name(const std::string& routing_key);

}  // namespace istmo::control
