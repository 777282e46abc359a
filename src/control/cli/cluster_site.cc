#include "control/cli/cluster_site.h"

#include <algorithm>
#include <utility>

#include "control/base64.h"
#include "control/cli/terminal.h"
#include "control/document_read.h"
#include "control/document_store.h"
#include "control/document_text.h"
#include "control/json.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/command_requests.h"
#include "control/kubernetes/custom_resources.h"
#include "control/kubernetes/document_objects.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/site_manifest.h"
#include "control/kubernetes/skupper_presence.h"
#include "control/pki.h"
#include "control/plain_text.h"
#include "control/yaml.h"

namespace istmo::control {

namespace {

constexpr std::string_view kStatusSuffix = "-status";

// Of Secrets as of ConfigMaps: the text of one key.
std::string data_text(const Value& object, std::string_view key) {
  const std::string& text = text_at(object, "data", key);
  if (text_at(object, "kind") != SecretDocument::kKind) return text;
  return decode_base64(text).value_or("");
}

Value read_status(const Value& object) {
  ParsedText parsed = parse_yaml(data_text(object, "status.yaml"), {});
  if (parsed.error || parsed.documents.size() != 1) return {};
  return std::move(parsed.documents.front());
}

bool has_documents(const Value& object) {
  return text_at(object, "metadata", "labels", kDocumentsLabel) == "true";
}

bool is_ours(const Value& object) {
  return text_at(object, "metadata", "labels", kManagedByLabel) == kManagedBy;
}

std::string quoted(const Value& object) {
  return text_at(object, "kind") + " '" + text_at(object, "metadata", "name") + "'";
}

bool is_custom(const Value& object) { return is_custom_kind(text_at(object, "kind")); }

void put_document(ClusterDocuments& documents, const Value& object) {
  const std::string& kind = text_at(object, "kind");
  if (is_custom_kind(kind)) documents.put_custom(kind, object);
  else if (has_documents(object)) documents.put_streams(kind, object);
  else documents.put_secret(object);
}

// As the gateway tells it: the document as it is read, and its status if it is of this version.
Value told_by(Value custom_resource) {
  const Value object = with_current_status(std::move(custom_resource));
  const Value document = custom_resource_document(text_at(object, "kind"), object);
  const ParsedDocuments parsed =
      parse_documents(write_json(document, JsonStyle::compact), "of the cluster");
  const Value& status = value_at(object, {"status"});
  if (!parsed.documents.empty()) return to_value(parsed.documents.front(), status);
  Value invalid = document;
  if (status.is_null()) return {};
  invalid.set("spec", Value());
  invalid.set("status", status);
  return invalid;
}

Value request_object(const std::string& name, const Value& request,
                     const std::optional<ObjectOwner>& owner) {
  Value object = Value::map();
  object.set("apiVersion", "v1");
  object.set("kind", "ConfigMap");
  Value& metadata = object.set("metadata", Value::map());
  metadata.set("name", name);
  Value& labels = metadata.set("labels", Value::map());
  labels.set(kManagedByLabel, kManagedBy);
  labels.set(kRequestLabel, "true");
  Value& data = object.set("data", Value::map());
  data.set(kRequestKey, write_json(request, JsonStyle::compact));
  if (owner) set_owner(object, *owner);
  return object;
}

bool is_absent(const Error& error) { return error.error_class() == ErrorClass::closed; }

}  // namespace

Result<ClusterSite> ClusterSite::of(const Arguments& arguments) {
  KubeAccess access = TRY(kube_access(arguments.kube, arguments.namespace_name));
  return ClusterSite(TRY(ApiClient::make(std::move(access))));
}

Result<ClusterSite> ClusterSite::open(const Arguments& arguments) {
  ClusterSite site = TRY(of(arguments));
  if (TRY(site.is_installed())) return site;
  return Error::config("Istmo is not installed in namespace '" + site.namespace_name() +
                       "'; run `istmo init -n " + site.namespace_name() + "` first");
}

Result<std::vector<Value>> ClusterSite::ours(std::string_view kind) const {
  return api_->list(kind, managed_by_us());
}

Result<bool> ClusterSite::is_installed() const {
  const auto found = api_->get({"Deployment", kGatewayName});
  if (found) return text_at(*found, "metadata", "labels", kPodLabel) == kPodLabelValue;
  if (is_absent(found.error())) return false;
  return std::unexpected(found.error());
}

std::string ClusterSite::installer() const {
  const auto found = api_->get({"Deployment", kGatewayName});
  if (!found || text_at(*found, "metadata", "labels", kPodLabel) != kPodLabelValue) return {};
  return text_at(*found, "metadata", "labels", kManagedByLabel);
}

bool ClusterSite::is_skuppers() const {
  return api_->get({"ConfigMap", kSkupperConfigMap}).has_value();
}

std::string ClusterSite::absence_text() const {
  return "Istmo is not enabled in namespace '" + namespace_name() + "'\n";
}

std::string ClusterSite::services_place(const Value&) const {
  return "Services are offered here as Services of the namespace.";
}

// --- documents ---------------------------------------------------------------------------------

Result<std::vector<Value>> ClusterSite::document_objects() const {
  std::vector<Value> objects;
  for (const char* kind : {"ConfigMap", "Secret"}) {
    for (Value& object : TRY(api_->list(kind, documents_selector())))
      objects.push_back(std::move(object));
  }
  for (Value& secret : TRY(ours("Secret"))) {
    if (text_at(secret, "type") == "kubernetes.io/tls") objects.push_back(std::move(secret));
  }
  for (Value& object : TRY(custom_resources())) objects.push_back(std::move(object));
  return objects;
}

Result<std::vector<std::string>> ClusterSite::custom_kinds() const {
  const ApiReply served = api_->call({.method = "GET",
                                      .target = "/apis/" + std::string(kApiVersion),
                                      .content_type = {},
                                      .body = {}});
  if (served.status == 0) return ApiClient::error_of(served, "ask for kinds of documents");
  return custom_kinds_in(served.body);
}

// Who may not read them has none.
Result<std::vector<Value>> ClusterSite::custom_resources() const {
  std::vector<Value> objects;
  for (const std::string& kind : TRY(custom_kinds())) {
    auto found = api_->list(kind, "");
    if (found) {
      for (Value& object : *found) objects.push_back(std::move(object));
      continue;
    }
    const bool may_not = found.error().error_class() == ErrorClass::config;
    if (!may_not && !is_absent(found.error())) return std::unexpected(found.error());
  }
  return objects;
}

Result<Desired> ClusterSite::documents() const {
  ClusterDocuments documents;
  for (const Value& object : TRY(document_objects())) {
    put_document(documents, object);
  }
  DocumentStore store;
  store.apply(documents.state());
  return store.desired();
}

Result<std::optional<ObjectOwner>> ClusterSite::owner() const {
  ClusterDocuments documents;
  for (const Value& object : TRY(document_objects())) put_document(documents, object);
  DocumentStore store;
  store.apply(documents.state());
  const SiteDocument* site = store.desired().site();
  return site == nullptr ? std::nullopt : documents.owner_of(site->origin.file);
}

Result<Value> ClusterSite::holder_of(const ObjectId& id) const {
  if (id.kind == SecretDocument::kKind) {
    auto found = api_->get(id);
    if (found || !is_absent(found.error())) return found;
    return Value();
  }
  for (const Value& object : TRY(document_objects())) {
    if (is_custom(object) && id_of_object(object) == id) return object;
    if (!has_documents(object)) continue;
    size_t count = 0;
    bool is_here = false;
    for (const Value::Entry& entry :
         object.find("data") ? object.find("data")->entries() : std::vector<Value::Entry>()) {
      const ParsedDocuments parsed = parse_documents(data_text(object, entry.key), entry.key);
      count += parsed.documents.size() + parsed.invalid.size();
      for (const Document& document : parsed.documents) is_here |= id_of(document) == id;
      for (const ObjectId& invalid : parsed.invalid) is_here |= invalid == id;
    }
    if (is_here && count > 1) {
      return Error::config(id.kind + " " + id.name + " stands in " + quoted(object) +
                           " together with other documents; change that one with kubectl");
    }
    if (is_here) return object;
  }
  return Value();
}

Result<> ClusterSite::put(const Value& object) const {
  constexpr int kTries = 5;
  for (int i = 0; i < kTries; ++i) {
    const auto made = api_->create(object);
    if (made) return {};
    if (made.error().error_class() != ErrorClass::taken) return std::unexpected(made.error());
    const auto found = api_->get(id_of_object(object));
    if (!found) {
      if (is_absent(found.error())) continue;
      return std::unexpected(found.error());
    }
    if (!is_ours(*found) && !has_documents(*found)) {
      return Error::taken(quoted(object) +
                          " is there already and not Istmo's; remove or rename it");
    }
    Value metadata = *object.find("metadata");
    metadata.set("resourceVersion", text_at(*found, "metadata", "resourceVersion"));
    Value changed = object;
    changed.set("metadata", std::move(metadata));
    const auto replaced = api_->replace(changed);
    if (replaced) return {};
    const ErrorClass why = replaced.error().error_class();
    if (why != ErrorClass::taken && why != ErrorClass::closed) {
      return std::unexpected(replaced.error());
    }
  }
  return Error::taken(quoted(object) + " is changed by somebody else again and again");
}

Result<> ClusterSite::write(const Document& document) const {
  const ObjectId id = id_of(document);
  TRY(check_resource_name(id.name));
  Value object = document_object(document);
  if (const auto site = TRY(owner())) set_owner(object, *site);
  const Value holder = TRY(holder_of(id));
  if (holder.is_null() || id.kind == SecretDocument::kKind) return put(object);
  if (is_custom(holder)) {
    Value changed = holder;
    changed.set("spec", value_at(to_value(document), {"spec"}));
    const auto replaced = api_->replace(changed);
    return replaced ? Result<>() : std::unexpected(replaced.error());
  }
  // It stays in the key and the object in which its author has it.
  const Value* data = holder.find("data");
  Value changed = holder;
  Value& texts = changed.set("data", Value::map());
  for (const Value::Entry& entry : data->entries()) {
    texts.set(entry.key, object.find("data")->entries().front().value);
  }
  const auto replaced = api_->replace(changed);
  if (!replaced) return std::unexpected(replaced.error());
  return {};
}

Result<> ClusterSite::remove(const ObjectId& id) const {
  const Value holder = TRY(holder_of(id));
  if (holder.is_null()) return Error::config("there is no " + id.kind + " '" + id.name + "'");
  if (!is_ours(holder) && !has_documents(holder) && !is_custom(holder)) {
    return Error::config(quoted(holder) + " is not Istmo's");
  }
  return api_->remove(id_of_object(holder));
}

// --- the running site --------------------------------------------------------------------------

Result<> ClusterSite::check_runs() const {
  if (is_skuppers()) {
    return Error::refused(skupper_presence_text(namespace_name()) +
                          ": its gateway writes nothing while that is there");
  }
  const Value deployment = TRY(api_->get({"Deployment", kGatewayName}));
  if (!text_at(deployment, "status", "availableReplicas").empty()) return {};
  return Error::refused("no pod of the gateway of namespace '" + namespace_name() +
                        "' is ready; `kubectl get pods -n " + namespace_name() + " -l " +
                        kPodLabel + "=" + kPodLabelValue + "` shows them");
}

Result<std::vector<Value>> ClusterSite::ask(const Value& request) const {
  TRY(check_runs());
  const std::string& verb = text_at(request, "verb");
  if (verb == "connections" || verb == "delete-connection") return ask_gateway(request);
  const Value overview = TRY(api_->get({"ConfigMap", kOverviewName}));
  ParsedText parsed = parse_yaml(data_text(overview, verb + ".yaml"), {});
  if (parsed.error || parsed.documents.size() > 1) {
    return Error::internal("ConfigMap " + std::string(kOverviewName) + " cannot be read");
  }
  if (parsed.documents.empty()) return std::vector<Value>();
  return parsed.documents.front().items();
}

// By an object that its processes watch and answer in (command_requests.h).
Result<std::vector<Value>> ClusterSite::ask_gateway(const Value& request) const {
  Value asked = request;
  const std::string id = text_at(request, "id");
  const size_t mark = id.find('@');
  const std::string replica = mark == std::string::npos ? "" : id.substr(mark + 1);
  if (text_at(request, "verb") == "delete-connection") {
    if (replica.empty()) {
      return Error::config("'" + id + "' is not an ID of `istmo connection list`: NUMBER@REPLICA");
    }
    asked.set("id", id.substr(0, mark));
    asked.set("replica", replica);
  }
  const ObjectId object_id{"ConfigMap", "istmo-request-" + random_uuid()};
  const Value object = request_object(object_id.name, asked, TRY(owner()));
  TRY(api_->create(object));
  const auto answers = wait_for_answers(object_id, replica.empty() ? replicas() : 1);
  const auto removed = api_->remove(object_id);
  if (!removed) print_notice("istmo: " + removed.error().text() + "\n");
  if (!answers) return std::unexpected(answers.error());
  std::vector<Value> items;
  for (const auto& [from, answer] : *answers) {
    if (const std::string& error = text_at(answer, "error"); !error.empty()) {
      return Error::config(error);
    }
    for (Value item : items_at(answer, "items")) {
      item.set("id", text_at(item, "id") + "@" + from);
      items.push_back(std::move(item));
    }
    const std::string& left_out = text_at(answer, "leftOut");
    if (left_out != "0") {
      print_notice("istmo: " + left_out + " more of replica " + from + " are not listed\n");
    }
  }
  return items;
}

uint64_t ClusterSite::replicas() const {
  const auto deployment = api_->get({"Deployment", kGatewayName});
  if (!deployment) return 1;
  return std::max<uint32_t>(number_at(value_at(*deployment, {"status"}), "availableReplicas"), 1);
}

// From so many processes; from fewer when some do not answer in time.
Result<std::map<std::string, Value>> ClusterSite::wait_for_answers(const ObjectId& id,
                                                                   uint64_t wanted) const {
  constexpr Duration kPatience = Duration::seconds(10);
  const Instant deadline = monotonic_now() + kPatience;
  while (true) {
    auto answers = answers_in(TRY(api_->get(id)));
    const bool is_late = monotonic_now() >= deadline;
    if (answers.size() >= wanted || (is_late && !answers.empty())) {
      if (is_late) print_notice("istmo: not every pod of the gateway has answered\n");
      return answers;
    }
    if (is_late) return Error::timeout("the gateway does not answer; try again");
    sleep_for(pause_between_looks());
  }
}

Result<Value> ClusterSite::look_at(const ObjectId& id) const {
  const char* kind = holds_codes(id.kind) ? "Secret" : "ConfigMap";
  auto found = api_->get({kind, object_name(id, kStatusSuffix)});
  if (found) return read_status(*found);
  if (!is_absent(found.error())) return std::unexpected(found.error());
  auto custom = api_->get(id);
  // Also who may not read this kind, and a cluster without it.
  if (!custom) return Value();
  return told_by(std::move(*custom));
}

Result<std::vector<Value>> ClusterSite::documents_with_status(const std::string& kind) const {
  const bool is_running = check_runs().has_value();
  std::vector<Value> statuses;
  for (const char* of : {"ConfigMap", "Secret"}) {
    if (!is_running || (!kind.empty() && holds_codes(kind) != (of == std::string("Secret")))) {
      continue;
    }
    for (const Value& object : TRY(ours(of))) {
      if (!text_at(object, "metadata", "name").ends_with(kStatusSuffix)) continue;
      Value status = read_status(object);
      if (status.is_null() || (!kind.empty() && text_at(status, "kind") != kind)) continue;
      statuses.push_back(std::move(status));
    }
  }
  for (Value& object : is_running ? TRY(custom_resources()) : std::vector<Value>()) {
    if (!kind.empty() && text_at(object, "kind") != kind) continue;
    Value told = told_by(std::move(object));
    if (!value_at(told, {"status"}).is_null()) statuses.push_back(std::move(told));
  }
  Value unseen = Value::map();
  unseen.set("status", "Pending");
  unseen.set("message", "The gateway has not seen it yet");
  for (const Document& document : TRY(documents()).all()) {
    if (std::holds_alternative<SecretDocument>(document)) continue;
    const ObjectId id = id_of(document);
    if (!kind.empty() && id.kind != kind) continue;
    if (!find_value(statuses, id).is_null()) continue;
    statuses.push_back(to_value(document, is_running ? unseen : status_not_running()));
  }
  return statuses;
}

}  // namespace istmo::control
