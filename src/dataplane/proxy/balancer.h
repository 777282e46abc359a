// Which of several places gets the next exchange: the one with the fewest open streams, ties
// spread at random. Pure: candidates in, index out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/rng.h"

namespace istmo::proxy {

struct Candidate {
  uint32_t streams_open = 0;
  bool is_usable = true;  // not tried yet and not set aside
};

// nullopt when no candidate is usable.
std::optional<size_t> pick_fewest_streams(std::span<const Candidate> candidates, Rng& rng);

}  // namespace istmo::proxy
