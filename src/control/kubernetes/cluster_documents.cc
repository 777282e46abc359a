#include "control/kubernetes/cluster_documents.h"

#include <algorithm>

#include "control/base64.h"
#include "control/json.h"
#include "control/kubernetes/annotated.h"
#include "control/kubernetes/custom_resources.h"
#include "control/kubernetes/kube_kinds.h"

namespace istmo::control {
namespace {

std::string name_of(const Value& object) { return text_at(object, "metadata", "name"); }

std::string prefix_of(const ObjectId& id) { return id.kind + "/" + id.name; }

SourceFile file_of(const std::string& kind, const Value& text) {
  if (!text.is_scalar()) return {.text = {}, .error = "it is no text"};
  if (kind != SecretDocument::kKind) return {.text = text.text(), .error = {}};
  auto decoded = decode_base64(text.text());
  if (!decoded) return {.text = {}, .error = decoded.error().text()};
  return {.text = std::move(*decoded), .error = {}};
}

// What the document has: what the API server adds changes without a change of the Secret.
Value as_document(const Value& secret) {
  Value metadata = Value::map();
  metadata.set("name", name_of(secret));
  Value document = Value::map();
  document.set("apiVersion", "v1");
  document.set("kind", "Secret");
  document.set("metadata", std::move(metadata));
  for (const char* key : {"type", "data"}) {
    if (const Value* value = secret.find(key)) document.set(key, *value);
  }
  return document;
}

}  // namespace

bool ClusterDocuments::put_streams(const std::string& kind, const Value& object) {
  const std::string prefix = prefix_of({kind, name_of(object)}) + "/";
  std::map<std::string, SourceFile> files;
  if (const Value* data = object.find("data")) {
    for (const Value::Entry& entry : data->entries()) {
      files.emplace(prefix + entry.key, file_of(kind, entry.value));
    }
  }
  const bool is_another = put_object(prefix, kind, object);
  return put_files(prefix, std::move(files)) || is_another;
}

bool ClusterDocuments::put_custom(const std::string& kind, const Value& object) {
  const std::string path = custom_resource_file({kind, name_of(object)});
  std::string text = write_json(custom_resource_document(kind, object), JsonStyle::compact);
  const bool is_another = put_object(path, kind, object);
  return put_files(path, {{path, {.text = std::move(text), .error = {}}}}) || is_another;
}

bool ClusterDocuments::put_secret(const Value& object) {
  const std::string path = prefix_of({std::string(SecretDocument::kKind), name_of(object)});
  return put_files(
      path, {{path, {.text = write_json(as_document(object), JsonStyle::compact), .error = {}}}});
}

bool ClusterDocuments::put_annotated(const std::string& kind, const Value& object,
                                     const std::string& namespace_name) {
  std::string text = annotated_connectors(kind, object, namespace_name);
  const std::string path = prefix_of({kind, name_of(object)});
  if (text.empty()) return put_files(path, {});
  return put_files(path, {{path, {.text = std::move(text), .error = {}}}});
}

bool ClusterDocuments::remove_streams(const ObjectId& id) {
  objects_.erase(prefix_of(id) + "/");
  return put_files(prefix_of(id) + "/", {});
}

bool ClusterDocuments::remove_secret(const std::string& name) {
  return put_files(prefix_of({std::string(SecretDocument::kKind), name}), {});
}

bool ClusterDocuments::remove_annotated(const ObjectId& id) { return put_files(prefix_of(id), {}); }

bool ClusterDocuments::remove_custom(const ObjectId& id) {
  const std::string path = custom_resource_file(id);
  objects_.erase(path);
  return put_files(path, {});
}

bool ClusterDocuments::set_unread(const std::string& place, const std::string& why) {
  const auto known = state_.unread.find(place);
  if (why.empty() ? known == state_.unread.end()
                  : known != state_.unread.end() && known->second == why) {
    return false;
  }
  if (why.empty()) state_.unread.erase(known);
  else state_.unread[place] = why;
  return true;
}

std::optional<ObjectOwner> ClusterDocuments::owner_of(const std::string& file) const {
  auto object = objects_.find(file);
  if (object == objects_.end()) object = objects_.find(file.substr(0, file.rfind('/') + 1));
  if (object == objects_.end()) return std::nullopt;
  return object->second;
}

// True: it is another object than before, if of the same name.
bool ClusterDocuments::put_object(const std::string& prefix, const std::string& kind,
                                  const Value& object) {
  ObjectOwner owner{std::string(find_kube_kind(kind)->api_version), kind, name_of(object),
                    text_at(object, "metadata", "uid")};
  ObjectOwner& known = objects_[prefix];
  if (known == owner) return false;
  known = std::move(owner);
  return true;
}

// `files` are now all whose path is `prefix`, or begins with it where it ends with '/'.
bool ClusterDocuments::put_files(const std::string& prefix, Files files) {
  bool is_changed = remove_files(prefix, files);
  bool is_left_out = false;
  left_out_.erase(prefix);
  for (auto& [path, file] : files) {
    const auto known = state_.files.find(path);
    const bool is_known = known != state_.files.end();
    if (is_known && known->second == file) continue;
    if (!is_known && make_room(file.text.size())) is_changed = true;
    const size_t bytes = bytes_ + file.text.size() - (is_known ? known->second.text.size() : 0);
    if (bytes > bytes_max_ || (!is_known && state_.files.size() >= files_max_)) {
      is_left_out = true;  // what it said before stands
      continue;
    }
    bytes_ = bytes;
    state_.files[path] = std::move(file);
    is_changed = true;
  }
  if (is_left_out) left_out_.insert(prefix);
  return tell_left_out() || is_changed;
}

// Takes the largest text away if it is larger than one of `bytes`, for which that is room enough.
// True: it did.
bool ClusterDocuments::make_room(size_t bytes) {
  if (is_settled_ || bytes_ + bytes <= bytes_max_ || state_.files.empty()) return false;
  const auto largest = std::ranges::max_element(
      state_.files, {}, [](const auto& entry) { return entry.second.text.size(); });
  if (largest->second.text.size() <= bytes) return false;
  const std::string& path = largest->first;
  // As put_files() was given it: an object with a file for each key, or with one alone.
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  left_out_.insert(objects_.contains(folder) ? folder : path);
  bytes_ -= largest->second.text.size();
  state_.files.erase(largest);
  return true;
}

bool ClusterDocuments::remove_files(const std::string& prefix, const Files& but) {
  bool is_changed = false;
  for (auto at = state_.files.lower_bound(prefix); at != state_.files.end();) {
    const bool is_of_it =
        prefix.ends_with('/') ? at->first.starts_with(prefix) : at->first == prefix;
    if (!is_of_it) break;
    if (but.contains(at->first)) {
      ++at;
      continue;
    }
    bytes_ -= at->second.text.size();
    at = state_.files.erase(at);
    is_changed = true;
  }
  return is_changed;
}

bool ClusterDocuments::tell_left_out() {
  if (left_out_.empty()) return set_unread("documents", "");
  return set_unread("documents", "the namespace holds more than " + std::to_string(files_max_) +
                                     " or more than " + std::to_string(bytes_max_) +
                                     " octets; not read are " + std::to_string(left_out_.size()) +
                                     " objects, such as " + *left_out_.begin() +
                                     ", until they change");
}

// Those of listeners and connectors are refused so far (compile.cc).
std::set<std::string> secrets_referred_to(const Desired& desired) {
  std::set<std::string> names;
  const auto add_all = [&](const auto& documents) {
    for (const auto& [name, document] : documents) {
      if (!document.tls_credentials.empty()) names.insert(document.tls_credentials);
    }
  };
  add_all(desired.links);
  add_all(desired.router_accesses);
  return names;
}

}  // namespace istmo::control
