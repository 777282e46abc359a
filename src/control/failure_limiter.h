// How often a source may fail: counts per source and over all, in windows of a minute.
//
// Owned by a server, on its thread. Bounded: the source whose window is oldest is forgotten first.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/clock.h"

namespace istmo::control {

struct FailureLimits {
  uint32_t per_source_max = 10;  // then refused; at twice as many dropped
  uint32_t total_max = 300;      // then one failure is all that a source may have
  uint32_t sources_max = 4096;
  Duration window = Duration::seconds(60);
};

class FailureLimiter {
 public:
  enum class Verdict : uint8_t { allowed, refused, dropped };
  explicit FailureLimiter(const FailureLimits& limits) : limits_(limits) {}

  Verdict judge(const std::string& source, Instant now);
  void on_failure(const std::string& source, Instant now);

 private:
  struct Window {
    Instant start;
    uint32_t failures = 0;
  };
  void forget_oldest();
  uint32_t failures(const Window& window, Instant now) const;
  void count(Window& window, Instant now) const;

  FailureLimits limits_;
  Window total_;
  std::map<std::string, Window> sources_;
};

}  // namespace istmo::control
