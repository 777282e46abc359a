// Exchanges with real sockets, on one site and over a link, on both engines: what a client and a
// server see.
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <future>

#include "base/rng.h"
#include "blocking_socket.h"
#include "test_site.h"

namespace istmo::test {

using proxy::CloseReason;

enum class Topology : uint8_t { one_site, two_sites };

// A listener and a server behind it, at the same site or across a link.
class World {
 public:
  World(io::LoopKind kind, Topology topology)
      : west("west", kind), server(BlockingSocket::listen()) {
    port = BlockingSocket::reserve().port();
    west.add_listener("echo", port);
    if (topology == Topology::one_site) {
      west.add_connector("echo", server.port());
      BOOST_REQUIRE(west.publish().empty());
      return;
    }
    const TestCa ca("test");
    east = std::make_unique<TestSite>("east", kind);
    const uint16_t links = BlockingSocket::reserve().port();
    east->add_connector("echo", server.port());
    east->accept_links(links, credentials(ca, "east"));
    BOOST_REQUIRE(east->publish().empty());
    west.dial("link1", links, credentials(ca, "west"));
    west.add_remote_service("echo", "east-id");
    BOOST_REQUIRE(west.publish().empty());
    west.wait_until_linked("east-id");
  }

  static proxy::Credentials credentials(const TestCa& ca, const std::string& name) {
    const auto issued =
        ca.issue({.common_name = name,
                  .alternative_names = {"IP:127.0.0.1", "URI:istmo://site/" + name + "-id"}});
    return {issued.certificate_pem, issued.key_pem, ca.certificate_pem()};
  }

  BlockingSocket connect() { return BlockingSocket::connect(port); }
  void quiesce() {
    west.wait_until_idle();
    if (east) east->wait_until_idle();
  }

  TestSite west;
  std::unique_ptr<TestSite> east;
  BlockingSocket server;
  uint16_t port = 0;
};

namespace {

std::string random_octets(size_t count, uint64_t seed) {
  Rng rng(seed);
  std::string octets(count, '\0');
  for (auto& octet : octets) octet = static_cast<char>(rng.next());
  return octets;
}

const auto kKinds = boost::unit_test::data::make(
    std::vector<int>{static_cast<int>(io::LoopKind::epoll), static_cast<int>(io::LoopKind::uring)});
const auto kTopologies = boost::unit_test::data::make(
    std::vector<int>{static_cast<int>(Topology::one_site), static_cast<int>(Topology::two_sites)});
const auto kWorlds = kKinds * kTopologies;

constexpr size_t kMegabyte = 1024 * 1024;

// act(breaker, other) with the client and then with the server as the breaker of an exchange.
template <class Act>
void each_side_breaks(World& world, Act&& act) {
  for (const bool is_client : {true, false}) {
    auto client = world.connect();
    auto served = world.server.accept();
    act(is_client ? client : served, is_client ? served : client);
  }
  world.quiesce();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(exchange)

BOOST_DATA_TEST_CASE(octets_pass_both_ways_unchanged, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  for (const size_t size : {size_t{1}, size_t{100}, size_t{16 * 1024}, 2 * kMegabyte}) {
    auto client = world.connect();
    auto served = world.server.accept();
    const auto sent = random_octets(size, size);
    auto sender = std::async(std::launch::async, [&] { client.send(sent); });
    BOOST_TEST((served.receive(size) == sent));
    sender.get();
    auto answerer = std::async(std::launch::async, [&] { served.send(sent); });
    BOOST_TEST((client.receive(size) == sent));
    answerer.get();
  }
  world.quiesce();
}

BOOST_DATA_TEST_CASE(half_close_keeps_the_other_direction, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  const auto request = random_octets(3 * kMegabyte, 1);
  const auto reply = random_octets(2 * kMegabyte + 17, 2);
  auto client = world.connect();
  auto served = world.server.accept();
  auto sender = std::async(std::launch::async, [&] {
    client.send(request);
    client.shutdown_send();
  });
  std::string got;
  BOOST_TEST((served.drain(&got) == Outcome::end));
  sender.get();
  BOOST_TEST((got == request));
  auto answerer = std::async(std::launch::async, [&] {
    served.send(reply);
    served.shutdown_send();
  });
  got.clear();
  BOOST_TEST((client.drain(&got) == Outcome::end));
  answerer.get();
  BOOST_TEST((got == reply));
  world.quiesce();
  BOOST_TEST(world.west.closed(CloseReason::finished) == 1u);
}

BOOST_DATA_TEST_CASE(server_may_end_first, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  auto client = world.connect();
  auto served = world.server.accept();
  served.send("goodbye");
  served.shutdown_send();
  std::string got;
  BOOST_TEST((client.drain(&got) == Outcome::end));
  BOOST_TEST(got == "goodbye");
  client.send("still here");
  client.shutdown_send();
  got.clear();
  BOOST_TEST((served.drain(&got) == Outcome::end));
  BOOST_TEST(got == "still here");
  world.quiesce();
}

BOOST_DATA_TEST_CASE(reset_by_the_server_is_a_reset_for_the_client, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  auto client = world.connect();
  auto served = world.server.accept();
  served.send(random_octets(100, 3));
  BOOST_TEST(client.receive(100).size() == 100u);
  served.reset();
  BOOST_TEST((client.drain() == Outcome::reset));
  world.quiesce();
}

BOOST_DATA_TEST_CASE(reset_by_the_client_is_a_reset_for_the_server, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  auto client = world.connect();
  auto served = world.server.accept();
  client.send(random_octets(100, 4));
  BOOST_TEST(served.receive(100).size() == 100u);
  client.reset();
  BOOST_TEST((served.drain() == Outcome::reset));
  world.quiesce();
  BOOST_TEST(world.west.closed(CloseReason::client_reset) == 1u);
}

// With more in flight than every buffer on the way holds, a reset must not look like an end.
BOOST_DATA_TEST_CASE(reset_with_a_megabyte_in_flight_is_never_an_end, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  each_side_breaks(world, [](BlockingSocket& breaker, BlockingSocket& other) {
    breaker.send(random_octets(kMegabyte, 5));
    breaker.reset();
    BOOST_TEST((other.drain() == Outcome::reset));
  });
}

BOOST_DATA_TEST_CASE(reset_after_a_half_close_is_still_a_reset, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  each_side_breaks(world, [](BlockingSocket& breaker, BlockingSocket& other) {
    breaker.send("last words");
    breaker.shutdown_send();
    std::string got;
    BOOST_TEST((other.drain(&got) == Outcome::end));
    BOOST_TEST(got == "last words");
    breaker.reset();
    BOOST_TEST(other.sees_reset());
  });
}

// The octets before it fill every window, so nobody receives where the reset arrives.
BOOST_DATA_TEST_CASE(reset_reaches_who_never_reads, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  each_side_breaks(world, [](BlockingSocket& breaker, BlockingSocket& other) {
    breaker.fill();
    breaker.reset();
    BOOST_TEST(other.sees_reset());
  });
}

BOOST_DATA_TEST_CASE(refusing_backend_is_not_noticed_while_another_serves, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  const auto nobody = BlockingSocket::reserve();
  world.west.add_connector("echo", nobody.port());
  BOOST_REQUIRE(world.west.publish().empty());
  for (int i = 0; i < 20; ++i) {
    auto client = world.connect();
    auto served = world.server.accept();
    client.send("x");
    BOOST_TEST(served.receive(1) == "x");
  }
  world.quiesce();
  uint64_t failures = 0;
  const auto reports = world.west.reports();
  for (const auto& backend : reports.front().backends) {
    failures += backend.failures_total;
    if (backend.failures_total > 0) BOOST_TEST(backend.is_set_aside);
  }
  BOOST_TEST(failures >= 3u);                              // asked until it was set aside
  BOOST_TEST(failures <= 6u);                              // and then only by probes
  BOOST_REQUIRE(world.west.backend_changes.size() == 1u);  // told once
  const auto& change = world.west.backend_changes.front();
  BOOST_TEST(change.is_set_aside);
  BOOST_TEST(change.address == "127.0.0.1:" + std::to_string(nobody.port()));
  BOOST_TEST(!change.error.empty());
  world.west.snapshot.connectors.pop_back();
  BOOST_REQUIRE(world.west.publish().empty());
  BOOST_REQUIRE(world.west.backend_changes.size() == 2u);  // nothing is left of it
  BOOST_TEST(!world.west.backend_changes.back().is_set_aside);
}

BOOST_DATA_TEST_CASE(client_is_reset_when_every_backend_refuses, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  world.server.close();
  auto client = world.connect();
  BOOST_TEST((client.drain() == Outcome::reset));
  world.quiesce();
  BOOST_TEST(world.west.closed(CloseReason::connect_refused) == 1u);
}

BOOST_DATA_TEST_CASE(connections_over_the_limit_are_reset_and_counted, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  world.west.snapshot.listeners.front().connections_max = 2;
  world.west.publish();
  auto first = world.connect();
  auto second = world.connect();
  auto served_first = world.server.accept();
  auto served_second = world.server.accept();
  auto third = world.connect();
  BOOST_TEST((third.drain() == Outcome::reset));
  BOOST_TEST(world.west.reports().front().listeners.front().refused_total == 1u);
  first.close();
  served_first.close();
  world.west.wait_until([&] { return world.west.streams_open() == 1; }, "one to end");
  auto fourth = world.connect();
  auto served_fourth = world.server.accept();
  fourth.send("ok");
  BOOST_TEST(served_fourth.receive(2) == "ok");
}

BOOST_DATA_TEST_CASE(connections_outlive_their_listener_and_connector, kWorlds, kind, topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  auto client = world.connect();
  auto served = world.server.accept();
  client.send("1");
  BOOST_TEST(served.receive(1) == "1");
  world.west.snapshot.listeners.clear();
  world.west.snapshot.connectors.clear();
  BOOST_REQUIRE(world.west.publish().empty());
  if (world.east) {
    world.east->snapshot.connectors.clear();
    BOOST_REQUIRE(world.east->publish().empty());
  }
  world.west.wait_until([&] { return BlockingSocket::is_refused(world.port); },
                        "the port to close");
  client.send("2");
  BOOST_TEST(served.receive(1) == "2");
  served.send("3");
  BOOST_TEST(client.receive(1) == "3");
}

BOOST_DATA_TEST_CASE(deleted_listener_drops_its_connections_if_told_so, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  world.west.snapshot.listeners.front().drops_connections = true;
  world.west.publish();
  auto client = world.connect();
  auto served = world.server.accept();
  client.send("x");
  BOOST_TEST(served.receive(1) == "x");  // open, not only connected
  world.west.snapshot.listeners.clear();
  world.west.publish();
  BOOST_TEST((client.drain() == Outcome::reset));
  BOOST_TEST((served.drain() == Outcome::reset));
  world.quiesce();
  BOOST_TEST(world.west.closed(CloseReason::listener_deleted) == 1u);
}

// No way to the key is left, or the connector's address changed: the documents are there still.
BOOST_DATA_TEST_CASE(only_a_deleted_document_drops_connections, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  auto& snapshot = world.west.snapshot;
  snapshot.listeners.front().drops_connections = true;
  snapshot.connectors.front().drops_connections = true;
  snapshot.listener_documents = {snapshot.listeners.front().name};
  snapshot.connector_documents = {snapshot.connectors.front().name};
  world.west.publish();
  auto client = world.connect();
  auto served = world.server.accept();
  client.send("x");
  BOOST_TEST(served.receive(1) == "x");  // open, not only connected
  snapshot.listeners.clear();
  snapshot.connectors.clear();
  world.west.publish();
  world.west.wait_until([&] { return BlockingSocket::is_refused(world.port); },
                        "the port to close");
  client.send("y");
  BOOST_TEST(served.receive(1) == "y");
  snapshot.connector_documents.clear();
  world.west.publish();
  BOOST_TEST((client.drain() == Outcome::reset));
  world.quiesce();
  BOOST_TEST(world.west.closed(CloseReason::connector_deleted) == 1u);
}

BOOST_DATA_TEST_CASE(administrator_ends_one_connection, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  auto client = world.connect();
  auto served = world.server.accept();
  auto other = world.connect();
  auto served_other = world.server.accept();
  const auto connections = world.west.reports().front().connections;
  BOOST_REQUIRE(connections.size() == 2u);
  world.west.dataplane().delete_connection(std::min(connections[0].id, connections[1].id));
  BOOST_TEST((client.drain() == Outcome::reset));
  other.send("ok");
  BOOST_TEST(served_other.receive(2) == "ok");
}

BOOST_DATA_TEST_CASE(idle_exchange_ends_after_its_timeout, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  world.west.snapshot.listeners.front().tcp.idle_timeout = Duration::milliseconds(100);
  world.west.publish();
  auto client = world.connect();
  auto served = world.server.accept();
  BOOST_TEST((client.drain() == Outcome::reset));
  world.quiesce();
  BOOST_TEST(world.west.closed(CloseReason::idle_timeout) == 1u);
}

BOOST_DATA_TEST_CASE(address_in_use_is_a_problem_of_its_listener_only, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  world.west.add_listener("taken", world.server.port());
  const auto problems = world.west.publish();
  BOOST_REQUIRE(problems.size() == 1u);
  BOOST_TEST(problems.front().name == "taken");
  auto client = world.connect();
  auto served = world.server.accept();
  client.send("ok");
  BOOST_TEST(served.receive(2) == "ok");
}

// The other key is served at the same site, or by another server over the same link.
BOOST_DATA_TEST_CASE(a_key_that_nobody_answers_for_gives_way_to_the_next_one, kWorlds, kind,
                     topology) {
  World world(static_cast<io::LoopKind>(kind), static_cast<Topology>(topology));
  auto second = BlockingSocket::listen();
  TestSite& serving = world.east ? *world.east : world.west;
  serving.add_connector("second", second.port());
  serving.publish();
  if (world.east) world.west.add_remote_service("second", "east-id");
  auto& listener = world.west.snapshot.listeners.front();
  listener.routing_key.clear();
  listener.choice = {.by = proxy::KeyChoice::By::priority, .keys = {{"echo"}, {"second"}}};
  world.west.publish();
  const auto goes_to = [&](BlockingSocket& server) {
    auto client = world.connect();
    client.send("ok");
    auto served = server.accept();
    BOOST_TEST(served.receive(2) == "ok");
  };
  goes_to(world.server);
  auto& connector = serving.snapshot.connectors.front();
  const auto addresses = connector.addresses;
  connector.addresses = {*io::Address::parse("127.0.0.1", BlockingSocket::reserve().port())};
  serving.publish();  // "echo" is refused
  goes_to(second);
  connector.addresses.clear();
  serving.publish();  // nobody serves it
  goes_to(second);
  connector.addresses = addresses;
  serving.publish();
  goes_to(world.server);
  world.quiesce();
}

// Both sites belong to one user: SO_REUSEPORT alone would let them share the port.
BOOST_DATA_TEST_CASE(two_sites_never_share_a_port, kKinds, kind) {
  World world(static_cast<io::LoopKind>(kind), Topology::one_site);
  TestSite other("other", static_cast<io::LoopKind>(kind));
  other.add_listener("echo", world.port);
  BOOST_TEST(other.publish().size() == 1u);
  world.west.snapshot.listeners.clear();
  world.west.publish();
  world.west.wait_until([&] { return BlockingSocket::is_refused(world.port); },
                        "the port to close");
  BOOST_TEST(other.publish().empty());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::test
