// A small, fast, seedable generator (xoshiro256**) for balancing, jitter and simulation.
// Never for secrets: those come from OpenSSL (src/control/pki).
#pragma once

#include <array>
#include <cstdint>

namespace istmo {

class Rng {
 public:
  explicit Rng(uint64_t seed) {
    for (auto& word : state_) {  // splitmix64, the seeding that xoshiro's authors advise
      seed += 0x9e3779b97f4a7c15;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }

  uint64_t next() {
    const uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate_left(state_[3], 45);
    return result;
  }

  // A number in [0, bound). bound > 0.
  uint64_t below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
  }

  // A number in [low, high].
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }

  // True with probability parts_per_million / 1e6.
  bool chance(uint32_t parts_per_million) { return below(1'000'000) < parts_per_million; }

 private:
  __extension__ using Wide = unsigned __int128;
  static uint64_t rotate_left(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  std::array<uint64_t, 4> state_;
};

}  // namespace istmo
