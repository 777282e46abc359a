// Sites of several replicas: processes with one site's certificate, each with links of its own.
#include <boost/test/unit_test.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "world.h"

namespace istmo::sim {
namespace {

using proxy::Replica;

constexpr const char* kLinks = "10.0.0.2:55671";

// West, which dials or is dialed, and two replicas of east, all in one World that has nothing else.
struct ReplicaWorld {
  explicit ReplicaWorld(uint64_t seed, uint32_t west_workers, uint32_t east_workers)
      : world(seed, {.west_workers = west_workers, .east_workers = 0}),
        east{Site(world.network, world.east_host, "east", east_workers, seed + 1000, "a"),
             Site(world.network, world.east_host, "east", east_workers, seed + 2000, "b")} {
    world.network.set_path(world.west_host, world.east_host,
                           {.latency = Duration::milliseconds(2), .bytes_per_second = 25'000'000});
    world.west.config.connectors.clear();
    world.west.config.remote_services = {{.routing_key = "service", .site_id = "east"}};
    for (Site& replica : east) replica.config.connectors = {world.connector(1)};
  }
  ~ReplicaWorld() {
    for (Site& replica : east) end(replica);
    world.finish();
  }

  // As behind a Service: whoever dials its address reaches one of them by chance.
  void accept() {
    for (Site& replica : east) {
      replica.config.acceptors = {{.name = "access",
                                   .addresses = {address(kLinks)},
                                   .credentials = credentials_of("east")}};
      world.publish(replica);
    }
    world.west.config.links = {{.name = "to-east",
                                .targets = {{.host = "east", .addresses = {address(kLinks)}}},
                                .credentials = credentials_of("west")}};
    world.publish(world.west);
  }
  // Each by itself, with the same documents.
  void dial() {
    const auto at = address("10.0.0.1:55671");
    world.west.config.acceptors = {
        {.name = "access", .addresses = {at}, .credentials = credentials_of("west")}};
    world.publish(world.west);
    for (Site& replica : east) {
      replica.config.links = {{.name = "to-west",
                               .targets = {{.host = "west", .addresses = {at}}},
                               .credentials = credentials_of("east")}};
      world.publish(replica);
    }
  }
  void end(Site& replica) {
    if (!replica.is_drained()) replica.drain(Duration::seconds(1));
    until([&] { return replica.is_drained(); }, "a replica to end");
  }
  template <class Predicate>
  void until(Predicate&& predicate, const char* what, Duration limit = Duration::seconds(30)) {
    BOOST_TEST(world.until(predicate, limit), "waited in vain for " << what);
  }
  bool is_linked(const Site& replica) const {
    return world.west.meshes().contains(replica.replica()) &&
           replica.meshes().contains(world.west.replica());
  }
  void pass(int exchanges) {
    for (int i = 0; i < exchanges; ++i) world.start({.bytes = 1000}, {.bytes = 1000});
    BOOST_TEST(world.until_idle());
    world.for_each(check_complete);
  }

  World world;
  Site east[2];
};

// Two replicas of west that are linked with one another, of which only the second one is linked
// with east. A third process links with both and has no link of its own.
struct SiblingWorld {
  SiblingWorld(uint64_t seed, uint32_t workers)
      : world(seed, {.west_workers = workers,
                     .east_workers = 1 + static_cast<uint32_t>(seed % 2),
                     .east_dials = false}),
        second_host(world.network.add_host({"10.0.0.3"})),
        second(world.network, second_host, "west", workers, seed + 3000, "2") {
    for (const auto host : {world.west_host, world.east().host()}) {
      world.network.set_path(
          second_host, host,
          {.latency = Duration::milliseconds(1), .bytes_per_second = 25'000'000});
    }
    // The links of the documents are the second one's.
    second.config.links = std::exchange(world.west.config.links, {});
    second.config.remote_services = world.west.config.remote_services;
    second.config.acceptors = {{.name = "siblings",
                                .addresses = {address("10.0.0.3:55672")},
                                .credentials = credentials_of("west"),
                                .is_for_siblings = true}};
    world.west.config.links = {
        {.name = "sibling/10.0.0.3",
         .targets = {{.host = "west", .addresses = {address("10.0.0.3:55672")}}},
         .credentials = credentials_of("west"),
         .is_sibling = true}};
    world.west.config.remote_services = {
        {.routing_key = "service", .site_id = "west", .replica = "2"}};
    world.publish(second);
    world.publish(world.west);
    until([&] { return world.west.links_open() == workers; }, "the link of siblings");
    until([&] { return second.links_open() >= workers + 1; }, "all links of the second one");
  }
  ~SiblingWorld() {
    second.drain(Duration::seconds(1));
    until([&] { return second.is_drained(); }, "the second replica to end");
    world.finish();
  }
  template <class Predicate>
  void until(Predicate&& predicate, const char* what, Duration limit = Duration::seconds(30)) {
    BOOST_TEST(world.until(predicate, limit), "waited in vain for " << what);
  }

  World world;
  io::SimHost second_host;
  Site second;
};

uint32_t links_open(Site& site, const Replica& with) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < site.workers(); ++i) {
    for (const auto& link : site.worker(i).links()) {
      count += link->is_open() && link->replica() == with;
    }
  }
  return count;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(replicas)

// The connections of one link come out at different replicas, in whatever order.
BOOST_AUTO_TEST_CASE(whoever_dials_a_site_has_one_mesh_with_each_replica_that_it_reached) {
  uint32_t reached_both = 0;
  FOR_SEEDS(24, seed) {
    ReplicaWorld stage(seed, 1 + seed % 4, 1 + seed % 3);
    Site& west = stage.world.west;
    stage.accept();
    const uint32_t wanted = std::max(west.workers(), stage.east[0].workers());
    stage.until([&] { return west.links_open() == wanted; }, "the links");
    stage.world.run_for(Duration::milliseconds(100));
    uint32_t reached = 0;
    for (Site& replica : stage.east) {
      if (links_open(west, replica.replica()) == 0) continue;
      ++reached;
      BOOST_TEST(stage.is_linked(replica));
      BOOST_TEST(west.meshes().at(replica.replica()) == 1);
    }
    BOOST_TEST(west.meshes().size() == reached);
    BOOST_TEST(reached >= 1u);
    reached_both += reached == 2;
    stage.pass(20);
  }
  BOOST_TEST(reached_both > 0u);
}

BOOST_AUTO_TEST_CASE(each_replica_that_dials_has_all_its_links_and_a_mesh) {
  FOR_SEEDS(24, seed) {
    ReplicaWorld stage(seed, 1 + seed % 3, 1 + seed % 4);
    Site& west = stage.world.west;
    stage.dial();
    const uint32_t wanted = std::max(west.workers(), stage.east[0].workers());
    for (Site& replica : stage.east) {
      stage.until([&] { return replica.links_open() == wanted; }, "the links");
      stage.until([&] { return links_open(west, replica.replica()) == wanted; }, "them here");
      stage.until([&] { return stage.is_linked(replica); }, "the mesh");
    }
    stage.pass(20);
    // One of them ends: what goes on the other one does not notice.
    stage.end(stage.east[0]);
    stage.until([&] { return !west.meshes().contains(stage.east[0].replica()); },
                "its mesh to end");
    BOOST_TEST(stage.is_linked(stage.east[1]));
    stage.pass(20);
  }
}

// The connection that carries the mesh is lost, and others with that replica are not.
BOOST_AUTO_TEST_CASE(the_mesh_moves_to_a_connection_that_is_left) {
  FOR_SEEDS(12, seed) {
    ReplicaWorld stage(seed, 4, 1);
    Site& west = stage.world.west;
    stage.accept();
    stage.until([&] { return west.links_open() == 4; }, "the links");
    for (int i = 0; i < 10; ++i) {
      stage.world.run_for(Duration::milliseconds(100));
      for (const auto& link : west.worker(seed % 4).links()) {
        if (link->is_open()) link->close("", "the test says so");
      }
      stage.world.run_for(Duration::milliseconds(1));
      stage.until([&] { return west.links_open() == 4; }, "the links again");
    }
    stage.world.run_for(Duration::milliseconds(100));
    for (Site& replica : stage.east) {
      BOOST_TEST(stage.is_linked(replica) == (links_open(west, replica.replica()) > 0));
    }
    stage.pass(10);
  }
}

// Told to leave, it goes on for a while, as in a rolling update: who dialed it moves on.
BOOST_AUTO_TEST_CASE(nobody_is_refused_or_cut_when_a_replica_leaves_and_drains) {
  FOR_SEEDS(24, seed) {
    ReplicaWorld stage(seed, 1 + seed % 4, 1 + seed % 3);
    Site& west = stage.world.west;
    const bool is_dialed = seed % 2 == 0;
    if (is_dialed) stage.accept();
    else stage.dial();
    Site& leaving = stage.east[seed / 2 % 2];
    Site& staying = stage.east[1 - seed / 2 % 2];
    const uint32_t wanted = std::max(west.workers(), leaving.workers());
    stage.until([&] { return west.links_open() == (is_dialed ? wanted : 2 * wanted); }, "links");
    const auto start_some = [&](int turns) {
      for (int i = 0; i < turns; ++i) {
        stage.world.start({.bytes = 50'000}, {.bytes = 50'000});
        stage.world.run_for(Duration::milliseconds(10));
      }
    };
    stage.world.start({.bytes = 20'000'000}, {.bytes = 20'000'000});
    start_some(20);
    for (uint32_t i = 0; i < west.workers(); ++i) {
      west.worker(i).on_replica_leaving(leaving.replica());
    }
    start_some(50);
    stage.until([&] { return links_open(west, staying.replica()) > 0; }, "a link that stays");
    leaving.drain(Duration::seconds(30));
    start_some(50);
    stage.until([&] { return stage.world.book.is_idle(); }, "the exchanges");
    stage.world.for_each(check_complete);
    stage.until([&] { return leaving.is_drained(); }, "its end");
    BOOST_TEST(leaving.closed(proxy::CloseReason::shutdown) == 0u);
    stage.until([&] { return links_open(west, staying.replica()) >= wanted; }, "all links");
  }
}

// It says nothing before: the first stream that it refuses tells.
BOOST_AUTO_TEST_CASE(a_stream_that_a_draining_replica_refuses_goes_to_another) {
  FOR_SEEDS(24, seed) {
    ReplicaWorld stage(seed, 1 + seed % 4, 1 + seed % 3);
    Site& west = stage.world.west;
    stage.accept();
    const uint32_t wanted = std::max(west.workers(), stage.east[0].workers());
    stage.until([&] { return west.links_open() == wanted; }, "links");
    for (int i = 0; i < 8; ++i) {
      stage.world.start({.bytes = 5'000'000}, {.bytes = 5'000'000});
    }
    stage.world.run_for(Duration::milliseconds(50));
    Site& leaving = stage.east[seed % 2];
    leaving.drain(Duration::seconds(60));
    for (int i = 0; i < 50; ++i) {
      stage.world.start({.bytes = 5000}, {.bytes = 5000});
      stage.world.run_for(Duration::milliseconds(10));
    }
    stage.until([&] { return stage.world.book.is_idle(); }, "the exchanges", Duration::seconds(60));
    stage.world.for_each(check_complete);
  }
}

BOOST_AUTO_TEST_CASE(a_deleted_link_ends_with_what_was_left_to_a_leaving_replica) {
  ReplicaWorld stage(3, 2, 1);
  Site& west = stage.world.west;
  stage.accept();
  stage.until([&] { return west.links_open() == 2; }, "links");
  stage.world.start({.bytes = 100'000'000}, {.bytes = 100'000'000});
  stage.world.run_for(Duration::milliseconds(50));
  for (Site& replica : stage.east) {
    for (uint32_t i = 0; i < west.workers(); ++i) {
      west.worker(i).on_replica_leaving(replica.replica());
    }
  }
  west.config.links.clear();
  stage.world.publish(west);
  stage.until([&] { return stage.world.book.is_idle(); }, "a reset", Duration::seconds(3));
  stage.until([&] { return stage.east[0].links_open() + stage.east[1].links_open() == 0; }, "ends");
}

BOOST_AUTO_TEST_CASE(a_stream_without_a_link_goes_through_a_sibling_octet_by_octet) {
  FOR_SEEDS(24, seed) {
    SiblingWorld stage(seed, 1 + seed % 3);
    const auto has_mesh = [&] {
      return stage.world.west.meshes().contains(stage.second.replica()) &&
             stage.second.meshes().contains(stage.world.west.replica());
    };
    stage.until(has_mesh, "the mesh of siblings");
    if (seed % 3 == 0) stage.world.disturb(seed);
    for (int i = 0; i < 20; ++i) {
      const uint64_t bytes = stage.world.random(0, 400'000);
      stage.world.start({.bytes = bytes, .waits_for_end = i % 4 == 0}, {.bytes = bytes});
    }
    stage.until([&] { return stage.world.book.is_idle(); }, "the exchanges");
    stage.world.for_each(check_complete);
  }
}

// The way of a sibling's stream ends at another site or nowhere: never at a further sibling.
BOOST_AUTO_TEST_CASE(what_a_sibling_cannot_serve_is_refused_and_does_not_turn_in_circles) {
  SiblingWorld stage(2, 1);
  stage.second.config.links.clear();
  stage.second.config.remote_services = {
      {.routing_key = "service", .site_id = "west", .replica = "1"}};
  stage.world.publish(stage.second);
  const Exchange& exchange = stage.world.start({.bytes = 10}, {.bytes = 10});
  stage.until([&] { return exchange.client->is_done(); }, "the reset", Duration::seconds(2));
  BOOST_TEST(exchange.client->was_reset());
}

BOOST_AUTO_TEST_CASE(an_own_link_is_taken_before_a_siblings_that_costs_as_much_and_no_less) {
  SiblingWorld stage(4, 1);
  stage.world.west.config.links.push_back(stage.second.config.links.front());
  stage.world.west.config.links.back().cost = 1000;
  auto& services = stage.world.west.config.remote_services;
  services.front().cost = 1000;  // of the sibling's link
  services.push_back({.routing_key = "service", .site_id = "east", .replica = {}});
  stage.world.publish(stage.world.west);
  stage.until([&] { return links_open(stage.world.west, stage.world.east().replica()) > 0; },
              "an own link");
  stage.world.start({.bytes = 5'000'000}, {.bytes = 5'000'000});
  stage.world.run_for(Duration::milliseconds(100));
  BOOST_TEST(stage.second.streams_open() == 0u);
  BOOST_TEST(stage.world.west.streams_open() == 1u);
  stage.until([&] { return stage.world.book.is_idle(); }, "the exchange");
  services.front().cost = 999;
  stage.world.publish(stage.world.west);
  stage.world.start({.bytes = 5'000'000}, {.bytes = 5'000'000});
  stage.world.run_for(Duration::milliseconds(100));
  BOOST_TEST(stage.second.streams_open() == 1u);
  stage.until([&] { return stage.world.book.is_idle(); }, "the exchange");
  stage.world.for_each(check_complete);
}

BOOST_AUTO_TEST_CASE(only_replicas_of_the_same_site_are_siblings_and_nobody_is_his_own) {
  SiblingWorld stage(5, 1);
  const auto dial_as = [&](const std::string& site, bool is_sibling, const std::string& at) {
    stage.world.west.config.links = {{.name = "wrong",
                                      .targets = {{.host = "west", .addresses = {address(at)}}},
                                      .credentials = credentials_of(site),
                                      .is_sibling = is_sibling}};
    stage.world.publish(stage.world.west);
    stage.world.run_for(Duration::seconds(1));
    return stage.world.west.links_open();
  };
  // A Link document that leads to the own site.
  BOOST_TEST(dial_as("west", false, "10.0.0.3:55672") == 0u);
  // Another site's certificate at the siblings' port.
  BOOST_TEST(dial_as("east", true, "10.0.0.3:55672") == 0u);
  // A sibling where other sites dial.
  stage.second.config.acceptors.front().is_for_siblings = false;
  stage.world.publish(stage.second);
  BOOST_TEST(dial_as("west", true, "10.0.0.3:55672") == 0u);
  // This process itself.
  stage.world.west.config.acceptors = {{.name = "siblings",
                                        .addresses = {address("10.0.0.1:55672")},
                                        .credentials = credentials_of("west"),
                                        .is_for_siblings = true}};
  BOOST_TEST(dial_as("west", true, "10.0.0.1:55672") == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
