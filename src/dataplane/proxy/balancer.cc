#include "dataplane/proxy/balancer.h"

namespace istmo::proxy {

std::optional<size_t> pick_fewest_streams(std::span<const Candidate> candidates, Rng& rng) {
  std::optional<size_t> best;
  uint64_t ties = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!candidates[i].is_usable) continue;
    if (!best || candidates[i].streams_open < candidates[*best].streams_open) {
      best = i;
      ties = 1;
    } else if (candidates[i].streams_open == candidates[*best].streams_open) {
      // Reservoir sampling: each of the tied ones is kept with the same chance.
      if (rng.below(++ties) == 0) best = i;
    }
  }
  return best;
}

}  // namespace istmo::proxy
