// Where others reach the gateway of a namespace: from the Service in front of it.
//
// Pure; any thread.
// Source: Kubernetes, "Service" (LoadBalancer, NodePort), "DNS for Services and Pods".
#pragma once

#include <string>
#include <vector>

#include "control/observed.h"
#include "control/value.h"

namespace istmo::control {

// In the order in which they are to be tried: `hosts`, which somebody chose (with the ports of the
// nodes, if the Service has some and no load balancer), the load balancer's addresses, the name in
// this cluster.
std::vector<IngressAddress> ingress_addresses(const Value& service,
                                              const std::string& namespace_name,
                                              const std::vector<std::string>& hosts);

// Addresses that a load balancer has given the Service; empty: none yet.
std::vector<std::string> load_balancer_addresses(const Value& service);

// "istmo.oeste.svc"
std::string gateway_host(const std::string& namespace_name);

}  // namespace istmo::control
