#include "dataplane/io/buffer.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <vector>

#include "base/rng.h"
#include "dataplane/io/block_pool.h"

using namespace istmo;
using namespace istmo::io;

namespace {

std::string random_text(Rng& rng, uint64_t bytes_max) {
  std::string text(rng.between(1, bytes_max), ' ');
  for (char& c : text) c = static_cast<char>('a' + rng.below(26));
  return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(buffer)

BOOST_AUTO_TEST_CASE(shared_slices_see_the_same_octets) {
  const Slice whole = Slice::copy_of("hello world");
  Slice part = whole.share(6, 5);
  BOOST_TEST(text_of(part.bytes()) == "world");
  part.drop_front(2);
  part.truncate(2);
  BOOST_TEST(text_of(part.bytes()) == "rl");
  BOOST_TEST(part.data() == whole.data() + 8);
  BOOST_TEST(part.pinned_bytes() == 11U);
}

BOOST_AUTO_TEST_CASE(slice_grows_over_written_room) {
  Slice slice = Slice::allocate(10);
  slice.truncate(0);
  BOOST_TEST(slice.room() == 10U);
  slice.mutable_data()[0] = 'x';
  slice.extend(1);
  BOOST_TEST(text_of(slice.bytes()) == "x");
  BOOST_TEST(slice.room() == 9U);
}

BOOST_AUTO_TEST_CASE(chain_of_one_word_moves_and_empties) {
  Chain from = Chain::copy_of("word");
  Chain to = std::move(from);
  BOOST_TEST(from.empty());
  BOOST_TEST(to.to_string() == "word");
  to.append(Slice());
  BOOST_TEST(to.slice_count() == 1U);
}

// What waits may come in single octets, each in a receive block of its own, or in any other sizes.
BOOST_AUTO_TEST_CASE(octets_that_wait_take_about_twice_their_storage) {
  constexpr uint64_t kBlockBytes = 8 * 1024;
  for (const uint64_t largest : {uint64_t{1}, uint64_t{700}, uint64_t{5000}, kBlockBytes}) {
    Rng rng(largest);
    Chain waiting;
    std::string expected;
    while (expected.size() < 256 * 1024) {
      Slice received = Slice::allocate(kBlockBytes);
      received.truncate(static_cast<uint32_t>(rng.between(1, largest)));
      std::fill_n(received.mutable_data(), received.size(), static_cast<uint8_t>(rng.next()));
      expected += text_of(received.bytes());
      waiting.append_compacted(Chain(std::move(received)));
      if (rng.chance(10'000)) {
        const uint64_t gone = std::min(waiting.size(), rng.between(1, 2 * largest));
        waiting.drop_front(gone);
        expected.erase(0, gone);
      }
      const uint64_t cells = waiting.slice_count() * sizeof(Slice);
      BOOST_REQUIRE(waiting.pinned_bytes() + cells <= 2 * waiting.size() + kBlockBytes);
    }
    BOOST_TEST((waiting.to_string() == expected));
  }
}

BOOST_AUTO_TEST_CASE(slices_that_fill_their_blocks_wait_without_a_copy) {
  Chain waiting = Chain::copy_of("first");
  Slice full = Slice::allocate(8 * 1024);
  const uint8_t* data = full.data();
  waiting.append_compacted(Chain(std::move(full)));
  BOOST_TEST(waiting.slice(1).data() == data);
}

// Somebody else may still write behind the end, or read what was there.
BOOST_AUTO_TEST_CASE(waiting_octets_are_not_put_behind_a_shared_slice) {
  Slice last = Slice::allocate(100);
  last.truncate(1);
  Slice other = last.share(0, 1);
  Chain waiting(std::move(last));
  waiting.append_compacted(Chain::copy_of("x"));
  other.extend(1);
  other.mutable_data()[1] = 'y';
  BOOST_TEST(waiting.to_string().substr(1) == "x");
}

// Every operation against a plain string.
BOOST_AUTO_TEST_CASE(chain_behaves_as_a_string) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    Chain chain;
    std::string model;
    for (int step = 0; step < 200; ++step) {
      const uint64_t cut = model.empty() ? 0 : rng.between(0, model.size());
      switch (rng.below(8)) {
        case 0:
        case 1: {
          const std::string text = random_text(rng, 40);
          chain.append(Slice::copy_of(text));
          model += text;
          break;
        }
        case 2: {
          const std::string text = random_text(rng, 10);
          chain.prepend(Slice::copy_of(text));
          model.insert(0, text);
          break;
        }
        case 3:
          chain.drop_front(cut);
          model.erase(0, cut);
          break;
        case 4: {
          Chain taken = chain.take_front(cut);
          BOOST_REQUIRE(taken.to_string() == model.substr(0, cut));
          model.erase(0, cut);
          if (rng.chance(500'000)) {
            model += taken.to_string();
            chain.append(std::move(taken));
          }
          break;
        }
        case 5: {
          const auto count = static_cast<uint32_t>(std::min<uint64_t>(cut, 30));
          BOOST_REQUIRE(text_of(chain.make_contiguous(count)) == model.substr(0, count));
          break;
        }
        case 6: {
          std::array<uint8_t, 25> out{};
          const size_t copied = chain.copy_out(cut, out);
          BOOST_REQUIRE(text_of({out.data(), copied}) == model.substr(cut, 25));
          break;
        }
        case 7: {
          std::array<iovec, 3> parts{};
          uint64_t bytes = 0;
          const size_t count = chain.gather(parts, 50, bytes);
          std::string gathered;
          for (size_t i = 0; i < count; ++i) {
            gathered.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
          }
          BOOST_REQUIRE(gathered.size() == bytes);
          BOOST_REQUIRE(bytes <= 50);
          BOOST_REQUIRE(gathered == model.substr(0, bytes));
          BOOST_REQUIRE((bytes > 0 || model.empty()));
          break;
        }
      }
      BOOST_REQUIRE(chain.size() == model.size());
      BOOST_REQUIRE(chain.to_string() == model);
      if (rng.chance(50'000)) {
        Chain moved = std::move(chain);
        chain = std::move(moved);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(gather_merges_neighbouring_memory) {
  const Slice whole = Slice::copy_of("0123456789");
  Chain chain;
  chain.append(whole.share(0, 4));
  chain.append(whole.share(4, 6));
  std::array<iovec, 4> parts{};
  uint64_t bytes = 0;
  BOOST_TEST(chain.gather(parts, 100, bytes) == 1U);
  BOOST_TEST(bytes == 10U);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(block_pool)

BOOST_AUTO_TEST_CASE(pool_grows_when_low_and_copies_at_its_maximum) {
  BlockPool pool({.block_bytes = 512, .block_count = 8, .block_count_max = 16});
  BOOST_TEST(pool.total() == 8U);
  std::vector<Slice> held;
  for (int i = 0; i < 40; ++i) {
    BOOST_TEST_REQUIRE(pool.has_ready());  // however many are held
    const uint32_t id = pool.take();
    pool.data_of(id)[0] = static_cast<uint8_t>(i);
    held.push_back(pool.filled(id, 1));
    BOOST_TEST(held.back().data()[0] == i);
  }
  BOOST_TEST(pool.total() == 16U);
  BOOST_TEST(pool.use().lent == 12U);
  BOOST_TEST(pool.use().copied == 28U);
  for (int i = 0; i < 40; ++i) BOOST_TEST(held[static_cast<size_t>(i)].data()[0] == i);
  BOOST_TEST(pool.free_count() >= 4U);
  held.clear();
  BOOST_TEST(pool.free_count() == 16U);
  BOOST_TEST(pool.use().lent == 0U);
}

BOOST_AUTO_TEST_CASE(trim_gives_a_drained_chunk_back) {
  BlockPool pool({.block_bytes = 4096, .block_count = 8, .block_count_max = 32});
  std::vector<Slice> held;
  while (pool.total() < 32) held.push_back(pool.filled(pool.take(), 100));
  pool.trim();
  BOOST_TEST(pool.total() == 32U);  // in use
  const uint32_t in_kernel = pool.take();
  held.clear();
  for (int i = 0; i < 5; ++i) pool.trim();
  BOOST_TEST(pool.total() == 8U);
  BOOST_TEST(!pool.is_grown());
  // A block that was out during the trim is parked when it comes back.
  const Slice late = pool.filled(in_kernel, 10);
  BOOST_TEST(late.size() == 10U);
  BOOST_TEST(pool.free_count() <= 8U);
}

BOOST_AUTO_TEST_CASE(no_block_is_ever_given_out_twice) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    BlockPool pool({.block_bytes = 64, .block_count = 4, .block_count_max = 20});
    std::vector<uint32_t> taken;
    std::vector<std::pair<Slice, uint8_t>> held;
    for (int step = 0; step < 500; ++step) {
      switch (rng.below(5)) {
        case 0:
        case 1:
          if (pool.has_ready()) taken.push_back(pool.take());
          break;
        case 2:
          if (!taken.empty()) {
            const uint32_t id = taken.back();
            taken.pop_back();
            const auto mark = static_cast<uint8_t>(rng.below(256));
            pool.data_of(id)[0] = mark;
            held.emplace_back(pool.filled(id, 1), mark);
          }
          break;
        case 3:
          if (!held.empty()) held.erase(held.begin() + static_cast<long>(rng.below(held.size())));
          break;
        case 4:
          if (rng.chance(300'000)) pool.trim();
          else if (!taken.empty() && rng.chance(300'000)) {
            pool.put_back(taken.back());
            taken.pop_back();
          }
          break;
      }
      std::vector<uint32_t> sorted = taken;
      std::ranges::sort(sorted);
      BOOST_REQUIRE(std::ranges::adjacent_find(sorted) == sorted.end());
      for (const auto& [slice, mark] : held) BOOST_REQUIRE(slice.data()[0] == mark);
      BOOST_REQUIRE(pool.free_count() > 0);  // or receiving could come to a stop
    }
    for (const uint32_t id : taken) pool.put_back(id);
    held.clear();
    BOOST_REQUIRE(pool.free_count() == pool.total());
  }
}

BOOST_AUTO_TEST_SUITE_END()
