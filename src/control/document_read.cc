#include "control/document_read.h"

#include <algorithm>
#include <array>
#include <set>

#include "control/base64.h"
#include "control/document_fields.h"
#include "control/document_text.h"
#include "control/settings.h"

namespace istmo::control {
namespace {

constexpr std::array kUnsupportedKinds = {"SecuredAccess"};
constexpr size_t kRoutingKeysMax = 256;

// Routing keys, hosts and names of other objects end up in file names, log lines and messages.
void check_plain_text(Fields& spec, std::string_view key, const std::string& text) {
  const bool is_plain = std::all_of(
      text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) > 0x20 && c != 0x7f; });
  if (text.size() > 253) spec.error(key, "must not be longer than 253 characters");
  else if (!is_plain) spec.error(key, "must not have blanks or control characters");
}

void plain_text(Fields& spec, std::string_view key, std::string& into, Need need = Need::optional) {
  spec.text(key, into, need);
  check_plain_text(spec, key, into);
}

void read_settings(Fields& spec, DocumentBase& document, DocumentReading& reading) {
  const Value* map = spec.map("settings");
  if (!map) return;
  spec.text_map("settings", document.settings);
  const auto known = known_settings(reading.object().kind);
  const auto ineffective = ineffective_settings(reading.object().kind);
  for (const Value::Entry& entry : map->entries()) {
    const std::string path = "spec.settings." + entry.key.substr(0, 64);
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) {
      TrafficSettings traffic;
      proxy::Limits limits;
      const std::string text(entry.value.text());
      const auto applied = reading.object().kind == SiteDocument::kKind
                               ? apply_site_setting(limits, entry.key, text)
                               : apply_setting(traffic, entry.key, text);
      if (!applied) {
        reading.error(entry.value.position(), path + ": " + applied.error().text());
      }
    } else if (std::find(ineffective.begin(), ineffective.end(), entry.key) != ineffective.end()) {
      reading.warning(entry.position, path + " has no effect in Istmo");
    } else {
      std::string text = "unknown setting " + path;
      for (size_t i = 0; i < known.size(); ++i)
        text += (i ? ", " : "; known: ") + std::string(known[i]);
      reading.warning(entry.position, std::move(text));
    }
  }
}

void read_spec(Fields& spec, SiteDocument& site, DocumentReading&) {
  spec.text("serviceAccount", site.service_account);
  spec.choice("linkAccess", site.link_access,
              {"none", "default", "route", "loadbalancer", "nodeport", "ingress", "ingress-nginx",
               "contour-http-proxy", "gateway", "local"});
  spec.text("defaultIssuer", site.default_issuer);
  spec.boolean("edge", site.is_edge);
  spec.boolean("ha", site.is_ha);
  if (site.is_edge && site.is_ha) spec.error("ha", "cannot be true on an edge site");
}

void read_spec(Fields& spec, LinkDocument& link, DocumentReading& reading) {
  const Value* endpoints = spec.list("endpoints", Need::required);
  const size_t count = endpoints ? endpoints->items().size() : 0;
  for (size_t i = 0; i < count; ++i) {
    Fields fields(&endpoints->items()[i], "spec.endpoints[" + std::to_string(i) + "]",
                  spec.position_of("endpoints"), reading);
    LinkEndpoint endpoint;
    plain_text(fields, "name", endpoint.name);
    plain_text(fields, "host", endpoint.host, Need::required);
    fields.port("port", endpoint.port, Need::required);
    plain_text(fields, "group", endpoint.group);
    fields.finish();
    link.endpoints.push_back(std::move(endpoint));
  }
  if (endpoints && count == 0) spec.error("endpoints", "must have at least one entry");
  if (count > 64) spec.error("endpoints", "must not have more than 64 entries");
  plain_text(spec, "tlsCredentials", link.tls_credentials);
  spec.number("cost", link.cost, 1, 1'000'000);
  spec.skip("noClientAuth");
}

void read_type(Fields& spec, std::string& type) { spec.choice("type", type, {"tcp"}); }

void read_spec(Fields& spec, ListenerDocument& listener, DocumentReading&) {
  plain_text(spec, "routingKey", listener.routing_key, Need::required);
  plain_text(spec, "host", listener.host, Need::required);
  spec.port("port", listener.port, Need::required);
  plain_text(spec, "tlsCredentials", listener.tls_credentials);
  read_type(spec, listener.type);
  spec.choice("observer", listener.observer, {"auto", "none", "http1", "http2"});
  spec.boolean("exposePodsByName", listener.exposes_pods_by_name);
}

// Looked at before the keys are: there may be very many.
bool check_key_count(Fields& fields, size_t count) {
  const bool is_right = count > 0 && count <= kRoutingKeysMax;
  if (!is_right) {
    fields.error("routingKeys", "must have 1 to " + std::to_string(kRoutingKeysMax) + " entries");
  }
  return is_right;
}

// spec.strategy.priority
void read_priority(Fields& fields, proxy::KeyChoice& choice) {
  const Value* list = fields.list("routingKeys", Need::required);
  if (!list || !check_key_count(fields, list->items().size())) return;
  std::vector<std::string> keys;
  fields.text_list("routingKeys", keys);
  std::set<std::string> known;
  for (std::string& key : keys) {
    if (key.empty()) fields.error("routingKeys", "has an empty one");
    else if (!known.insert(key).second) fields.error("routingKeys", "has " + key + " twice");
    check_plain_text(fields, "routingKeys", key);
    choice.keys.push_back({.key = std::move(key)});
  }
}

// spec.strategy.weighted
void read_weights(Fields& fields, proxy::KeyChoice& choice, DocumentReading& reading) {
  choice.by = proxy::KeyChoice::By::weight;
  const Value* weights = fields.map("routingKeys", Need::required);
  if (!weights || !check_key_count(fields, weights->entries().size())) return;
  Fields each(weights, fields.path_of("routingKeys"), fields.position_of("routingKeys"), reading);
  bool has_weight = false;
  for (const Value::Entry& entry : weights->entries()) {
    proxy::KeyChoice::Key key{.key = entry.key, .weight = 0};
    each.number(entry.key, key.weight, 0, 1'000'000);
    if (key.key.empty()) each.error(entry.key, "must not be empty");
    check_plain_text(each, entry.key, key.key);
    has_weight |= key.weight > 0;
    choice.keys.push_back(std::move(key));
  }
  std::ranges::sort(choice.keys, {}, &proxy::KeyChoice::Key::key);
  if (!has_weight) fields.error("routingKeys", "must have one with a weight of more than 0");
}

void read_strategy(Fields& spec, proxy::KeyChoice& choice, DocumentReading& reading) {
  const Value* strategy = spec.map("strategy", Need::required);
  if (!strategy) return;
  Fields fields(strategy, "spec.strategy", spec.position_of("strategy"), reading);
  const Value* priority = fields.map("priority");
  const Value* weighted = fields.map("weighted");
  fields.finish();
  if ((priority != nullptr) == (weighted != nullptr)) {
    return spec.error("strategy", "must have exactly one of priority and weighted");
  }
  Fields keys(priority ? priority : weighted, fields.path_of(priority ? "priority" : "weighted"),
              spec.position_of("strategy"), reading);
  if (priority) read_priority(keys, choice);
  else read_weights(keys, choice, reading);
  keys.finish();
}

void read_spec(Fields& spec, MultiKeyListenerDocument& listener, DocumentReading& reading) {
  plain_text(spec, "host", listener.host, Need::required);
  spec.port("port", listener.port, Need::required);
  read_strategy(spec, listener.choice, reading);
  plain_text(spec, "tlsCredentials", listener.tls_credentials);
  spec.boolean("requireClientCert", listener.requires_client_certificate);
  spec.choice("observer", listener.observer, {"auto", "none", "http1", "http2"});
}

void read_spec(Fields& spec, ConnectorDocument& connector, DocumentReading&) {
  plain_text(spec, "routingKey", connector.routing_key, Need::required);
  plain_text(spec, "host", connector.host);
  spec.text("selector", connector.selector);
  if (connector.host.empty() == connector.selector.empty() && !spec.has("host")) {
    spec.error("host", "or spec.selector is missing");
  } else if (!connector.host.empty() && !connector.selector.empty()) {
    spec.error("selector", "and spec.host exclude each other");
  } else if (connector.host.empty() && connector.selector.empty()) {
    spec.error("host", "must not be empty");
  }
  spec.port("port", connector.port, Need::required);
  plain_text(spec, "tlsCredentials", connector.tls_credentials);
  read_type(spec, connector.type);
  spec.boolean("useClientCert", connector.uses_client_certificate);
  spec.boolean("verifyHostname", connector.verifies_hostname);
  spec.boolean("exposePodsByName", connector.exposes_pods_by_name);
  spec.boolean("includeNotReadyPods", connector.includes_not_ready_pods);
}

// Names of namespaces are put into paths of the API server's.
void namespace_field(Fields& spec, std::string_view key, std::string& into) {
  spec.text(key, into, Need::required);
  const auto checked = check_object_name(into);
  if (!into.empty() && !checked) spec.error(key, checked.error().text());
}

void read_spec(Fields& spec, AttachedConnectorDocument& connector, DocumentReading&) {
  namespace_field(spec, "siteNamespace", connector.site_namespace);
  spec.text("selector", connector.selector, Need::required);
  spec.port("port", connector.port, Need::required);
  plain_text(spec, "tlsCredentials", connector.tls_credentials);
  read_type(spec, connector.type);
  spec.boolean("useClientCert", connector.uses_client_certificate);
  spec.boolean("includeNotReadyPods", connector.includes_not_ready_pods);
}

void read_spec(Fields& spec, AttachedConnectorBindingDocument& binding, DocumentReading&) {
  namespace_field(spec, "connectorNamespace", binding.connector_namespace);
  plain_text(spec, "routingKey", binding.routing_key, Need::required);
  spec.boolean("exposePodsByName", binding.exposes_pods_by_name);
}

void read_spec(Fields& spec, AccessGrantDocument& grant, DocumentReading&) {
  spec.number("redemptionsAllowed", grant.redemptions_allowed, 1, 1'000'000);
  spec.duration("expirationWindow", grant.expiration_window);
  if (grant.expiration_window && *grant.expiration_window <= Duration{}) {
    spec.error("expirationWindow", "must be more than 0s");
  }
  plain_text(spec, "code", grant.code);
  plain_text(spec, "issuer", grant.issuer);
}

void read_spec(Fields& spec, AccessTokenDocument& token, DocumentReading&) {
  spec.text("url", token.url, Need::required);
  if (!token.url.empty() && !token.url.starts_with("https://")) {
    spec.error("url", "must start with https://");
  }
  plain_text(spec, "code", token.code, Need::required);
  spec.text("ca", token.ca, Need::required);
  uint32_t cost = 1;
  if (spec.number("linkCost", cost, 1, 1'000'000)) token.link_cost = cost;
}

void read_spec(Fields& spec, RouterAccessDocument& access, DocumentReading& reading) {
  const Value* roles = spec.list("roles", Need::required);
  const size_t count = roles ? roles->items().size() : 0;
  std::set<std::string> names;
  for (size_t i = 0; i < count; ++i) {
    Fields fields(&roles->items()[i], "spec.roles[" + std::to_string(i) + "]",
                  spec.position_of("roles"), reading);
    RouterAccessRole role;
    fields.choice("name", role.name, {"inter-router", "edge"}, Need::required);
    fields.number("port", role.port, 0, 65535);
    fields.finish();
    if (!role.name.empty() && !names.insert(role.name).second) {
      fields.error("name", "is there twice");
    }
    access.roles.push_back(std::move(role));
  }
  if (roles && count == 0) spec.error("roles", "must have at least one entry");
  plain_text(spec, "tlsCredentials", access.tls_credentials, Need::required);
  spec.boolean("generateTlsCredentials", access.generates_tls_credentials);
  plain_text(spec, "issuer", access.issuer);
  plain_text(spec, "accessType", access.access_type);
  plain_text(spec, "bindHost", access.bind_host);
  spec.text_list("subjectAlternativeNames", access.subject_alternative_names);
}

void read_spec(Fields& spec, CertificateDocument& certificate, DocumentReading&) {
  plain_text(spec, "ca", certificate.ca);
  spec.text("subject", certificate.subject, Need::required);
  spec.text_list("hosts", certificate.hosts);
  spec.boolean("client", certificate.is_client);
  spec.boolean("server", certificate.is_server);
  spec.boolean("signing", certificate.is_signing);
}

// A Secret has no spec: its fields are those of the document itself.
void read_secret(Fields& fields, SecretDocument& secret, DocumentReading& reading) {
  fields.text("type", secret.type);
  std::map<std::string, std::string> encoded;
  fields.text_map("data", encoded);
  for (const auto& [key, text] : encoded) {
    auto decoded = decode_base64(text);
    if (decoded) secret.data[key] = std::move(*decoded);
    else reading.error(fields.position_of("data"), "data." + key + ": " + decoded.error().text());
  }
  std::map<std::string, std::string> plain;
  fields.text_map("stringData", plain);
  for (auto& [key, text] : plain) secret.data[key] = std::move(text);
  fields.skip("immutable");
}

void read_metadata(const Value* tree, Position fallback, Metadata& metadata,
                   DocumentReading& reading) {
  Fields fields(tree, "metadata", fallback, reading);
  fields.text("name", metadata.name, Need::required);
  fields.text("namespace", metadata.namespace_name);
  fields.text("uid", metadata.uid);
  fields.number("generation", metadata.generation, 0, UINT32_MAX);
  fields.text_map("labels", metadata.labels);
  fields.text_map("annotations", metadata.annotations);
  for (const auto key :
       {"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers",
        "generateName", "managedFields", "ownerReferences", "resourceVersion", "selfLink"}) {
    fields.skip(key);  // what the Kubernetes API server adds
  }
  if (metadata.name.empty()) return fields.finish();
  if (const auto checked = check_object_name(metadata.name); !checked) {
    fields.error("name", checked.error().text());
  }
  ObjectId object = reading.object();
  object.name = metadata.name.substr(0, 253);
  reading.set_object(std::move(object));
  fields.finish();
}

template <class D>
void read_as(const Value& tree, const std::string& file, ParsedDocuments& parsed) {
  DocumentReading reading(file, parsed.problems);
  reading.set_object({std::string(D::kKind), ""});
  Fields top(&tree, "", tree.position(), reading);
  D document;
  document.origin = reading.origin_at(tree.position());
  top.skip("apiVersion");
  top.skip("kind");
  read_metadata(top.map("metadata", Need::required), tree.position(), document.metadata, reading);
  if constexpr (std::is_same_v<D, SecretDocument>) {
    read_secret(top, document, reading);
  } else {
    top.skip("status");  // ours to write
    Fields spec(top.map("spec"), "spec", tree.position(), reading);
    read_spec(spec, document, reading);
    read_settings(spec, document, reading);
    spec.finish();
  }
  top.finish();
  if (!reading.has_error()) {
    parsed.documents.emplace_back(std::move(document));
  } else if (!reading.object().name.empty()) {
    parsed.invalid.push_back(reading.object());
  }
}

using ReadFunction = void (*)(const Value&, const std::string&, ParsedDocuments&);
struct KindReader {
  std::string_view kind;
  std::string_view api_version;
  ReadFunction read;
};
template <class D>
constexpr KindReader reader_of(std::string_view api_version) {
  return {D::kKind, api_version, &read_as<D>};
}
constexpr std::array kReaders = {
    reader_of<SiteDocument>(kApiVersion),
    reader_of<LinkDocument>(kApiVersion),
    reader_of<ListenerDocument>(kApiVersion),
    reader_of<MultiKeyListenerDocument>(kApiVersion),
    reader_of<ConnectorDocument>(kApiVersion),
    reader_of<AttachedConnectorDocument>(kApiVersion),
    reader_of<AttachedConnectorBindingDocument>(kApiVersion),
    reader_of<AccessGrantDocument>(kApiVersion),
    reader_of<AccessTokenDocument>(kApiVersion),
    reader_of<RouterAccessDocument>(kApiVersion),
    reader_of<CertificateDocument>(kApiVersion),
    reader_of<SecretDocument>("v1"),
};

std::string word_at(const Value& tree, std::string_view key) {
  const Value* value = tree.find(key);
  return value && value->is_scalar() ? value->text().substr(0, 128) : "";
}

void warn_unknown_kind(const Value& tree, const std::string& kind, DocumentReading& reading) {
  const std::string version = word_at(tree, "apiVersion");
  if (version == kApiVersion && std::find(kUnsupportedKinds.begin(), kUnsupportedKinds.end(),
                                          kind) != kUnsupportedKinds.end()) {
    return reading.warning(tree.position(), "kind " + kind + " is not supported yet; ignored");
  }
  std::string known;
  for (const KindReader& reader : kReaders) {
    if (!known.empty()) known += ", ";
    known += reader.kind;
    if (reader.kind == kind) {
      return reading.warning(tree.position(),
                             "kind " + kind + " of apiVersion \"" + version +
                                 "\" ignored; known: " + std::string(reader.api_version));
    }
  }
  reading.warning(tree.position(), "unknown kind " + kind + " ignored; known: " + known);
}

}  // namespace

void read_document(const Value& tree, const std::string& file, ParsedDocuments& parsed) {
  DocumentReading reading(file, parsed.problems);
  if (!tree.is_map()) {
    return reading.error(tree.position(),
                         "a document must be a map, not " + std::string(to_string(tree.kind())));
  }
  const std::string kind = word_at(tree, "kind");
  const std::string version = word_at(tree, "apiVersion");
  if (kind.empty() || version.empty()) {
    return reading.error(tree.position(),
                         std::string(kind.empty() ? "kind" : "apiVersion") + " is missing");
  }
  if (kind == "List" && version == "v1") {
    const Value* items = tree.find("items");
    if (!items || !items->is_list()) return reading.error(tree.position(), "items is missing");
    for (const Value& item : items->items()) read_document(item, file, parsed);
    return;
  }
  for (const KindReader& reader : kReaders) {
    if (reader.kind == kind && reader.api_version == version)
      return reader.read(tree, file, parsed);
  }
  warn_unknown_kind(tree, kind, reading);
}

}  // namespace istmo::control
