#include "control/cli/redaction.h"

#include <algorithm>
#include <vector>

#include "control/base64.h"
#include "control/document_text.h"
#include "control/plain_text.h"
#include "control/yaml.h"

namespace istmo::control {

namespace {

constexpr size_t kSecretBytesMin = 6;  // shorter ones would be found everywhere
constexpr size_t kKeyLineBytesMin = 32;
constexpr std::string_view kSecretFields[] = {"code",       "password", "privatekey",
                                              "pendingkey", "token",    "codesha256"};
// In records of the state (cluster_state.h, state_records.h).
constexpr std::string_view kNameOfRecord = "record";
constexpr std::string_view kDocumentsOfToken = "documents";
constexpr std::string_view kLeftOut[] = {"managedFields",
                                         "kubectl.kubernetes.io/last-applied-configuration"};

template <class List>
bool is_among(const List& list, std::string_view text) {
  return std::ranges::find(list, text) != std::end(list);
}

bool holds_private_key(std::string_view text) { return text.contains("PRIVATE KEY-----"); }

bool is_secret_field(const std::string& key, const Value& value) {
  if (!value.is_scalar()) return false;
  return is_among(kSecretFields, in_lower_case(key)) || holds_private_key(value.text());
}

bool is_secret_object(const Value& value) { return text_at(value, "kind") == "Secret"; }

// What everybody may see.
bool is_certificate(std::string_view text) {
  return text.starts_with("-----BEGIN CERTIFICATE-----") && !holds_private_key(text);
}

std::vector<Value> maps_in(std::string_view text) {
  std::vector<Value> maps = parse_yaml(text, {}).documents;
  std::erase_if(maps, [](const Value& value) { return !value.is_map(); });
  return maps;
}

Value sizes_of(const Value& data) {
  Value sizes = Value::map();
  for (const Value::Entry& entry : data.entries()) {
    const auto decoded = decode_base64(entry.value.text());
    const size_t size = decoded ? decoded->size() : entry.value.text().size();
    sizes.set(entry.key, std::to_string(size) + " octets");
  }
  return sizes;
}

// Of containers: variables may hold anything.
Value without_values(const Value& variables) {
  Value list = Value::list();
  for (const Value& variable : variables.items()) {
    Value& shown = list.add(variable);
    if (shown.find("value")) shown.set("value", kRemoved);
  }
  return list;
}

void replace_all(std::string& text, const std::string& what) {
  for (size_t at = text.find(what); at != std::string::npos;
       at = text.find(what, at + kRemoved.size())) {
    text.replace(at, what.size(), kRemoved);
  }
}

}  // namespace

void Redaction::add(const std::string& secret) {
  if (secret.size() < kSecretBytesMin || is_certificate(secret)) return;
  secrets_.insert(secret);
  secrets_.insert(encode_base64(secret));
  if (!holds_private_key(secret)) return;
  // However its lines are indented or quoted.
  for (size_t at = 0; at < secret.size();) {
    const size_t end = std::min(secret.find('\n', at), secret.size());
    const std::string line = secret.substr(at, end - at);
    if (line.size() >= kKeyLineBytesMin) secrets_.insert(line);
    at = end + 1;
  }
}

void Redaction::learn_text(std::string_view text) {
  const std::vector<Value> maps = maps_in(text);
  for (const Value& value : maps) learn(value);
  if (maps.empty()) add(std::string(text));
}

void Redaction::learn(const Value& object) {
  for (const Value& item : object.items()) learn(item);
  const bool is_secret = is_secret_object(object);
  for (const Value::Entry& entry : object.entries()) {
    if (is_secret && (entry.key == "data" || entry.key == "stringData")) {
      for (const Value::Entry& part : entry.value.entries()) {
        if (part.key == kNameOfRecord) continue;
        const auto decoded = decode_base64(part.value.text());
        learn_text(decoded ? *decoded : part.value.text());
      }
    } else if (is_secret_field(entry.key, entry.value)) {
      add(entry.value.text());
    } else if (entry.key == kDocumentsOfToken && entry.value.is_scalar()) {
      learn_text(entry.value.text());
    } else {
      learn(entry.value);
    }
  }
}

Value Redaction::object(const Value& object) const {
  if (object.is_list()) {
    Value list = Value::list();
    for (const Value& item : object.items()) list.add(this->object(item));
    return list;
  }
  if (!object.is_map()) return object;
  const bool is_secret = is_secret_object(object);
  const bool is_config_map = text_at(object, "kind") == "ConfigMap";
  Value shown = Value::map();
  for (const auto& [key, position, value] : object.entries()) {
    if (is_among(kLeftOut, key)) continue;
    if ((is_secret && (key == "data" || key == "stringData")) || key == "binaryData") {
      shown.set(key, sizes_of(value));
    } else if (is_secret_field(key, value)) {
      shown.set(key, kRemoved);
    } else if (key == "env" && value.is_list()) {
      shown.set(key, without_values(value));
    } else if (is_config_map && key == "data") {
      Value& data = shown.set(key, Value::map());
      for (const Value::Entry& part : value.entries()) {
        data.set(part.key, documents(part.value.text()));
      }
    } else {
      shown.set(key, this->object(value));
    }
  }
  return shown;
}

std::string Redaction::documents(std::string_view text) const {
  const ParsedText parsed = parse_yaml(text, {});
  std::string shown;
  for (const Value& value : parsed.documents) {
    if (value.is_scalar()) continue;
    shown += (shown.empty() ? "" : "---\n") + write_value(object(value), Format::yaml);
  }
  if (shown.empty() || parsed.error) {
    shown += "# not shown: what is no document, of " + std::to_string(text.size()) + " octets\n";
  }
  return shown;
}

// The longest first: one may be a part of another.
std::string Redaction::text(std::string text) const {
  std::vector<std::string> longest(secrets_.begin(), secrets_.end());
  std::ranges::sort(longest, std::ranges::greater(), &std::string::size);
  for (const std::string& secret : longest) replace_all(text, secret);
  return text;
}

}  // namespace istmo::control
