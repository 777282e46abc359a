// Under which names and addresses other sites reach this one.
//
// Functions without state, control thread.
#pragma once

#include <string>
#include <vector>

#include "control/desired.h"

namespace istmo::control {

// Every address of this machine that others can reach, and 127.0.0.1 at the end.
std::vector<std::string> default_ingress_hosts();

// Appends those of `more` that `hosts` lacks.
void add_missing_hosts(std::vector<std::string>& hosts, const std::vector<std::string>& more);

// What an access can be reached at: the names in its document, and those of `ingress_hosts` that
// can lead to its bindHost. A name, and an address that is not one of `own_addresses`, may lead
// there by ways that nobody here knows; an address of this machine leads to itself. Never empty.
std::vector<std::string> hosts_of_access(const RouterAccessDocument& access,
                                         const std::vector<std::string>& ingress_hosts,
                                         const std::vector<std::string>& own_addresses);

}  // namespace istmo::control
