// The way of Skupper 1: a Deployment, StatefulSet, DaemonSet or Service that is exposed by its
// annotations, as the Connectors that they stand for.
//
//   skupper.io/proxy    tcp; http and http2 are carried as TCP
//   skupper.io/port     "8080", "8080:80" (port of the service, port of the pod), "8080:80,9090";
//                       left out: the ports of the pod's containers, or of the Service
//   skupper.io/address  what the service is called; left out: as the object
//   skupper.io/target   of a Service: another Service of the namespace to go to
//
// Pure; any thread. What is wrong with an annotation stands in the Connector, so that reading it
// says so.
#pragma once

#include <string>

#include "control/value.h"

namespace istmo::control {

// A YAML stream; empty: it is not exposed. `kind` is one of those above.
std::string annotated_connectors(const std::string& kind, const Value& object,
                                 const std::string& namespace_name);

}  // namespace istmo::control
