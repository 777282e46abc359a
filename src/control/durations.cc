#include "control/durations.h"

#include <array>
#include <limits>
#include <string>

namespace istmo::control {
namespace {

__extension__ using Wide = __int128;

struct Unit {
  std::string_view name;
  int64_t ns;
};
// Longer names first: "ms" before "m".
constexpr std::array kUnits = {
    Unit{"ns", 1},
    Unit{"us", 1'000},
    Unit{"\u00b5s", 1'000},
    Unit{"\u03bcs", 1'000},
    Unit{"ms", 1'000'000},
    Unit{"s", 1'000'000'000},
    Unit{"m", 60'000'000'000},
    Unit{"h", 3'600'000'000'000},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

const Unit* take_unit(std::string_view& rest) {
  for (const Unit& unit : kUnits) {
    if (!rest.starts_with(unit.name)) continue;
    rest.remove_prefix(unit.name.size());
    return &unit;
  }
  return nullptr;
}

// Nanoseconds of "1.5h" at the front of `rest`, which is dropped; negative when malformed.
Wide take_part(std::string_view& rest) {
  constexpr Wide kWholeMax = std::numeric_limits<int64_t>::max();
  Wide whole = 0;
  Wide fraction = 0;
  Wide scale = 1;
  size_t digits = 0;
  for (; !rest.empty() && is_digit(rest.front()); rest.remove_prefix(1), ++digits) {
    whole = whole * 10 + (rest.front() - '0');
    if (whole > kWholeMax) return -1;
  }
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    for (; !rest.empty() && is_digit(rest.front()); rest.remove_prefix(1), ++digits) {
      if (scale >= 1'000'000'000'000'000) continue;  // finer than a nanosecond of an hour
      fraction = fraction * 10 + (rest.front() - '0');
      scale *= 10;
    }
  }
  if (digits == 0) return -1;
  const Unit* unit = take_unit(rest);
  if (!unit) return -1;
  return whole * unit->ns + fraction * unit->ns / scale;
}

// "1.5" of 1'500'000'000 and 1'000'000'000: no zeros at the end.
std::string decimal(int64_t value, int64_t unit) {
  std::string text = std::to_string(value / unit);
  std::string fraction = std::to_string(unit + value % unit).substr(1);
  while (fraction.ends_with('0')) fraction.pop_back();
  if (value % unit != 0) text += "." + fraction;
  return text;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const auto refuse = [&] {
    return Error::config("\"" + std::string(text.substr(0, 32)) +
                         "\" is no duration; write it like 5s, 250ms or 1m30s");
  };
  std::string_view rest = text;
  const bool is_negative = rest.starts_with('-');
  if (is_negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "0") return Duration{};
  if (rest.empty()) return refuse();
  Wide total = 0;
  while (!rest.empty()) {
    const Wide part = take_part(rest);
    if (part < 0) return refuse();
    total += part;
    if (total > std::numeric_limits<int64_t>::max()) return refuse();
  }
  return Duration{static_cast<int64_t>(is_negative ? -total : total)};
}

std::string to_string(Duration duration) {
  if (duration.ns == 0) return "0s";
  if (duration.ns == std::numeric_limits<int64_t>::min()) return "-2562047h47m16.854775808s";
  if (duration.ns < 0) return "-" + to_string(Duration{-duration.ns});
  if (duration.ns < 1'000) return std::to_string(duration.ns) + "ns";
  if (duration.ns < 1'000'000) return decimal(duration.ns, 1'000) + "\u00b5s";
  if (duration.ns < 1'000'000'000) return decimal(duration.ns, 1'000'000) + "ms";
  const int64_t minutes = duration.ns / 60'000'000'000;
  std::string text;
  if (minutes >= 60) text += std::to_string(minutes / 60) + "h";
  if (minutes > 0) text += std::to_string(minutes % 60) + "m";
  return text + decimal(duration.ns % 60'000'000'000, 1'000'000'000) + "s";
}

}  // namespace istmo::control
