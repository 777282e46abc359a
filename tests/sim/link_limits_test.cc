// Limits of links: what linked sites and programs can make a site hold, and for how long.
#include <boost/test/unit_test.hpp>

#include "link_program.h"
#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;

// A world in which west dials east, and one more host whose programs have certificates too.
struct Stage {
  explicit Stage(uint64_t seed)
      : world(seed, {.west_workers = 1, .east_workers = 1, .east_dials = false}) {
    BOOST_TEST(world.until_linked());
  }
  // Nothing of World's checkers: programs make the site hold what no exchange of the world does.
  template <class Predicate>
  bool until(Predicate&& predicate, Duration limit = Duration::seconds(30)) {
    return world.network.run_until(predicate, limit);
  }
  void end(LinkProgram& program) {
    program.end();
    BOOST_TEST(until([&] { return program.is_closed(); }));
  }

  World world;
  io::SimHost host = world.network.add_host({"10.3.0.1"});
  io::SimLoop loop{world.network, host};
  Site& east = world.east();
  const io::Address east_links = address("10.0.0.2:55671");
};

// The beginning of message-annotations of 100,000 octets.
std::string incomplete_head(uint32_t size) {
  return std::string("\0\x53\x72\xd1\0\x01\x86\xa0", 8) + std::string(size - 8, 'x');
}

}  // namespace

BOOST_AUTO_TEST_SUITE(link_limits)

BOOST_AUTO_TEST_CASE(incomplete_heads_count_as_buffered_and_are_refused_beyond_a_bound) {
  Stage stage(1);
  LinkProgram hostile(stage.loop, "mallory", transport::TlsRole::client);
  hostile.connect(stage.east_links);
  hostile.greet({codec::kByteCreditCapability});
  for (uint32_t handle = 0; handle < 30; ++handle) hostile.attach_sender(handle, "service");
  BOOST_TEST(stage.until([&] { return hostile.count(codec::Attach::kCode) == 30u; }));
  for (uint32_t handle = 0; handle < 30; ++handle) {
    hostile.send(codec::Transfer{.handle = handle, .delivery_id = handle, .more = true},
                 incomplete_head(60'000));
    hostile.send(codec::Transfer{.handle = handle, .more = true}, std::string(35'000, 'x'));
  }
  BOOST_TEST(stage.until([&] { return stage.east.closed(CloseReason::memory_limit) == 20u; }));
  BOOST_TEST(stage.east.buffered_bytes() >= 10 * 95'000u);
  BOOST_TEST(stage.east.buffered_bytes() <= 1024u * 1024);
  BOOST_TEST(!hostile.is_closed());
  stage.end(hostile);
  BOOST_TEST(stage.until([&] { return stage.east.buffered_bytes() == 0; }));
  stage.world.finish();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
