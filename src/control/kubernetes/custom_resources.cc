#include "control/kubernetes/custom_resources.h"

#include <algorithm>
#include <utility>

#include "control/document_read.h"

namespace istmo::control {
namespace {

constexpr std::string_view kFolder = "skupper.io/";
// A copy of the whole object, of `kubectl apply`.
constexpr std::string_view kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

Value metadata_of(const Value& object) {
  Value metadata = Value::map();
  for (const char* key : {"name", "generation", "labels"}) {
    if (const Value* value = value_at(object, {"metadata"}).find(key)) metadata.set(key, *value);
  }
  Value annotations = Value::map();
  for (const Value::Entry& entry : value_at(object, {"metadata", "annotations"}).entries()) {
    if (entry.key != kLastApplied) annotations.set(entry.key, entry.value);
  }
  if (!annotations.entries().empty()) metadata.set("annotations", std::move(annotations));
  return metadata;
}

}  // namespace

bool is_custom_kind(std::string_view kind) {
  return std::ranges::find(kCustomKinds, kind) != kCustomKinds.end();
}

std::vector<std::string> custom_kinds_in(const Value& resource_list) {
  std::vector<std::string> kinds;
  for (const Value& resource : value_at(resource_list, {"resources"}).items()) {
    const std::string& kind = text_at(resource, "kind");
    const bool is_below_another = text_at(resource, "name").contains('/');  // "sites/status"
    if (!is_below_another && is_custom_kind(kind)) kinds.push_back(kind);
  }
  return kinds;
}

std::string custom_resource_file(const ObjectId& id) {
  return std::string(kFolder) + id.kind + "/" + id.name;
}

bool is_custom_resource_file(std::string_view file) { return file.starts_with(kFolder); }

Value custom_resource_document(std::string_view kind, const Value& object) {
  Value document = Value::map();
  document.set("apiVersion", kApiVersion);
  document.set("kind", kind);
  document.set("metadata", metadata_of(object));
  if (const Value* spec = object.find("spec")) document.set("spec", *spec);
  return document;
}

Value with_current_status(Value object) {
  const std::string& generation = text_at(object, "metadata", "generation");
  const auto is_current = [&](const Value& condition) {
    return text_at(condition, "observedGeneration") == generation;
  };
  const std::vector<Value>& conditions = value_at(object, {"status", "conditions"}).items();
  if (conditions.empty() || !std::ranges::all_of(conditions, is_current)) {
    object.set("status", Value());
  }
  return object;
}

}  // namespace istmo::control
