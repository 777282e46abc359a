// Whom the objects of a site belong to: they go when it goes. A value.
// Source: Kubernetes, "Owners and Dependents".
#pragma once

#include <string>

#include "control/value.h"

namespace istmo::control {

struct ObjectOwner {
  std::string api_version;
  std::string kind;
  std::string name;
  std::string uid;
  friend bool operator==(const ObjectOwner&, const ObjectOwner&) = default;
};

// Into an object that has metadata, in place of what owners stand there. Without
// blockOwnerDeletion, which needs more rights.
void set_owner(Value& object, const ObjectOwner& owner);

}  // namespace istmo::control
