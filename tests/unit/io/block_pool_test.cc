#include "dataplane/io/block_pool.h"

#include <boost/test/unit_test.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

using namespace istmo::io;

namespace {

constexpr LoopOptions kOptions{.block_bytes = 4096, .block_count = 8, .block_count_max = 64};

// What a kernel does between taking a block and telling so.
void fill(BlockPool& pool, uint32_t id) {
  std::memset(pool.data_of(id), static_cast<int>(id + 1), pool.block_bytes());
}

// Slices of blocks until the pool has grown to its maximum.
Chain grow_fully(BlockPool& pool) {
  Chain held;
  while (pool.total() < pool.total_max()) {
    const uint32_t id = pool.take();
    fill(pool, id);
    held.append(pool.filled(id, pool.block_bytes()));
  }
  return held;
}

std::vector<uint32_t> take_all(BlockPool& pool) {
  std::vector<uint32_t> taken;
  while (pool.has_ready()) taken.push_back(pool.take());
  return taken;
}

void trim_fully(BlockPool& pool) {
  while (pool.is_grown()) {
    const uint32_t before = pool.total();
    pool.trim();
    BOOST_TEST_REQUIRE(pool.total() < before);
  }
}

bool is_resident(BlockPool& pool, uint32_t id) {
  unsigned char pages[1] = {};
  mincore(pool.data_of(id), pool.block_bytes(), pages);
  return pages[0] & 1;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(block_pool)

// The completion of a filled block may wait in a queue while the pool is trimmed.
BOOST_AUTO_TEST_CASE(trim_keeps_what_the_kernel_wrote_into_taken_blocks) {
  BlockPool pool(kOptions);
  Chain held = grow_fully(pool);
  const std::vector<uint32_t> taken = take_all(pool);
  BOOST_TEST_REQUIRE(std::ranges::max(taken) >= 8U);
  held.clear();
  for (const uint32_t id : taken) fill(pool, id);
  trim_fully(pool);
  for (const uint32_t id : taken) {
    const Slice slice = pool.filled(id, pool.block_bytes());
    const auto expected = static_cast<uint8_t>(id + 1);
    BOOST_TEST(std::ranges::count(slice.bytes(), expected) == pool.block_bytes());
  }
}

BOOST_AUTO_TEST_CASE(trim_gives_the_memory_of_parked_blocks_back) {
  BlockPool pool(kOptions);
  Chain held = grow_fully(pool);
  const std::vector<uint32_t> taken = take_all(pool);
  for (const uint32_t id : taken) fill(pool, id);
  held.clear();
  trim_fully(pool);
  for (const uint32_t id : taken) pool.put_back(id);
  for (uint32_t id = pool.total(); id < pool.total_max(); ++id) {
    BOOST_TEST(!is_resident(pool, id), "block " << id);
  }
}

BOOST_AUTO_TEST_CASE(blocks_that_share_a_page_are_not_given_back_with_their_neighbours) {
  BlockPool pool({.block_bytes = 1024, .block_count = 10, .block_count_max = 40});
  Chain held = grow_fully(pool);
  const std::vector<uint32_t> taken = take_all(pool);
  held.clear();
  for (const uint32_t id : taken) fill(pool, id);
  for (uint32_t id = 0; id < 10; ++id) fill(pool, id);
  trim_fully(pool);
  for (const uint32_t id : taken) pool.put_back(id);
  for (uint32_t id = 0; id < 10; ++id) BOOST_TEST(*pool.data_of(id) == id + 1);
}

// A block that came back to a trimmed pool serves again when the pool grows.
BOOST_AUTO_TEST_CASE(trimmed_blocks_come_back_when_the_pool_grows) {
  BlockPool pool(kOptions);
  for (int round = 0; round < 3; ++round) {
    Chain held = grow_fully(pool);
    BOOST_TEST(pool.free_count() + held.slice_count() == pool.total());
    held.clear();
    trim_fully(pool);
    BOOST_TEST(pool.free_count() == pool.total());
  }
}

BOOST_AUTO_TEST_SUITE_END()
