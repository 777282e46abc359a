// Which of several places gets the next exchange: the one with the fewest open streams, ties
// spread at random. And in which order the routing keys of a listener are tried. Pure but for the
// generator.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::proxy {

struct Candidate {
  uint32_t streams_open = 0;
  bool is_usable = true;  // not tried yet and not set aside
};

// nullopt when no candidate is usable.
std::optional<size_t> pick_fewest_streams(std::span<const Candidate> candidates, Rng& rng);

// The keys of one exchange, the preferred first. By weight: each is the first of any set of them
// in proportion to its weight, so it does not matter which ones turn out to be reachable.
std::vector<std::string> order_keys(const KeyChoice& choice, Rng& rng);

}  // namespace istmo::proxy
