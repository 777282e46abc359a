// Small questions about texts that come from outside: is it a port, a host; how it stands in a
// query. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "control/value.h"

namespace istmo::control {

// 1 to 65535.
std::optional<uint16_t> port_from(std::string_view text);
// Of a map; 0: there is no port under this key.
uint16_t port_at(const Value& map, std::string_view key);
// Of a map; 0: there is no whole number under this key.
uint32_t number_at(const Value& map, std::string_view key);

// A numeric address, or what can be the name of a host.
bool is_host(const std::string& text);

// ASCII letters alone are changed.
std::string in_lower_case(std::string text);

// As a value in the query of a URL (RFC 3986 2.3).
std::string escaped_for_query(std::string_view text);

}  // namespace istmo::control
