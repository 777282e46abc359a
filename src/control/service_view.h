// Services as `service status` shows them: where each is offered at this site and who serves it.
// Pure: from what should be, what is known and what runs.
#pragma once

#include <vector>

#include "control/compile.h"
#include "control/desired.h"
#include "control/observed.h"
#include "control/value.h"

namespace istmo::control {

// One Listener-shaped document per service and port, sorted by name: spec has routingKey, host,
// port and type; status has address, host, port, hasMatchingConnector, sites with their targets,
// status and message.
std::vector<Value> services_view(const Desired& desired, const Observed& observed,
                                 const Compiled& compiled);

}  // namespace istmo::control
