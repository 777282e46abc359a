// Structured log lines on stderr: time, level, text, then key=value pairs (logfmt).
//
//   LOG_INFO("link open", "site", name, "connection", 2);
//
// Thread-safe: each line is one write(2). The level is a process-wide relaxed atomic, the only
// global state of the program. A value with blanks or quotes is quoted.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace istmo::log {

enum class Level : uint8_t { debug, info, warning, error };

void set_level(Level level);
bool is_enabled(Level level);
std::optional<Level> level_from(std::string_view name);  // "debug", "info", "warning", "error"
std::string_view to_string(Level level);

class Line {
 public:
  Line(Level level, std::string_view text);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, const std::string& value) { add(key, std::string_view(value)); }
  template <std::integral T>
  void add(std::string_view key, T value) {
    if constexpr (std::same_as<T, bool>) add(key, std::string_view(value ? "true" : "false"));
    else add(key, std::string_view(std::to_string(value)));
  }
  void write();

 private:
  std::string line_;
};

inline void add_pairs(Line&) {}
template <class Key, class Value, class... Rest>
void add_pairs(Line& line, const Key& key, const Value& value, const Rest&... rest) {
  line.add(key, value);
  add_pairs(line, rest...);
}

template <class... Pairs>
void write(Level level, std::string_view text, const Pairs&... pairs) {
  static_assert(sizeof...(Pairs) % 2 == 0, "key, value, key, value ...");
  Line line(level, text);
  add_pairs(line, pairs...);
  line.write();
}

}  // namespace istmo::log

#define LOG_AT(level, ...) \
  (::istmo::log::is_enabled(level) ? ::istmo::log::write(level, __VA_ARGS__) : void(0))
#define LOG_DEBUG(...) LOG_AT(::istmo::log::Level::debug, __VA_ARGS__)
#define LOG_INFO(...) LOG_AT(::istmo::log::Level::info, __VA_ARGS__)
#define LOG_WARNING(...) LOG_AT(::istmo::log::Level::warning, __VA_ARGS__)
#define LOG_ERROR(...) LOG_AT(::istmo::log::Level::error, __VA_ARGS__)
