#include "dataplane/transport/tcp_transport.h"

#include <boost/test/unit_test.hpp>

#include "world.h"

using namespace istmo;
using namespace istmo::test;

namespace {

// Lends blocks of 8 KiB and counts those that are out.
struct CountingPool final : io::BlockOwner {
  io::Slice slice(uint32_t size) {
    auto& block = blocks.emplace_back(std::make_unique<io::Block>());
    block->data = octets.data();
    block->size = static_cast<uint32_t>(octets.size());
    block->references = 1;
    block->owner = this;
    ++lent;
    return {*block, 0, size};
  }
  void release(io::Block&) override { --lent; }

  std::vector<uint8_t> octets = std::vector<uint8_t>(8 * 1024, 'x');
  std::vector<std::unique_ptr<io::Block>> blocks;
  int lent = 0;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(tcp_transport)

BOOST_AUTO_TEST_CASE(small_slices_that_wait_give_their_blocks_back) {
  for (const auto& world : make_worlds()) {
    BOOST_TEST_CONTEXT(world->name()) {
      CountingPool pool;
      Connection pair(*world, Wire::tcp);
      pair.east.transport->pause_receive();
      const size_t clog_bytes = 24 * 1024 * 1024;
      pair.west.send(std::string(clog_bytes, 'c'));
      BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.west.drained > 0; }));
      world->run_turns(2);
      pair.west.transport->send(io::Chain(pool.slice(100)));
      BOOST_TEST(pool.lent == 0);
      pair.west.transport->send(io::Chain(pool.slice(8192)));  // fills its block
      BOOST_TEST(pool.lent == 1);
      pair.east.transport->resume_receive();
      const size_t total = clog_bytes + 8292;
      BOOST_TEST(pair.run_until([&] { return pair.east.received.size() == total; }));
      BOOST_TEST(pair.east.received.ends_with("c" + std::string(8292, 'x')));
      BOOST_TEST(pool.lent == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(abort_while_closing_counts) {
  for (const auto& world : make_worlds()) {
    BOOST_TEST_CONTEXT(world->name()) {
      Connection pair(*world, Wire::tcp);
      BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.east.is_open; }));
      pair.west.close();
      pair.west.abort();
      BOOST_TEST(pair.run_until([&] { return pair.both_closed(); }));
      BOOST_TEST((pair.east.closed_as->error_class() == ErrorClass::reset));
    }
  }
}

BOOST_AUTO_TEST_CASE(orderly_close_of_an_idle_connection_is_an_end_at_the_other_side) {
  for (const auto& world : make_worlds()) {
    BOOST_TEST_CONTEXT(world->name()) {
      Connection pair(*world, Wire::tcp);
      pair.west.close();
      BOOST_TEST(pair.run_until([&] { return pair.east.has_ended; }));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
