#include "control/kubernetes/cluster_objects.h"

#include <algorithm>

#include "control/base64.h"
#include "control/document_text.h"
#include "control/kubernetes/custom_resources.h"
#include "control/kubernetes/document_objects.h"
#include "control/pki.h"
#include "control/plain_text.h"

namespace istmo::control {
namespace {

constexpr size_t kNameCharactersMax = 253;
constexpr size_t kServiceNameCharactersMax = 63;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// RFC 1035 label, as the API server wants it.
bool is_service_name(std::string_view name) {
  const auto is_allowed = [](char c) { return is_lower_or_digit(c) || c == '-'; };
  return !name.empty() && name.size() <= kServiceNameCharactersMax && name.front() >= 'a' &&
         name.front() <= 'z' && name.back() != '-' && std::ranges::all_of(name, is_allowed);
}

Value named(const std::string& name) {
  Value object = Value::map();
  object.set("metadata", Value::map()).set("name", name);
  return object;
}

Value port_value(uint16_t port, uint16_t pod_port) {
  Value value = Value::map();
  value.set("name", "tcp-" + std::to_string(port));
  value.set("port", port);
  value.set("protocol", "TCP");
  value.set("targetPort", pod_port);
  return value;
}

ObjectId status_object_id(const ObjectStatus& status) {
  return {holds_codes(status.id.kind) ? "Secret" : "ConfigMap", object_name(status.id, "-status")};
}

Value status_object(const ObjectStatus& status) {
  const std::string text = write_value(status.to_value(), Format::yaml);
  Value object = named(object_name(status.id, "-status"));
  object.set("data", Value::map())
      .set("status.yaml", holds_codes(status.id.kind) ? encode_base64(text) : text);
  return object;
}

bool has_own_status(const ObjectStatus& status) {
  return status.document && is_custom_resource_file(base_of(*status.document).origin.file);
}

}  // namespace

std::string object_name(const ObjectId& document, std::string_view suffix) {
  std::string name = in_lower_case(document.kind) + "-" + document.name;
  if (name.size() + suffix.size() > kNameCharactersMax) {
    constexpr size_t kDigestCharacters = 16;
    const std::string digest = sha256_hex(name).substr(0, kDigestCharacters);
    name = name.substr(0, kNameCharactersMax - suffix.size() - kDigestCharacters) + digest;
  }
  return name.append(suffix);
}

std::map<ObjectId, Value> service_objects(const std::vector<ServiceOffer>& offers,
                                          const std::map<ServicePlace, uint16_t>& ports,
                                          std::map<std::string, std::string>& problems) {
  std::map<std::string, std::map<uint16_t, uint16_t>> services;  // by name, then by port
  for (const ServiceOffer& offer : offers) {
    if (!is_service_name(offer.host)) {
      problems[offer.listener] = "host '" + offer.host +
                                 "' cannot be the name of a Service: lower case letters, digits "
                                 "and '-', at most 63, a letter first";
      continue;
    }
    const auto port = ports.find({offer.host, offer.port});
    if (port == ports.end()) problems[offer.listener] = "no port of the gateway's pod is free";
    else services[offer.host][offer.port] = port->second;
  }
  std::map<ObjectId, Value> objects;
  for (const auto& [name, service_ports] : services) {
    Value object = named(name);
    Value& spec = object.set("spec", Value::map());
    Value& list = spec.set("ports", Value::list());
    for (const auto& [port, pod_port] : service_ports) list.add(port_value(port, pod_port));
    spec.set("selector", Value::map()).set(kPodLabel, kPodLabelValue);
    spec.set("type", "ClusterIP");
    objects.emplace(ObjectId{"Service", name}, std::move(object));
  }
  return objects;
}

std::map<ObjectId, Value> StatusObjects::of(const std::vector<ObjectStatus>& objects) {
  std::map<ObjectId, Value> kept;
  std::map<ObjectId, Written> written;
  for (const ObjectStatus& status : objects) {
    if (status.id.kind == SecretDocument::kKind || has_own_status(status)) continue;
    // The name of an object that never was valid may be anything.
    if (!check_object_name(status.id.name)) continue;
    const auto known = written_.find(status.id);
    Written now = known != written_.end() && known->second.status == status
                      ? std::move(known->second)
                      : Written{status, status_object_id(status), status_object(status)};
    kept.emplace(now.object, now.content);
    written.emplace(status.id, std::move(now));
  }
  written_ = std::move(written);
  return kept;
}

std::pair<ObjectId, Value> credentials_object(const std::string& name,
                                              const proxy::Credentials& credentials) {
  Value object = named(name);
  object.set("type", "kubernetes.io/tls");
  Value& data = object.set("data", Value::map());
  data.set("ca.crt", encode_base64(credentials.ca));
  data.set("tls.crt", encode_base64(credentials.certificate));
  data.set("tls.key", encode_base64(credentials.private_key));
  return {{"Secret", name}, std::move(object)};
}

std::pair<ObjectId, Value> overview_object(
    const std::map<std::string, std::vector<Value>>& overview) {
  // Of a ConfigMap's 1 MiB; the rest is for what is around it.
  constexpr size_t kBytesMax = 900 * 1024;
  Value object = named(kOverviewName);
  Value& data = object.set("data", Value::map());
  size_t bytes = 0;
  for (const auto& [verb, items] : overview) {
    Value list = Value::list();
    for (const Value& item : items) list.add(item);
    std::string text = write_value(list, Format::yaml);
    if (bytes + text.size() > kBytesMax) {
      text = "# There is more of it than a ConfigMap can hold.\n[]\n";
    }
    bytes += text.size();
    data.set(verb + ".yaml", std::move(text));
  }
  return {{"ConfigMap", kOverviewName}, std::move(object)};
}

}  // namespace istmo::control
