#include "control/kubernetes/object_keeper.h"

#include <algorithm>

#include "base/assert.h"
#include "control/json.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/pki.h"

namespace istmo::control {
namespace {

constexpr const char* kJson = "application/json";
// JSON is YAML.
constexpr const char* kApply = "application/apply-patch+yaml";
constexpr const char* kJsonPatch = "application/json-patch+json";

const std::string& metadata_text(const Value& object, std::string_view key) {
  return text_at(object, "metadata", key);
}

bool is_empty(const Value& value) {
  return value.is_null() || (value.is_map() && value.entries().empty()) ||
         (value.is_list() && value.items().empty());
}

// What was made by POST is owned field by field by our name as one that updates; applying is
// another owner, and would be in conflict with it (Server-Side Apply, "Field management").
bool is_ours_as_made(const Value& entry) {
  return text_at(entry, "manager") == kManagedBy && text_at(entry, "operation") == "Update" &&
         text_at(entry, "subresource").empty();
}

bool has_fields_as_made(const Value& object) {
  const Value* metadata = object.find("metadata");
  const Value* entries = metadata ? metadata->find("managedFields") : nullptr;
  return entries && std::ranges::any_of(entries->items(), is_ours_as_made);
}

// A JSON Patch (RFC 6902) that makes them fields that we applied; refused if the object changed.
Value taking_over_fields(const Value& object) {
  Value entries = Value::list();
  for (const Value& entry : object.find("metadata")->find("managedFields")->items()) {
    Value& taken = entries.add(entry);
    if (is_ours_as_made(entry)) taken.set("operation", "Apply");
  }
  Value patch = Value::list();
  const auto replace = [&](const char* path, Value value) {
    Value step = Value::map();
    step.set("op", "replace");
    step.set("path", path);
    step.set("value", std::move(value));
    patch.add(std::move(step));
  };
  replace("/metadata/managedFields", std::move(entries));
  replace("/metadata/resourceVersion", metadata_text(object, "resourceVersion"));
  return patch;
}

// What is listed says neither apiVersion nor kind: the list does.
bool is_as_wanted(const Value& wanted, const Value& object) {
  return std::ranges::all_of(wanted.entries(), [&](const Value::Entry& entry) {
    if (entry.key == "apiVersion" || entry.key == "kind") return true;
    const Value* there = object.find(entry.key);
    return there && is_contained(entry.value, *there);
  });
}

}  // namespace

bool is_contained(const Value& wanted, const Value& object) {
  if (wanted.is_map()) {
    return std::ranges::all_of(wanted.entries(), [&](const Value::Entry& entry) {
      const Value* there = object.find(entry.key);
      return there ? is_contained(entry.value, *there) : is_empty(entry.value);
    });
  }
  if (!wanted.is_list()) return wanted.text() == object.text() && object.is_scalar();
  return object.is_list() && std::ranges::equal(wanted.items(), object.items(), is_contained);
}

ObjectKeeper::ObjectKeeper(std::string namespace_name, std::set<std::string> kinds, Rng& rng)
    : namespace_name_(std::move(namespace_name)),
      kinds_(std::move(kinds)),
      queue_({.per_second = kWritesPerSecond,
              .at_once = kWritesAtOnce,
              .in_flight_max = kInFlightMax,
              .backoff_min = kBackoffMin,
              .backoff_max = kBackoffMax},
             rng) {}

void ObjectKeeper::set_owner(std::optional<ObjectOwner> owner) {
  if (owner == owner_) return;
  owner_ = std::move(owner);
  for (auto at = objects_.begin(); at != objects_.end();) {
    auto& [id, kept] = *at++;
    if (kept.wanted && owner_) istmo::control::set_owner(*kept.wanted, *owner_);
    reconsider(id, kept);
  }
}

void ObjectKeeper::want(const std::map<ObjectId, Value>& objects) {
  for (auto at = objects_.begin(); at != objects_.end();) {
    auto& [id, kept] = *at++;
    if (!kept.wanted || objects.contains(id)) continue;
    kept.content.reset();
    want(id, kept, {}, {});
  }
  for (const auto& [id, object] : objects) {
    ASSERT(kinds_.contains(id.kind));
    Kept& kept = objects_[id];
    if (kept.content == object) continue;  // all of them are asked for again and again
    std::string digest = sha256_hex(write_json(object, JsonStyle::compact));
    Value whole = dressed(id, object, digest);
    kept.content = object;
    want(id, kept, std::move(whole), std::move(digest));
  }
}

void ObjectKeeper::want(const ObjectId& id, Kept& kept, std::optional<Value> wanted,
                        std::string digest) {
  kept.wanted = std::move(wanted);
  kept.digest = std::move(digest);
  kept.refusals = 0;
  kept.retry_at = {};
  set_problem(id, "");
  reconsider(id, kept);
}

void ObjectKeeper::on_object(const ObjectId& id, const Value& object) {
  Kept& kept = objects_[id];
  kept.must_look = false;
  see(kept, object);
  reconsider(id, kept);
}

void ObjectKeeper::on_gone(const ObjectId& id) {
  const auto found = objects_.find(id);
  if (found == objects_.end()) return;
  forget(found->second);
  reconsider(id, found->second);
}

void ObjectKeeper::on_synced(const std::string& kind) {
  if (!synced_.insert(kind).second) return;
  for (auto at = objects_.begin(); at != objects_.end();) {
    auto& [id, kept] = *at++;
    if (id.kind == kind) reconsider(id, kept);
  }
}

// --- asking ----------------------------------------------------------------------------------

std::optional<ObjectKeeper::Request> ObjectKeeper::next(Instant now) {
  const auto id = queue_.take(now);
  if (!id) return std::nullopt;
  Kept& kept = objects_.at(*id);
  const Step step = step_of(*id, kept);
  ASSERT(step != Step::none);
  kept.asked = step;
  kept.pace_at = now + kObjectPause;
  return request_for(*id, kept, step);
}

ObjectKeeper::Step ObjectKeeper::step_of(const ObjectId& id, const Kept& kept) const {
  if (!synced_.contains(id.kind) || !owner_) return Step::none;
  if (kept.must_look && (kept.wanted || kept.seen)) return Step::look;
  if (is_somebody_elses(id, kept)) return Step::none;
  if (!kept.wanted) {
    if (!is_kept(kept)) return Step::none;
    const bool is_going = !metadata_text(*kept.seen, "deletionTimestamp").empty();
    return is_going ? Step::none : Step::remove;
  }
  if (!kept.seen) return Step::make;
  if (is_as_wanted(*kept.wanted, *kept.seen)) return Step::none;
  return has_fields_as_made(*kept.seen) ? Step::take_over_fields : Step::apply;
}

ObjectKeeper::Request ObjectKeeper::request_for(const ObjectId& id, const Kept& kept,
                                                Step step) const {
  const std::string path = object_path(id, namespace_name_);
  const std::string manager = std::string("?fieldManager=") + kManagedBy;
  switch (step) {
    case Step::none:
    case Step::look: return {id, "GET", path, "", {}};
    case Step::make:
      return {id, "POST", collection_path(*find_kube_kind(id.kind), namespace_name_) + manager,
              kJson, *kept.wanted};
    case Step::take_over_fields:
      return {id, "PATCH", path + manager, kJsonPatch, taking_over_fields(*kept.seen)};
    case Step::apply: {
      Value object = *kept.wanted;
      Value metadata = *object.find("metadata");
      metadata.set("uid", metadata_text(*kept.seen, "uid"));
      object.set("metadata", std::move(metadata));
      return {id, "PATCH", path + manager, kApply, std::move(object)};
    }
    case Step::remove: break;
  }
  Value preconditions = Value::map();
  preconditions.set("uid", metadata_text(*kept.seen, "uid"));
  Value options = Value::map();
  options.set("apiVersion", "v1");
  options.set("kind", "DeleteOptions");
  options.set("preconditions", std::move(preconditions));
  return {id, "DELETE", path, kJson, std::move(options)};
}

void ObjectKeeper::on_reply(const ObjectId& id, int status, const Value& body, Instant now) {
  Kept& kept = objects_.at(id);
  const Step step = answered(kept);
  const std::string& message = text_at(body, "message");
  if (is_transient(status)) {
    queue_.hold_back(now, status == 429 ? Duration::seconds(1) : Duration{});
  } else {
    queue_.on_server_well();
    if (status >= 200 && status < 300) on_done(id, kept, step, body, now);
    else on_refused(id, kept, step, {status, message}, now);
  }
  reconsider(id, kept);
}

void ObjectKeeper::on_failure(const ObjectId& id, Instant now) {
  Kept& kept = objects_.at(id);
  answered(kept);
  queue_.hold_back(now, {});
  reconsider(id, kept);
}

ObjectKeeper::Step ObjectKeeper::answered(Kept& kept) {
  ASSERT(kept.asked != Step::none);
  queue_.on_answer();
  return std::exchange(kept.asked, Step::none);
}

// The object as it is now came back, or (of a removal) perhaps a Status.
void ObjectKeeper::on_done(const ObjectId& id, Kept& kept, Step step, const Value& body,
                           Instant now) {
  kept.must_look = false;
  if (step == Step::remove && metadata_text(body, "deletionTimestamp").empty()) {
    return forget(kept);
  }
  if (step != Step::look) {
    kept.refusals = 0;
    set_problem(id, "");
  }
  if (step == Step::take_over_fields) kept.pace_at = now;
  see(kept, body);
  // No watch need tell when it goes: it is looked for again.
  if (step != Step::look || !is_somebody_elses(id, kept)) return;
  kept.must_look = true;
  kept.retry_at = now + kRefusedPause;
}

void ObjectKeeper::on_refused(const ObjectId& id, Kept& kept, Step step, const Refusal& refusal,
                              Instant now) {
  constexpr int kDoublingsMax = 11;
  kept.must_look = false;
  if (refusal.status == 404 && step != Step::make) return forget(kept);
  kept.retry_at = now + std::min(kObjectPause * (1 << kept.refusals), kRefusedPause);
  if (kept.refusals < kDoublingsMax) ++kept.refusals;
  // Somebody made one of this name, or changed ours, or an answer was lost: look what is there.
  kept.must_look = refusal.status == 409;
  const bool is_told_by_look = refusal.status == 409 && step == Step::make;
  const bool is_passed_over = refusal.status == 403 && kept.refusals <= kRefusalsPassedOver;
  if (is_told_by_look || is_passed_over) return;
  set_problem(
      id, "the API server refuses it (" + std::to_string(refusal.status) + "): " + refusal.message);
}

// --- what is known ---------------------------------------------------------------------------

void ObjectKeeper::see(Kept& kept, const Value& object) {
  kept.is_foreign = text_at(object, "metadata", "labels", kManagedByLabel) != kManagedBy;
  if (kept.is_foreign) kept.seen.reset();
  else kept.seen = object;
}

void ObjectKeeper::forget(Kept& kept) {
  kept.seen.reset();
  kept.is_foreign = false;
  kept.must_look = false;
  kept.retry_at = {};
}

// A keeper made it: the command line makes objects of ours, too.
bool ObjectKeeper::is_kept(const Kept& kept) {
  return kept.seen && !text_at(*kept.seen, "metadata", "annotations", kContentAnnotation).empty();
}

bool ObjectKeeper::is_owned(const Value& object) const {
  const Value* metadata = object.find("metadata");
  const Value* owners = metadata ? metadata->find("ownerReferences") : nullptr;
  return owner_ && owners && std::ranges::any_of(owners->items(), [&](const Value& owner) {
           return text_at(owner, "uid") == owner_->uid;
         });
}

bool ObjectKeeper::is_somebody_elses(const ObjectId& id, const Kept& kept) const {
  if (kept.is_foreign || !kept.seen) return kept.is_foreign;
  return !is_owned(*kept.seen) || (id.kind == SecretDocument::kKind && !is_kept(kept));
}

Value ObjectKeeper::dressed(const ObjectId& id, const Value& object,
                            const std::string& digest) const {
  const Value* given = object.find("metadata");
  Value metadata = given ? *given : Value::map();
  metadata.set("name", id.name);
  const auto with = [&](const char* map, const char* key, const std::string& value) {
    const Value* there = metadata.find(map);
    Value texts = there ? *there : Value::map();
    texts.set(key, value);
    metadata.set(map, std::move(texts));
  };
  with("labels", kManagedByLabel, kManagedBy);
  with("annotations", kContentAnnotation, digest);
  Value whole = object;
  whole.set("apiVersion", std::string(find_kube_kind(id.kind)->api_version));
  whole.set("kind", id.kind);
  whole.set("metadata", std::move(metadata));
  if (owner_) istmo::control::set_owner(whole, *owner_);
  return whole;
}

// Empty: there is none.
void ObjectKeeper::set_problem(const ObjectId& id, std::string text) {
  const auto known = problems_.find(id);
  if (text.empty() ? known == problems_.end() : known != problems_.end() && known->second == text) {
    return;
  }
  has_news_ = true;
  if (text.empty()) problems_.erase(known);
  else problems_[id] = std::move(text);
}

// Puts it where next() finds it, if there is something to ask; drops what nothing is known of.
void ObjectKeeper::reconsider(const ObjectId& id, Kept& kept) {
  queue_.drop(id);
  if (kept.asked != Step::none) return;
  const Step step = step_of(id, kept);
  if (kept.wanted && owner_ && is_somebody_elses(id, kept)) {
    const bool is_foreign = kept.is_foreign || !is_owned(*kept.seen);
    set_problem(id,
                id.kind + " " + id.name +
                    (is_foreign ? " is there and is not Istmo's" : " is there for something else"));
  } else if (step == Step::none) {
    set_problem(id, "");
  }
  if (step != Step::none) {
    queue_.put(id, std::max(kept.pace_at, kept.retry_at));
  } else if (!kept.wanted && (!is_kept(kept) || (owner_ && !is_owned(*kept.seen)))) {
    objects_.erase(id);  // what is of another owner, too, is not ours to remember
  }
}

}  // namespace istmo::control
