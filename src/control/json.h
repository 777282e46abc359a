// JSON texts (RFC 8259) from and to Value trees. The only home of nlohmann_json.
//
// Pure functions, used on the control thread and by commands; never by workers.
#pragma once

#include <string>
#include <string_view>

#include "control/value.h"
#include "control/yaml.h"

namespace istmo::control {

// One JSON value; `documents` has it. Bounded like YAML. Doubled keys are an error.
ParsedText parse_json(std::string_view text, const TextLimits& limits);

enum class JsonStyle : uint8_t { compact, indented };

// Octets that are not UTF-8 are replaced. Without a newline at the end.
std::string write_json(const Value& value, JsonStyle style);

}  // namespace istmo::control
