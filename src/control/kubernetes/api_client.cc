#include "control/kubernetes/api_client.h"

#include <optional>
#include <utility>

#include "control/json.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/plain_text.h"
#include "control/resolver.h"

namespace istmo::control {
namespace {

constexpr const char* kJson = "application/json";
constexpr int kUnauthorized = 401;
constexpr int kForbidden = 403;
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr size_t kBlocks = 64;

std::string text_of(const ObjectId& id) { return id.kind + " " + id.name; }

}  // namespace

ObjectId id_of_object(const Value& object) {
  return {text_at(object, "kind"), text_at(object, "metadata", "name")};
}

Result<std::unique_ptr<ApiClient>> ApiClient::make(KubeAccess access) {
  auto loop = TRY(io::make_loop({.kind = io::LoopKind::epoll}, {.block_count = kBlocks}));
  ApiServer server = TRY(ApiServer::create(std::move(access)));
  if (server.places().empty()) {
    const std::string& host = server.access().host;
    std::vector<io::Address> addresses;
    for (const std::string& text : resolve_blocking(host)) {
      if (const auto address = io::Address::parse(text, server.access().port)) {
        addresses.push_back(*address);
      }
    }
    if (addresses.empty()) {
      return Error::refused("API server " + server.access().server() + ": host " + host +
                            " is not known");
    }
    server.set_addresses(addresses);
  }
  return std::unique_ptr<ApiClient>(new ApiClient(std::move(loop), std::move(server)));
}

ApiClient::ApiClient(std::unique_ptr<io::Loop> loop, ApiServer server)
    : loop_(std::move(loop)), server_(std::move(server)), calls_(*loop_, server_, 1) {}

ApiClient::~ApiClient() {
  calls_.stop();
  loop_->run_until([this] { return calls_.is_idle(); });
}

ApiReply ApiClient::call(ApiRequest request) {
  std::optional<ApiReply> answer;
  calls_.call(std::move(request), [&](ApiReply reply) { answer = std::move(reply); });
  loop_->run_until([&] { return answer.has_value(); });
  return std::move(*answer);
}

// Discovery, which everybody may ask who may ask anything.
Result<const KubeKind*> ApiClient::find_served(std::string_view kind) {
  for (const KubeKind* version : kube_kind_versions(kind)) {
    const auto found = ask({.method = "GET",
                            .target = "/apis/" + std::string(version->api_version),
                            .content_type = {},
                            .body = {}},
                           "find out whether the cluster has " + std::string(version->plural));
    if (!found && found.error().error_class() == ErrorClass::closed) continue;
    if (!found) return std::unexpected(found.error());
    for (const Value& resource : value_at(*found, {"resources"}).items()) {
      if (text_at(resource, "name") != version->plural) continue;
      served_.insert_or_assign(std::string(kind), version);
      return version;
    }
  }
  return nullptr;
}

const KubeKind& ApiClient::version_of(std::string_view kind) const {
  const auto found = served_.find(kind);
  return found == served_.end() ? *find_kube_kind(kind) : *found->second;
}

std::string ApiClient::collection(std::string_view kind) const {
  return collection_path(version_of(kind), access().namespace_name);
}

Error ApiClient::error_of(const ApiReply& reply, const std::string& doing) {
  const std::string text = doing + ": " + reply.message();
  switch (reply.status) {
    case 0: return Error::refused(text);
    case kUnauthorized:
    case kForbidden: return Error::config(text);
    case kNotFound: return Error::closed(text);
    case kConflict: return Error::taken(text);
    default: return Error::internal(text);
  }
}

Result<Value> ApiClient::ask(ApiRequest request, const std::string& doing) {
  ApiReply reply = call(std::move(request));
  if (!reply.is_done()) return error_of(reply, doing);
  return std::move(reply.body);
}

Result<Value> ApiClient::get(const ObjectId& id) {
  return ask({.method = "GET", .target = path_of(id), .content_type = {}, .body = {}},
             "get " + text_of(id));
}

Result<std::vector<Value>> ApiClient::list(std::string_view kind,
                                           const std::string& label_selector) {
  const KubeKind& known = version_of(kind);
  std::string target = collection(kind);
  if (!label_selector.empty()) target += "?labelSelector=" + escaped_for_query(label_selector);
  const Value found =
      TRY(ask({.method = "GET", .target = std::move(target), .content_type = {}, .body = {}},
              "list " + std::string(known.plural)));
  std::vector<Value> objects;
  const Value* items = found.find("items");
  if (!items || !items->is_list()) return objects;
  for (const Value& item : items->items()) {
    Value object = item;
    object.set("kind", std::string(known.kind));
    object.set("apiVersion", std::string(known.api_version));
    objects.push_back(std::move(object));
  }
  return objects;
}

Result<std::string> ApiClient::text(const std::string& target, const std::string& doing) {
  ApiReply reply = call({.method = "GET", .target = target, .content_type = {}, .body = {}});
  if (!reply.is_done()) return error_of(reply, doing);
  return reply.body.is_null() ? std::move(reply.plain)
                              : write_json(reply.body, JsonStyle::indented);
}

Result<Value> ApiClient::create(const Value& object) {
  const ObjectId id = id_of_object(object);
  return ask(
      {.method = "POST", .target = collection(id.kind), .content_type = kJson, .body = object},
      "create " + text_of(id));
}

Result<Value> ApiClient::replace(const Value& object) {
  const ObjectId id = id_of_object(object);
  return ask({.method = "PUT", .target = path_of(id), .content_type = kJson, .body = object},
             "change " + text_of(id));
}

Result<> ApiClient::remove(const ObjectId& id, int grace_seconds) {
  Value options = Value::map();
  options.set("apiVersion", "v1");
  options.set("kind", "DeleteOptions");
  options.set("propagationPolicy", "Background");
  if (grace_seconds >= 0) options.set("gracePeriodSeconds", int64_t{grace_seconds});
  TRY(ask({.method = "DELETE",
           .target = path_of(id),
           .content_type = kJson,
           .body = std::move(options)},
          "delete " + text_of(id)));
  return {};
}

}  // namespace istmo::control
