// Whom the objects of a site belong to: they go when it goes. A value.
// Source: Kubernetes, "Owners and Dependents".
#pragma once

#include <string>

namespace istmo::control {

struct ObjectOwner {
  std::string api_version;
  std::string kind;
  std::string name;
  std::string uid;
  friend bool operator==(const ObjectOwner&, const ObjectOwner&) = default;
};

}  // namespace istmo::control
