// The loopback address that a namespace owns on this machine: services that other sites expose
// are bound there, each on its own port, so that namespaces do not get into each other's way.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace istmo::control {

// 127.x.y.z with x.y.z in 1.0.1 .. 254.255.254, the same for the same name on every machine.
// Never in 127.0.0.0/16, where people put things by hand.
std::string service_host_of(std::string_view namespace_name);

// What `init --service-host` accepts: a numeric IPv4 or IPv6 address of this machine.
Result<> check_service_host(std::string_view host);

}  // namespace istmo::control
