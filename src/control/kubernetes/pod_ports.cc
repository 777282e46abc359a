#include "control/kubernetes/pod_ports.h"

#include <string_view>

namespace istmo::control {
namespace {

constexpr uint32_t kCount = PodPorts::kLast - PodPorts::kFirst + 1;

// FNV-1a, 32 bits: the same on every machine.
uint32_t hash_of(const ServicePlace& place) {
  uint32_t hash = 0x811c9dc5;
  for (const char c : place.host + ":" + std::to_string(place.port)) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x01000193;
  }
  return hash;
}

}  // namespace

bool PodPorts::learn(const ServicePlace& place, uint16_t port) {
  if (port < kFirst || port > kLast) return false;
  learned_[place] = port;
  const auto known = ports_.find(place);
  if (known == ports_.end() || known->second == port) return false;
  if (!taken_.insert(port).second) {  // whoever has it gets another one
    std::erase_if(ports_, [&](const auto& entry) { return entry.second == port; });
  }
  taken_.erase(known->second);
  known->second = port;
  return true;
}

void PodPorts::forget(const std::string& host) {
  std::erase_if(learned_, [&](const auto& entry) { return entry.first.host == host; });
}

void PodPorts::assign(const std::set<ServicePlace>& places) {
  std::erase_if(ports_, [&](const auto& entry) {
    if (places.contains(entry.first)) return false;
    taken_.erase(entry.second);
    return true;
  });
  for (const auto& [place, port] : learned_) {
    if (!places.contains(place) || ports_.contains(place)) continue;
    if (taken_.insert(port).second) ports_[place] = port;
  }
  for (const ServicePlace& place : places) {
    if (ports_.contains(place) || taken_.size() >= kCount) continue;
    uint32_t offset = hash_of(place) % kCount;
    while (!taken_.insert(static_cast<uint16_t>(kFirst + offset)).second) {
      offset = (offset + 1) % kCount;
    }
    ports_[place] = static_cast<uint16_t>(kFirst + offset);
  }
}

}  // namespace istmo::control
