#include "control/failure_limiter.h"

#include <algorithm>

namespace istmo::control {

uint32_t FailureLimiter::failures(const Window& window, Instant now) const {
  return now - window.start < limits_.window ? window.failures : 0;
}

FailureLimiter::Verdict FailureLimiter::judge(const std::string& source, Instant now) {
  const auto found = sources_.find(source);
  const uint32_t own = found == sources_.end() ? 0 : failures(found->second, now);
  const bool is_crowded = failures(total_, now) >= limits_.total_max;
  const uint32_t allowed = is_crowded ? 1 : limits_.per_source_max;
  if (own < allowed) return Verdict::allowed;
  return own < 2 * limits_.per_source_max ? Verdict::refused : Verdict::dropped;
}

void FailureLimiter::count(Window& window, Instant now) const {
  if (failures(window, now) == 0) window = {.start = now, .failures = 0};
  ++window.failures;
}

void FailureLimiter::on_failure(const std::string& source, Instant now) {
  count(total_, now);
  if (!sources_.contains(source) && sources_.size() >= limits_.sources_max) forget_oldest();
  count(sources_[source], now);
}

void FailureLimiter::forget_oldest() {
  const auto oldest =
      std::ranges::min_element(sources_, {}, [](const auto& entry) { return entry.second.start; });
  if (oldest != sources_.end()) sources_.erase(oldest);
}

}  // namespace istmo::control
