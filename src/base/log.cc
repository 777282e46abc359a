#include "base/log.h"

#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace istmo::log {
namespace {

std::atomic<Level> current_level{Level::info};

bool needs_quotes(std::string_view value) {
  if (value.empty()) return true;
  for (const char c : value) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
      return true;
  }
  return false;
}

// Control characters are escaped, so that input from outside cannot forge a log line.
void append_quoted(std::string& line, std::string_view value) {
  line += '"';
  for (const char c : value) {
    const auto octet = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (octet < ' ' || octet == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", octet);
      line += escaped;
    } else {
      line += c;
    }
  }
  line += '"';
}

}  // namespace

void set_level(Level level) { current_level.store(level, std::memory_order_relaxed); }

bool is_enabled(Level level) { return level >= current_level.load(std::memory_order_relaxed); }

std::optional<Level> level_from(std::string_view name) {
  for (const auto level : {Level::debug, Level::info, Level::warning, Level::error}) {
    if (name == to_string(level)) return level;
  }
  return std::nullopt;
}

std::string_view to_string(Level level) {
  switch (level) {
    case Level::debug: return "debug";
    case Level::info: return "info";
    case Level::warning: return "warning";
    case Level::error: return "error";
  }
  return "error";
}

Line::Line(Level level, std::string_view text) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char stamp[48];
  const auto length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
  line_.assign(stamp, length);
  std::snprintf(stamp, sizeof stamp, ".%03ldZ ", now.tv_nsec / 1'000'000);
  line_ += stamp;
  line_ += to_string(level);
  line_ += ' ';
  line_ += text;
}

void Line::add(std::string_view key, std::string_view value) {
  line_ += ' ';
  line_ += key;
  line_ += '=';
  if (needs_quotes(value)) append_quoted(line_, value);
  else line_ += value;
}

void Line::write() {
  line_ += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line_.data(), line_.size());
}

}  // namespace istmo::log
