// Links between sites with real sockets: placement on workers, loss, cost, mesh messages.
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "blocking_socket.h"
#include "test_site.h"

namespace istmo::test {
namespace {

proxy::Credentials credentials(const TestCa& ca, const std::string& name) {
  const auto issued =
      ca.issue({.common_name = name,
                .alternative_names = {"IP:127.0.0.1", "URI:istmo://site/" + name + "-id"}});
  return {issued.certificate_pem, issued.key_pem, ca.certificate_pem()};
}

constexpr auto kKind = io::LoopKind::epoll;

// Two linked sites whose control threads can talk.
struct Neighbours {
  explicit Neighbours(uint32_t east_workers = 1) : east("east", kKind, east_workers) {
    const TestCa ca("test");
    const uint16_t links = BlockingSocket::reserve().port();
    east.accept_links(links, credentials(ca, "east"));
    BOOST_REQUIRE(east.publish().empty());
    west.dial("link1", links, credentials(ca, "west"));
    west.publish();
    west.wait_until([&] { return west.mesh_sites.contains("east-id"); }, "the mesh in west");
    east.wait_until([&] { return east.mesh_sites.contains("west-id"); }, "the mesh in east");
  }
  TestSite east;
  TestSite west{"west", kKind};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(link)

// D4: max(workers here, workers there) connections, and every worker of both sites can reach the
// other site.
BOOST_DATA_TEST_CASE(every_worker_gets_its_connection,
                     boost::unit_test::data::make({1, 2, 1, 3}) ^
                         boost::unit_test::data::make({1, 1, 4, 2}),
                     west_workers, east_workers) {
  const TestCa ca("test");
  const auto server = BlockingSocket::listen();
  TestSite east("east", kKind, static_cast<uint32_t>(east_workers));
  const uint16_t links = BlockingSocket::reserve().port();
  east.add_connector("echo", server.port());
  east.accept_links(links, credentials(ca, "east"));
  BOOST_REQUIRE(east.publish().empty());
  TestSite west("west", kKind, static_cast<uint32_t>(west_workers));
  west.dial("link1", links, credentials(ca, "west"));
  west.publish();
  const auto wanted = static_cast<uint32_t>(std::max(west_workers, east_workers));
  west.wait_until_linked("east-id", wanted);
  east.wait_until_linked("west-id", wanted);
  for (auto* site : {&west, &east}) {
    for (const auto& report : site->reports()) {
      uint32_t open = 0;
      for (const auto& link : report.links) open += link.is_open;
      BOOST_TEST(open >= 1u);
    }
  }
}

BOOST_AUTO_TEST_CASE(mesh_messages_reach_the_other_control_thread) {
  Neighbours pair(2);
  auto& [east, west] = pair;
  const std::string long_message(1024 * 1024, 'm');
  west.dataplane().send_mesh({"east-id", "east-1"}, "hello");
  east.wait_until([&] { return east.mesh_messages.size() == 1; }, "a message");
  west.dataplane().send_mesh({"east-id", "east-1"}, long_message);
  east.dataplane().send_mesh({"west-id", "west-1"}, "answer");
  east.wait_until([&] { return east.mesh_messages.size() == 2; }, "two messages");
  west.wait_until([&] { return west.mesh_messages.size() == 1; }, "one message");
  BOOST_TEST(east.mesh_messages[0].first == "west-id");
  BOOST_TEST(east.mesh_messages[0].second == "hello");
  BOOST_TEST((east.mesh_messages[1].second == long_message));
  BOOST_TEST(west.mesh_messages[0].second == "answer");
}

BOOST_AUTO_TEST_CASE(a_mesh_message_that_breaks_a_rule_ends_its_link_with_the_reason) {
  Neighbours pair;
  auto& [east, west] = pair;
  west.dataplane().send_mesh({"east-id", "east-1"}, std::string(TestSite::kNonsense));
  const std::string reason = "amqp:decode-error: nonsense is no message";
  east.wait_until([&] { return !east.link_errors.empty(); }, "the reason in east");
  west.wait_until([&] { return west.link_errors.contains(reason); }, "the reason in west");
  BOOST_TEST(*east.link_errors.begin() == "nonsense is no message");
  BOOST_TEST(east.mesh_messages.empty());
}

BOOST_AUTO_TEST_CASE(stream_is_reset_when_its_link_goes_and_new_ones_wait_for_the_next) {
  const TestCa ca("test");
  auto server = BlockingSocket::listen();
  const uint16_t links = BlockingSocket::reserve().port();
  const uint16_t port = BlockingSocket::reserve().port();
  TestSite east("east", kKind);
  east.add_connector("echo", server.port());
  east.accept_links(links, credentials(ca, "east"));
  BOOST_REQUIRE(east.publish().empty());
  TestSite west("west", kKind);
  west.add_listener("echo", port);
  west.add_remote_service("echo", "east-id");
  west.dial("link1", links, credentials(ca, "west"));
  BOOST_REQUIRE(west.publish().empty());
  west.wait_until_linked("east-id");

  auto client = BlockingSocket::connect(port);
  auto served = server.accept();
  auto link = std::move(west.snapshot.links);
  west.snapshot.links.clear();
  west.publish();
  BOOST_TEST((client.drain() == Outcome::reset));
  BOOST_TEST((served.drain() == Outcome::reset));
  BOOST_TEST(west.closed(proxy::CloseReason::link_lost) == 1u);

  auto waiting = BlockingSocket::connect(port);
  west.wait_until([&] { return west.streams_open() == 1; }, "the client to wait");
  west.snapshot.links = std::move(link);
  west.publish();
  auto served_later = server.accept();
  waiting.send("late");
  BOOST_TEST(served_later.receive(4) == "late");
}

BOOST_AUTO_TEST_CASE(unknown_certificate_authority_is_refused) {
  const TestCa ca("test");
  const TestCa other("other");
  const uint16_t links = BlockingSocket::reserve().port();
  TestSite east("east", kKind);
  east.accept_links(links, credentials(ca, "east"));
  BOOST_REQUIRE(east.publish().empty());
  TestSite west("west", kKind);
  west.dial("link1", links, credentials(other, "west"));
  west.publish();
  west.wait_until(
      [&] {
        const auto reports = west.reports();
        return !reports.front().links.empty() &&
               reports.front().links.front().error.find("certificate") != std::string::npos;
      },
      "the reason");
  BOOST_TEST(west.open_links.empty());
}

BOOST_AUTO_TEST_CASE(cheaper_site_is_chosen_and_the_other_one_when_it_goes) {
  const TestCa ca("test");
  auto near = BlockingSocket::listen();
  auto far = BlockingSocket::listen();
  const uint16_t near_links = BlockingSocket::reserve().port();
  const uint16_t far_links = BlockingSocket::reserve().port();
  const uint16_t port = BlockingSocket::reserve().port();
  TestSite near_site("near", kKind);
  near_site.add_connector("echo", near.port());
  near_site.accept_links(near_links, credentials(ca, "near"));
  BOOST_REQUIRE(near_site.publish().empty());
  TestSite far_site("far", kKind);
  far_site.add_connector("echo", far.port());
  far_site.accept_links(far_links, credentials(ca, "far"));
  BOOST_REQUIRE(far_site.publish().empty());
  TestSite west("west", kKind);
  west.add_listener("echo", port);
  west.dial("cheap", near_links, credentials(ca, "west"), 1);
  west.dial("dear", far_links, credentials(ca, "west"), 10);
  west.add_remote_service("echo", "near-id");
  west.add_remote_service("echo", "far-id");
  BOOST_REQUIRE(west.publish().empty());
  west.wait_until_linked("near-id");
  west.wait_until_linked("far-id");
  for (int i = 0; i < 3; ++i) {
    auto client = BlockingSocket::connect(port);
    auto served = near.accept();
    client.send("n");
    BOOST_TEST(served.receive(1) == "n");
  }
  near.close();  // the near site has nobody who answers now
  auto client = BlockingSocket::connect(port);
  client.send("early");
  auto served = far.accept();
  BOOST_TEST(served.receive(5) == "early");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::test
