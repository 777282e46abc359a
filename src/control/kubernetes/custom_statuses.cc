#include "control/kubernetes/custom_statuses.h"

#include <charconv>
#include <utility>

#include "control/kubernetes/kube_kinds.h"

namespace istmo::control {
namespace {

uint64_t generation_of(const Value& object) {
  const std::string& text = text_at(object, "metadata", "generation");
  uint64_t generation = 0;
  std::from_chars(text.data(), text.data() + text.size(), generation);
  return generation;
}

// Of which version of the object it is, as clients of the API expect it.
Value with_generation(const Value& status, uint64_t generation) {
  Value conditions = Value::list();
  for (Value condition : value_at(status, {"conditions"}).items()) {
    condition.set("observedGeneration", generation);
    conditions.add(std::move(condition));
  }
  Value made = status;
  made.set("conditions", std::move(conditions));
  return made;
}

Value operation(const char* name, const char* path, Value value) {
  Value made = Value::map();
  made.set("op", name);
  made.set("path", path);
  made.set("value", std::move(value));
  return made;
}

// What is read is the last version that was valid, so an error is of the one that is there.
uint64_t generation_of(const ObjectStatus& status, uint64_t there) {
  if (!status.document || text_at(status.status, "status") == "Error") return there;
  return base_of(*status.document).metadata.generation;
}

}  // namespace

void CustomStatuses::on_object(const ObjectId& id, const Value& object) {
  Object& known = objects_[id];
  const std::string& uid = text_at(object, "metadata", "uid");
  if (known.uid != uid) {
    known.uid = uid;
    known.written = value_at(object, {"status"});
  }
  known.generation = generation_of(object);
  if (known.wanted) {
    known.status =
        with_generation(known.wanted->status, generation_of(*known.wanted, known.generation));
  }
  consider(id, known);
}

void CustomStatuses::on_gone(const ObjectId& id) {
  const auto known = objects_.find(id);
  if (known == objects_.end()) return;
  objects_.erase(known);
  queue_.drop(id);
}

void CustomStatuses::want(const std::vector<ObjectStatus>& statuses) {
  for (const ObjectStatus& wanted : statuses) {
    const auto known = objects_.find(wanted.id);
    if (known == objects_.end()) continue;
    Object& object = known->second;
    if (object.wanted == wanted) continue;
    object.wanted = wanted;
    object.status = with_generation(wanted.status, generation_of(wanted, object.generation));
    consider(wanted.id, object);
  }
}

void CustomStatuses::consider(const ObjectId& id, const Object& object) {
  const bool is_due = object.wanted && !object.is_asked && object.status != object.written;
  if (is_due) queue_.put(id, {});
  else queue_.drop(id);
}

void CustomStatuses::forget_written() {
  for (auto& [id, object] : objects_) {
    object.written = {};
    consider(id, object);
  }
}

std::optional<CustomStatuses::Request> CustomStatuses::next(Instant now) {
  const auto id = queue_.take(now);
  if (!id) return std::nullopt;
  Object& object = objects_.at(*id);
  object.is_asked = true;
  object.written = object.status;
  return Request{*id, request_for(*id, object)};
}

Instant CustomStatuses::wake_at(Instant now) const { return queue_.wake_at(now); }

ApiRequest CustomStatuses::request_for(const ObjectId& id, const Object& object) const {
  Value patch = Value::list();
  patch.add(operation("test", "/metadata/uid", object.uid));
  patch.add(operation("add", "/status", object.status));
  return {.method = "PATCH",
          .target = object_path(id, namespace_name_) + "/status",
          .content_type = "application/json-patch+json",
          .body = std::move(patch)};
}

bool CustomStatuses::on_reply(const ObjectId& id, int status, Instant now) {
  constexpr int kForbidden = 403;
  constexpr int kNotFound = 404;
  queue_.on_answer();
  const bool may_be_done = status == 0 || is_transient(status);
  const bool is_forbidden = status == kForbidden;
  if (may_be_done) queue_.hold_back(now, {});
  else if (is_forbidden) queue_.hold_back(now, kForbiddenPause);
  else queue_.on_server_well();
  const auto known = objects_.find(id);
  if (known != objects_.end()) {
    known->second.is_asked = false;
    // What is refused for another reason is not asked again as it is: the object is another one by
    // now, which a watch tells, or its definition refuses the form of the status.
    if (may_be_done || is_forbidden) known->second.written = {};
    consider(id, known->second);
  }
  const bool is_refused = status >= 400 && !may_be_done && status != kNotFound;
  const bool was_refused = std::exchange(is_refused_, is_refused);
  return is_refused && !was_refused;
}

}  // namespace istmo::control
