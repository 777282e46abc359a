// Limits of links: what linked sites and programs can make a site hold, and for how long.
#include <boost/test/unit_test.hpp>

#include "link_program.h"
#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;

// A world in which west dials east, and one more host whose programs have certificates too.
struct Stage {
  explicit Stage(uint64_t seed, uint32_t west_workers = 1, uint32_t east_workers = 1)
      : world(seed,
              {.west_workers = west_workers, .east_workers = east_workers, .east_dials = false}) {
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

BOOST_AUTO_TEST_CASE(attached_streams_count_as_open_until_they_are_used_or_time_is_up) {
  Stage stage(2);
  LinkProgram hostile(stage.loop, "mallory", transport::TlsRole::client);
  hostile.connect(stage.east_links);
  hostile.greet({codec::kByteCreditCapability});
  for (uint32_t handle = 0; handle < 200; ++handle) {
    if (handle % 2 == 0) hostile.attach_sender(handle, "service");
    else hostile.attach_receiver(handle);
  }
  const auto has_hundred = [&] { return stage.east.process().streams_open.value() == 100; };
  BOOST_TEST(stage.until(has_hundred));
  BOOST_TEST(stage.east.streams_open() == 100u);
  BOOST_TEST(!stage.until([&] { return stage.east.streams_open() < 100; }, Duration::seconds(9)));
  BOOST_TEST(stage.until([&] { return stage.east.streams_open() == 0; }, Duration::seconds(2)));
  BOOST_TEST(stage.east.process().streams_open.value() == 0);
  BOOST_TEST(stage.east.closed(CloseReason::idle_timeout) == 200u);
  BOOST_TEST(!hostile.is_closed());
  // What is attached when the link ends is forgotten with it.
  for (uint32_t handle = 200; handle < 300; ++handle) hostile.attach_sender(handle, "service");
  BOOST_TEST(stage.until(has_hundred));
  stage.end(hostile);
  BOOST_TEST(stage.until([&] { return stage.east.process().streams_open.value() == 0; }));
  stage.world.finish();
}

BOOST_AUTO_TEST_CASE(attach_beyond_the_streams_of_the_process_is_refused) {
  Stage stage(3);
  stage.east.config.limits.streams_max = 50;
  stage.world.publish(stage.east);
  LinkProgram program(stage.loop, "mallory", transport::TlsRole::client);
  program.connect(stage.east_links);
  program.greet({});
  for (uint32_t handle = 0; handle < 80; ++handle) program.attach_sender(handle, "service");
  BOOST_TEST(stage.until([&] { return program.count(codec::Detach::kCode) == 30u; }));
  BOOST_TEST(stage.east.closed(CloseReason::connections_limit) == 30u);
  // A client of the other site finds no room either, until the program leaves.
  const Exchange& refused = stage.world.start({.bytes = 10}, {.bytes = 10});
  BOOST_TEST(stage.until([&] { return refused.client->is_done(); }));
  BOOST_TEST(refused.client->was_reset());
  stage.end(program);
  const Exchange& next = stage.world.start({.bytes = 10}, {.bytes = 10});
  BOOST_TEST(stage.until([&] { return next.client->is_done(); }));
  check_complete(next);
  stage.world.finish();
}

BOOST_AUTO_TEST_CASE(one_attach_to_the_mesh_is_enough) {
  Stage stage(4);
  LinkProgram hostile(stage.loop, "mallory", transport::TlsRole::client);
  hostile.connect(stage.east_links);
  hostile.greet({codec::kByteCreditCapability});
  for (uint32_t handle = 0; handle < 20; ++handle) hostile.attach_sender(handle, "$istmo/mesh");
  BOOST_TEST(stage.until([&] { return hostile.count(codec::Detach::kCode) == 19u; }));
  // Later, when the first one was ended, another one may come.
  BOOST_TEST(stage.until([&] { return hostile.count(codec::Detach::kCode) == 20u; }));
  const size_t attaches = hostile.count(codec::Attach::kCode);
  hostile.attach_sender(20, "$istmo/mesh");
  BOOST_TEST(stage.until([&] { return hostile.count(codec::Attach::kCode) > attaches; }));
  BOOST_TEST(hostile.count(codec::Detach::kCode) == 20u);
  stage.end(hostile);
  stage.world.finish();
}

// Over all workers together, wherever the connections come out.
BOOST_AUTO_TEST_CASE(connections_of_one_site_are_bounded_and_others_are_not_concerned) {
  constexpr uint32_t kMost = 32;
  Stage stage(5, 3, 4);
  const uint32_t linked = stage.east.links_open();
  std::vector<std::unique_ptr<LinkProgram>> programs;
  const auto add = [&](const std::string& site) -> LinkProgram& {
    auto& added = programs.emplace_back(
        std::make_unique<LinkProgram>(stage.loop, site, transport::TlsRole::client));
    added->connect(stage.east_links);
    added->greet({});
    return *added;
  };
  for (uint32_t i = 0; i < kMost; ++i) add("mallory");
  BOOST_TEST(stage.until([&] { return stage.east.links_open() == linked + kMost; }));
  for (int i = 0; i < 8; ++i) {
    const LinkProgram& refused = add("mallory");
    BOOST_TEST(stage.until([&] { return refused.is_closed(); }));
    BOOST_TEST(refused.count(codec::Close::kCode) == 1u);
  }
  BOOST_TEST(stage.east.closed(CloseReason::connections_limit) == 8u);
  add("mandy");
  BOOST_TEST(stage.until([&] { return stage.east.links_open() == linked + kMost + 1; }));
  // One goes, one may come.
  stage.end(*programs.front());
  BOOST_TEST(stage.until([&] { return stage.east.links_open() == linked + kMost; }));
  add("mallory");
  BOOST_TEST(stage.until([&] { return stage.east.links_open() == linked + kMost + 1; }));
  for (auto& program : programs) stage.end(*program);
  stage.world.finish();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
