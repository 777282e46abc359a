// How many links each neighbour has made to this process, exact over all workers and without a
// lock: a table of counters by site, to which a site is added and never taken out. Sites are few,
// because each has a certificate. Those that find no place share a counter.
//
// Owned by ProcessState.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

#include "base/metrics.h"

namespace istmo::proxy {

class SiteConnections {
 public:
  static constexpr size_t kSitesMax = 1024;

  Gauge& of(std::string_view site_id) {
    const uint64_t name = std::hash<std::string_view>()(site_id) | 1;  // 0: the place is free
    for (size_t i = 0; i < kSitesMax; ++i) {
      Place& place = places_[(name / 2 + i) % kSitesMax];
      uint64_t found = place.name.load(std::memory_order_relaxed);
      if (found == 0) place.name.compare_exchange_strong(found, name, std::memory_order_relaxed);
      if (found == name || found == 0) return place.open;
    }
    return others_;
  }

 private:
  struct Place {
    std::atomic<uint64_t> name{0};  // a hash: two sites of one hash would share a counter, too
    Gauge open;
  };
  std::array<Place, kSitesMax> places_;
  Gauge others_;
};

}  // namespace istmo::proxy
