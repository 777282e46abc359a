#include "control/kubernetes/annotated.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "control/document_read.h"
#include "control/json.h"
#include "control/kubernetes/label_selector.h"
#include "control/plain_text.h"
#include "control/settings.h"

namespace istmo::control {
namespace {

constexpr const char* kPortAnnotation = "skupper.io/port";
constexpr const char* kAddressAnnotation = "skupper.io/address";
constexpr const char* kTargetAnnotation = "skupper.io/target";
constexpr size_t kPortsMax = 64;

// As written: reading the document says what is no port.
struct PortTexts {
  std::string port;
  std::string target;
};

std::string trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return std::string(text);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t end = 0; end != std::string_view::npos && parts.size() < kPortsMax;) {
    end = text.find(separator);
    parts.push_back(trimmed(text.substr(0, end)));
    if (end != std::string_view::npos) text.remove_prefix(end + 1);
  }
  return parts;
}

std::vector<PortTexts> ports_of_annotation(const std::string& text) {
  std::vector<PortTexts> ports;
  for (const std::string& part : split(text, ',')) {
    const size_t colon = part.find(':');
    const std::string port = trimmed(part.substr(0, colon));
    ports.push_back({port, colon == std::string::npos ? port : trimmed(part.substr(colon + 1))});
  }
  return ports;
}

void add_ports(const Value& list, std::string_view key, std::vector<PortTexts>& ports) {
  for (const Value& entry : list.items()) {
    const std::string& protocol = text_at(entry, "protocol");
    const std::string& port = text_at(entry, key);
    if ((!protocol.empty() && protocol != "TCP") || ports.size() >= kPortsMax) continue;
    const auto is_same = [&](const PortTexts& known) { return known.port == port; };
    if (std::ranges::none_of(ports, is_same)) ports.push_back({port, port});
  }
}

std::vector<PortTexts> ports_of_object(const std::string& kind, const Value& object) {
  std::vector<PortTexts> ports;
  if (kind == "Service") {
    add_ports(value_at(object, {"spec", "ports"}), "port", ports);
    return ports;
  }
  for (const Value& container :
       value_at(object, {"spec", "template", "spec", "containers"}).items()) {
    add_ports(value_at(container, {"ports"}), "containerPort", ports);
  }
  return ports;
}

// A number where it is one: then the text of an error has no quotes either.
Value number_or_text(const std::string& text) {
  uint32_t number = 0;
  const auto [at, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = failure == std::errc() && at == text.data() + text.size();
  return is_number ? Value(number) : Value(text);
}

Value metadata_of(std::string name, const std::string& proxy) {
  Value metadata = Value::map();
  metadata.set("name", std::move(name));
  metadata.set("annotations", Value::map()).set(kProxyAnnotation, proxy);
  return metadata;
}

}  // namespace

std::string annotated_connectors(const std::string& kind, const Value& object,
                                 const std::string& namespace_name) {
  const auto annotation = [&](const char* key) {
    return text_at(object, "metadata", "annotations", key);
  };
  const std::string proxy = annotation(kProxyAnnotation);
  if (proxy.empty()) return {};
  const std::string& name = text_at(object, "metadata", "name");
  const std::string address =
      annotation(kAddressAnnotation).empty() ? name : annotation(kAddressAnnotation);
  const std::string target =
      annotation(kTargetAnnotation).empty() ? name : annotation(kTargetAnnotation);
  const std::string written = annotation(kPortAnnotation);
  std::vector<PortTexts> ports =
      written.empty() ? ports_of_object(kind, object) : ports_of_annotation(written);
  if (ports.empty()) ports.emplace_back();
  const bool is_http = proxy == "http" || proxy == "http2";
  std::string text;
  for (const PortTexts& port : ports) {
    const bool is_first = &port == &ports.front();
    Value document = Value::map();
    document.set("apiVersion", kApiVersion);
    document.set("kind", "Connector");
    document.set(
        "metadata",
        metadata_of(in_lower_case(kind) + "-" + name + (is_first ? "" : "-" + port.port), proxy));
    Value& spec = document.set("spec", Value::map());
    spec.set("routingKey", is_first ? address : address + ":" + port.port);
    if (kind == "Service") spec.set("host", target + "." + namespace_name + ".svc");
    else spec.set("selector", selector_text(value_at(object, {"spec", "selector"})));
    if (!port.target.empty()) spec.set("port", number_or_text(port.target));
    spec.set("type", is_http ? "tcp" : proxy);
    if (!port.port.empty()) spec.set("settings", Value::map()).set(kSettingPublishPort, port.port);
    text += "---\n" + write_json(document, JsonStyle::compact) + "\n";
  }
  return text;
}

}  // namespace istmo::control
