// Durations as Go writes them: "1m30s", "250ms", "1.5h". Sign, ns, us, µs, ms, s, m, h.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace istmo::control {

Result<Duration> parse_duration(std::string_view text);
std::string to_string(Duration duration);  // "1m30s", "15m0s", "1.5s", "0s"

}  // namespace istmo::control
