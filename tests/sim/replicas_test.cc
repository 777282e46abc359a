// Sites of several replicas: processes with one site's certificate, each with links of its own.
#include <boost/test/unit_test.hpp>
#include <memory>
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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
