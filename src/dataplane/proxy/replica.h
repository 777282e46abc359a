// One process of a site. A site in a cluster may run as several replicas of its gateway: each one
// links by itself, and together they are the site.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace istmo::proxy {

// Of one neighbour, that are told from each other.
inline constexpr uint32_t kReplicasMax = 16;

struct Replica {
  std::string site_id;
  std::string id;  // made when the process begins; empty: an older version, or no Istmo site
  friend auto operator<=>(const Replica&, const Replica&) = default;
};

}  // namespace istmo::proxy
