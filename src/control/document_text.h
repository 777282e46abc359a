// Documents from text and to text: YAML (many documents per file, `---`) and JSON.
//
// Pure functions. Hostile input is bounded: 1 MiB, depth 32, 100,000 nodes, aliases counted in.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/desired.h"
#include "control/value.h"

namespace istmo::control {

inline constexpr size_t kDocumentBytesMax = 1024 * 1024;

struct ParsedDocuments {
  std::vector<Document> documents;  // the valid ones
  std::vector<Problem> problems;
  std::vector<ObjectId> invalid;  // objects whose document has an error
  bool is_cut = false;            // a part of the text could not be read

  bool has_errors() const;
};

// `file` is for messages and Origins. A name that ends in .json is read as JSON; so is a text
// that starts with `{`.
ParsedDocuments parse_documents(std::string_view text, const std::string& file);

// apiVersion, kind, metadata, spec as the author wrote them (defaults are left out), and `status`
// unless it is null.
Value to_value(const Document& document, const Value& status = {});

enum class Format : uint8_t { yaml, json };

std::string write_value(const Value& value, Format format);  // ends with a newline
std::string write_document(const Document& document, Format format, const Value& status = {});
// YAML: joined by `---`. JSON: one after the other, each on lines of its own.
std::string write_documents(std::span<const Document> documents, Format format);
// {"items": [...]} for `-o json`, `items:` for `-o yaml`.
std::string write_list(const std::vector<Value>& items, Format format);

// Any YAML or JSON text as trees, one per document: runtime/resources/*.yaml for the commands.
Result<std::vector<Value>> parse_values(std::string_view text, const std::string& file);

// RFC 1123 subdomain, at most 253 octets. Error::config says what is wrong.
Result<> check_object_name(std::string_view name);

}  // namespace istmo::control
