#include "control/failure_limiter.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

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

std::string source_of(const io::Address& address) {
  if (address.family() != AF_INET6) return address.host();
  sockaddr_in6 full;
  std::memcpy(&full, address.raw(), sizeof full);
  const uint8_t* octets = full.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&full.sin6_addr)) {
    sockaddr_in mapped{};
    mapped.sin_family = AF_INET;
    std::memcpy(&mapped.sin_addr, octets + 12, 4);
    return io::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&mapped), sizeof mapped)
        .host();
  }
  std::memset(full.sin6_addr.s6_addr + 8, 0, 8);  // one customer has a /64 at least
  full.sin6_scope_id = 0;
  return io::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&full), sizeof full).host() +
         "/64";
}

}  // namespace istmo::control
