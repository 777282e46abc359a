#include "control/kubernetes/document_objects.h"

#include <string>
#include <utility>

#include "control/base64.h"
#include "control/document_text.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/object_keeper.h"

namespace istmo::control {
namespace {

Value object_of(const char* kind, const std::string& name) {
  Value object = Value::map();
  object.set("apiVersion", "v1");
  object.set("kind", kind);
  Value& metadata = object.set("metadata", Value::map());
  metadata.set("name", name);
  metadata.set("labels", Value::map()).set(kManagedByLabel, kManagedBy);
  return object;
}

Value object_of(const SecretDocument& secret) {
  Value object = object_of("Secret", secret.name());
  object.set("type", secret.type.empty() ? std::string("Opaque") : secret.type);
  Value& data = object.set("data", Value::map());
  for (const auto& [key, text] : secret.data) data.set(key, encode_base64(text));
  return object;
}

}  // namespace

bool holds_codes(std::string_view kind) {
  return kind == AccessGrantDocument::kKind || kind == AccessTokenDocument::kKind;
}

Value document_object(const Document& document) {
  if (const auto* secret = std::get_if<SecretDocument>(&document)) return object_of(*secret);
  const ObjectId id = id_of(document);
  const bool is_secret = holds_codes(id.kind);
  Value object = object_of(is_secret ? "Secret" : "ConfigMap", object_name(id, ""));
  Value metadata = *object.find("metadata");
  Value labels = *metadata.find("labels");
  labels.set(kDocumentsLabel, "true");
  metadata.set("labels", std::move(labels));
  object.set("metadata", std::move(metadata));
  const std::string text = write_document(document, Format::yaml);
  object.set("data", Value::map()).set("document.yaml", is_secret ? encode_base64(text) : text);
  return object;
}

}  // namespace istmo::control
