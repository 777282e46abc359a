#include "dataplane/proxy/balancer.h"

#include <algorithm>
#include <cmath>

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

// By weight: the smallest of exponential variates, each with its weight as the rate, is each one's
// in proportion to the weights (Efraimidis and Spirakis, 2006).
std::vector<std::string> order_keys(const KeyChoice& choice, Rng& rng) {
  std::vector<std::string> order;
  if (choice.by == KeyChoice::By::priority) {
    for (const KeyChoice::Key& key : choice.keys) order.push_back(key.key);
    return order;
  }
  constexpr double kSteps = 9007199254740992.0;  // 2^53: what a double counts exactly
  std::vector<std::pair<double, const std::string*>> drawn;
  for (const KeyChoice::Key& key : choice.keys) {
    if (key.weight == 0) continue;
    const double chance = (static_cast<double>(rng.next() >> 11) + 1) / kSteps;  // in (0, 1]
    drawn.emplace_back(-std::log(chance) / key.weight, &key.key);
  }
  std::ranges::sort(drawn);
  for (const auto& [when, key] : drawn) order.push_back(*key);
  return order;
}

}  // namespace istmo::proxy
