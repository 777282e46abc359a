// The soak of loop_suite.h: what no single case thinks of.
#include <boost/test/unit_test.hpp>

#include <algorithm>

#include "loop_suite.h"

namespace istmo::io::suite {
namespace {

// A connection whose ends both send a checked stream while they pause at random and hold slices.
class SoakPair {
 public:
  SoakPair(Loop& loop, uint64_t seed, uint64_t bytes)
      : pair_(loop), rng_(seed), seed_(seed), bytes_(bytes) {
    arrange(pair_.client, sides_[0], 0);
    arrange(pair_.server, sides_[1], 1);
  }

  bool has_ended() const {
    return pair_.client.receive_result == 0 && pair_.server.receive_result == 0;
  }
  // Every octet came, at both ends.
  bool is_complete() const { return sides_[0].checked == bytes_ && sides_[1].checked == bytes_; }

  // One step of mischief.
  void step() {
    act(pair_.client, sides_[0], 0);
    act(pair_.server, sides_[1], 1);
  }

 private:
  struct Side {
    uint64_t queued = 0;
    uint64_t checked = 0;
    Chain held;
    bool is_finished = false;
  };

  void arrange(End& end, Side& side, uint64_t number) {
    // It receives what the other side sends.
    const uint64_t stream = seed_ * 2 + (1 - number);
    end.checker = [this, &side, stream](const Chain& bytes) {
      BOOST_REQUIRE(matches_pattern(bytes, stream, side.checked));
      side.checked += bytes.size();
      for (uint32_t i = 0; i < bytes.slice_count(); ++i) {
        if (rng_.chance(300'000)) side.held.append(bytes.slice(i).share(0, bytes.slice(i).size()));
      }
    };
    end.start_receiving();
  }

  void act(End& end, Side& side, uint64_t number) {
    if (side.queued < bytes_ && end.to_send.size() < 512 * 1024 && rng_.chance(500'000)) {
      const uint64_t most = rng_.chance(200'000) ? 60'000 : 3'000;
      const uint64_t bytes = std::min(bytes_ - side.queued, rng_.between(1, most));
      end.queue(pattern(seed_ * 2 + number, side.queued, static_cast<uint32_t>(bytes)));
      side.queued += bytes;
    }
    if (side.queued == bytes_ && !side.is_finished) {
      side.is_finished = true;
      end.finish_sending();
    }
    if (end.is_receiving() && rng_.chance(50'000)) end.pause();
    else if (!end.is_receiving() && end.receive_result != 0 && rng_.chance(300'000)) {
      BOOST_REQUIRE(end.receive_result == -ECANCELED);
      end.start_receiving();
    }
    if (rng_.chance(100'000)) side.held.clear();
  }

  Pair pair_;
  Rng rng_;
  const uint64_t seed_;
  const uint64_t bytes_;
  Side sides_[2];
};

}  // namespace

void soak(const LoopFactory& make, const SoakOptions& options) {
  // Few blocks, so that they run out.
  const auto loop = make({.block_bytes = 2048, .block_count = 32, .block_count_max = 64});
  std::vector<std::unique_ptr<SoakPair>> pairs;
  for (uint32_t i = 0; i < options.connections; ++i) {
    pairs.push_back(std::make_unique<SoakPair>(*loop, options.seed * 1000 + i,
                                               options.bytes_per_connection / 2));
  }
  const Instant deadline = loop->now() + Duration::seconds(100);
  while (!std::ranges::all_of(pairs, [](auto& pair) { return pair->has_ended(); })) {
    BOOST_TEST_REQUIRE((loop->now() < deadline));
    for (auto& pair : pairs) pair->step();
    loop->run_turn(Duration{});
  }
  BOOST_TEST(std::ranges::all_of(pairs, [](auto& pair) { return pair->is_complete(); }));
  const uint64_t starvations = loop->metrics().starvations.value();
  BOOST_TEST_MESSAGE("turns " << loop->metrics().turns.value() << ", starvations " << starvations
                              << ", copies " << loop->block_use().copied);
  // Blocks ran out: the loop had none to lend, and with io_uring the kernel found none either.
  BOOST_TEST(loop->block_use().copied > 0u);
  if (loop->kind() == LoopKind::uring) BOOST_TEST(starvations > 0u);
  pairs.clear();
  BOOST_TEST(loop->block_use().lent == 0u);
}

}  // namespace istmo::io::suite
