// YAML texts (YAML 1.2, core schema) from and to Value trees. The only home of yaml-cpp, which
// reads; writing is ours.
//
// Pure functions, used on the control thread and by commands; never by workers.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/value.h"

namespace istmo::control {

// Bounds of one text. What an alias stands for counts each time it is used, so that a small text
// cannot become a large tree.
struct TextLimits {
  size_t bytes_max = 1024 * 1024;
  size_t depth_max = 32;
  size_t nodes_max = 100'000;
  size_t scalar_bytes_max = 4 * 1024 * 1024;  // of all scalars of the tree together
};

// Why a document of a text could not be read, and where.
struct TextError {
  Position position;
  std::string text;
  bool is_limit = false;  // it is more than is read, and may be right
};

struct ParsedText {
  std::vector<Value> documents;        // those that could be read, empty ones left out
  std::optional<TextError> error;      // the first
  std::vector<TextError> more_errors;  // of YAML documents behind that one
};

// A document with an error ends at the next line that begins with `---`; those behind it are read.
// A text beyond its limits is read no further.
ParsedText parse_yaml(std::string_view text, const TextLimits& limits);

// Block style; strings that would be read as something else are quoted, texts of several lines
// are literal blocks. Ends with a newline. parse_yaml() of it gives the same tree.
std::string write_yaml(const Value& value);

// What a plain (unquoted) scalar stands for in the YAML 1.2 core schema.
Value::Kind plain_scalar_kind(std::string_view text);

}  // namespace istmo::control
