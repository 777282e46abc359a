// What an API server sends, read as JSON.
//
// Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/value.h"

namespace istmo::control {

// nullopt: it is no JSON, or too large.
std::optional<Value> read_api_json(std::string_view text);

// What a Status object says, for people; the beginning of a text that is none.
std::string api_message(const std::string& body);

}  // namespace istmo::control
