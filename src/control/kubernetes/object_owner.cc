#include "control/kubernetes/object_owner.h"

#include <utility>

namespace istmo::control {

void set_owner(Value& object, const ObjectOwner& owner) {
  Value reference = Value::map();
  reference.set("apiVersion", owner.api_version);
  reference.set("kind", owner.kind);
  reference.set("name", owner.name);
  reference.set("uid", owner.uid);
  Value list = Value::list();
  list.add(std::move(reference));
  Value metadata = *object.find("metadata");
  metadata.set("ownerReferences", std::move(list));
  object.set("metadata", std::move(metadata));
}

}  // namespace istmo::control
