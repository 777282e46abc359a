#include "control/document_text.h"

#include <algorithm>

#include "base/assert.h"
#include "control/base64.h"
#include "control/document_read.h"
#include "control/durations.h"
#include "control/json.h"
#include "control/yaml.h"

namespace istmo::control {
namespace {

ParsedText parse_text(std::string_view text, const std::string& file) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool is_json =
      file.ends_with(".json") || (first != std::string_view::npos && text[first] == '{');
  const TextLimits limits{.bytes_max = kDocumentBytesMax};
  // A YAML document may be a flow map too, so a text that only looks like JSON gets a second try.
  ParsedText parsed = is_json ? parse_json(text, limits) : parse_yaml(text, limits);
  if (!parsed.error || !is_json || file.ends_with(".json")) return parsed;
  ParsedText as_yaml = parse_yaml(text, limits);
  return as_yaml.error && as_yaml.documents.empty() ? parsed : as_yaml;
}

// Leaves out what has its default.
class SpecWriter {
 public:
  SpecWriter& text(std::string key, const std::string& value) {
    if (!value.empty()) spec_.set(std::move(key), value);
    return *this;
  }
  SpecWriter& flag(std::string key, bool value) {
    if (value) spec_.set(std::move(key), true);
    return *this;
  }
  SpecWriter& number(std::string key, uint32_t value) {
    spec_.set(std::move(key), value);
    return *this;
  }
  SpecWriter& list(std::string key, const std::vector<std::string>& values) {
    if (values.empty()) return *this;
    Value& list = spec_.set(std::move(key), Value::list());
    for (const auto& value : values) list.add(value);
    return *this;
  }
  SpecWriter& value(std::string key, Value value) {
    spec_.set(std::move(key), std::move(value));
    return *this;
  }
  Value take() { return std::move(spec_); }

 private:
  Value spec_ = Value::map();
};

Value text_map(const std::map<std::string, std::string>& texts) {
  Value map = Value::map();
  for (const auto& [key, text] : texts) map.append({}, key, text);
  return map;
}

Value spec_of(const SiteDocument& site) {
  return SpecWriter()
      .text("serviceAccount", site.service_account)
      .text("linkAccess", site.link_access)
      .text("defaultIssuer", site.default_issuer)
      .flag("edge", site.is_edge)
      .flag("ha", site.is_ha)
      .take();
}

Value spec_of(const LinkDocument& link) {
  Value endpoints = Value::list();
  for (const LinkEndpoint& endpoint : link.endpoints) {
    // The port is a string in this kind.
    endpoints.add(SpecWriter()
                      .text("name", endpoint.name)
                      .text("host", endpoint.host)
                      .text("port", std::to_string(endpoint.port))
                      .text("group", endpoint.group)
                      .take());
  }
  return SpecWriter()
      .value("endpoints", std::move(endpoints))
      .text("tlsCredentials", link.tls_credentials)
      .number("cost", link.cost)
      .take();
}

Value spec_of(const ListenerDocument& listener) {
  return SpecWriter()
      .text("routingKey", listener.routing_key)
      .text("host", listener.host)
      .number("port", listener.port)
      .text("tlsCredentials", listener.tls_credentials)
      .text("type", listener.type)
      .text("observer", listener.observer)
      .flag("exposePodsByName", listener.exposes_pods_by_name)
      .take();
}

Value spec_of(const MultiKeyListenerDocument& listener) {
  const bool is_by_weight = listener.choice.by == proxy::KeyChoice::By::weight;
  Value keys = is_by_weight ? Value::map() : Value::list();
  for (const proxy::KeyChoice::Key& key : listener.choice.keys) {
    if (is_by_weight) keys.set(key.key, key.weight);
    else keys.add(key.key);
  }
  Value strategy = Value::map();
  strategy.set(is_by_weight ? "weighted" : "priority", Value::map())
      .set("routingKeys", std::move(keys));
  return SpecWriter()
      .text("host", listener.host)
      .number("port", listener.port)
      .value("strategy", std::move(strategy))
      .text("tlsCredentials", listener.tls_credentials)
      .flag("requireClientCert", listener.requires_client_certificate)
      .text("observer", listener.observer)
      .take();
}

Value spec_of(const ConnectorDocument& connector) {
  return SpecWriter()
      .text("routingKey", connector.routing_key)
      .text("host", connector.host)
      .text("selector", connector.selector)
      .number("port", connector.port)
      .text("tlsCredentials", connector.tls_credentials)
      .text("type", connector.type)
      .flag("useClientCert", connector.uses_client_certificate)
      .flag("verifyHostname", connector.verifies_hostname)
      .flag("exposePodsByName", connector.exposes_pods_by_name)
      .flag("includeNotReadyPods", connector.includes_not_ready_pods)
      .take();
}

Value spec_of(const AttachedConnectorDocument& connector) {
  return SpecWriter()
      .text("siteNamespace", connector.site_namespace)
      .text("selector", connector.selector)
      .number("port", connector.port)
      .text("tlsCredentials", connector.tls_credentials)
      .text("type", connector.type)
      .flag("useClientCert", connector.uses_client_certificate)
      .flag("includeNotReadyPods", connector.includes_not_ready_pods)
      .take();
}

Value spec_of(const AttachedConnectorBindingDocument& binding) {
  return SpecWriter()
      .text("connectorNamespace", binding.connector_namespace)
      .text("routingKey", binding.routing_key)
      .flag("exposePodsByName", binding.exposes_pods_by_name)
      .take();
}

Value spec_of(const AccessGrantDocument& grant) {
  return SpecWriter()
      .number("redemptionsAllowed", grant.redemptions_allowed)
      .text("expirationWindow", grant.expiration_window ? to_string(*grant.expiration_window) : "")
      .text("code", grant.code)
      .text("issuer", grant.issuer)
      .take();
}

Value spec_of(const AccessTokenDocument& token) {
  SpecWriter spec;
  spec.text("url", token.url).text("code", token.code).text("ca", token.ca);
  if (token.link_cost) spec.number("linkCost", *token.link_cost);
  return spec.take();
}

Value spec_of(const RouterAccessDocument& access) {
  Value roles = Value::list();
  for (const RouterAccessRole& role : access.roles) {
    SpecWriter written;
    written.text("name", role.name);
    if (role.port != 0) written.number("port", role.port);
    roles.add(written.take());
  }
  return SpecWriter()
      .value("roles", std::move(roles))
      .text("tlsCredentials", access.tls_credentials)
      .flag("generateTlsCredentials", access.generates_tls_credentials)
      .text("issuer", access.issuer)
      .text("accessType", access.access_type)
      .text("bindHost", access.bind_host)
      .list("subjectAlternativeNames", access.subject_alternative_names)
      .take();
}

Value spec_of(const CertificateDocument& certificate) {
  return SpecWriter()
      .text("ca", certificate.ca)
      .text("subject", certificate.subject)
      .list("hosts", certificate.hosts)
      .flag("client", certificate.is_client)
      .flag("server", certificate.is_server)
      .flag("signing", certificate.is_signing)
      .take();
}

template <class D>
void put_content(const D& document, Value& tree) {
  Value spec = spec_of(document);
  if (!document.settings.empty()) spec.set("settings", text_map(document.settings));
  tree.set("spec", std::move(spec));
}

void put_content(const SecretDocument& secret, Value& tree) {
  tree.set("type", secret.type.empty() ? "Opaque" : secret.type);
  Value data = Value::map();
  for (const auto& [key, octets] : secret.data) data.append({}, key, encode_base64(octets));
  tree.set("data", std::move(data));
}

Value metadata_of(const Metadata& metadata) {
  Value value = Value::map();
  value.set("name", metadata.name);
  if (!metadata.namespace_name.empty()) value.set("namespace", metadata.namespace_name);
  if (!metadata.uid.empty()) value.set("uid", metadata.uid);
  if (!metadata.labels.empty()) value.set("labels", text_map(metadata.labels));
  if (!metadata.annotations.empty()) value.set("annotations", text_map(metadata.annotations));
  return value;
}

}  // namespace

bool ParsedDocuments::has_errors() const {
  return std::any_of(problems.begin(), problems.end(),
                     [](const Problem& problem) { return problem.severity == Severity::error; });
}

ParsedDocuments parse_documents(std::string_view text, const std::string& file) {
  ParsedDocuments parsed;
  const ParsedText trees = parse_text(text, file);
  for (const Value& tree : trees.documents) read_document(tree, file, parsed);
  const auto add_error = [&](const TextError& error) {
    parsed.is_cut = true;
    parsed.problems.push_back({Severity::error,
                               {file, error.position.line, error.position.column},
                               {},
                               "cannot be read: " + error.text});
  };
  if (trees.error) add_error(*trees.error);
  for (const TextError& error : trees.more_errors) add_error(error);
  return parsed;
}

Value to_value(const Document& document, const Value& status) {
  Value tree = Value::map();
  tree.set("apiVersion", std::holds_alternative<SecretDocument>(document) ? "v1" : kApiVersion);
  tree.set("kind", kind_of(document));
  tree.set("metadata", metadata_of(base_of(document).metadata));
  std::visit([&tree](const auto& d) { put_content(d, tree); }, document);
  if (!status.is_null()) tree.set("status", status);
  return tree;
}

std::string write_value(const Value& value, Format format) {
  switch (format) {
    case Format::yaml: return write_yaml(value);
    case Format::json: return write_json(value, JsonStyle::indented) + "\n";
  }
  ASSERT(false);
}

std::string write_document(const Document& document, Format format, const Value& status) {
  return write_value(to_value(document, status), format);
}

std::string write_documents(std::span<const Document> documents, Format format) {
  std::string text;
  for (const Document& document : documents) {
    if (format == Format::yaml) text += "---\n";
    text += write_document(document, format);
  }
  return text;
}

std::string write_list(const std::vector<Value>& items, Format format) {
  Value list = Value::map();
  Value& place = list.set("items", Value::list());
  for (const Value& item : items) place.add(item);
  return write_value(list, format);
}

Result<std::vector<Value>> parse_values(std::string_view text, const std::string& file) {
  ParsedText parsed = parse_text(text, file);
  if (parsed.error) {
    return Error::config(Origin{file, parsed.error->position.line, 0}.to_string() +
                         ": cannot be read: " + parsed.error->text);
  }
  return std::move(parsed.documents);
}

Result<> check_object_name(std::string_view name) {
  const auto is_inner = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const auto refuse = [] {
    return Error::config(
        "must be lower case letters, digits, '-' and '.', and begin and end with a letter or "
        "digit (RFC 1123)");
  };
  if (name.empty() || name.size() > 253) {
    return Error::config("must have 1 to 253 characters (RFC 1123)");
  }
  char previous = '.';
  for (const char c : name) {
    const bool is_start = previous == '.';
    if (!is_inner(c) && (c != '-' || is_start) && (c != '.' || !is_inner(previous)))
      return refuse();
    previous = c;
  }
  if (!is_inner(previous)) return refuse();
  return {};
}

}  // namespace istmo::control
