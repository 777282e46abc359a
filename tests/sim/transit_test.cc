// Streams that go through a site to a further one.
#include <boost/test/unit_test.hpp>
#include <memory>
#include <string>
#include <vector>

#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;

const std::string kKey = "service";

// West, where clients come in, and further sites, each of its own host. All in one World that has
// nothing else. Whoever is dialed has its links at 10.3.0.N:55671. "hub#2" is replica 2 of site
// hub.
class Stage {
 public:
  Stage(uint64_t seed, const std::vector<std::string>& names)
      : world(seed, {.west_workers = 1 + static_cast<uint32_t>(seed % 3), .east_workers = 0}) {
    world.west.config.connectors.clear();
    hosts_ = {world.west_host};
    for (size_t i = 0; i < names.size(); ++i) {
      const auto host = world.network.add_host({"10.3.0." + std::to_string(i + 1)});
      for (const auto other : hosts_) set_path(host, other);
      set_path(host, world.server_host);
      hosts_.push_back(host);
      const size_t mark = std::min(names[i].find('#'), names[i].size());
      const std::string name = names[i].substr(0, mark);
      const std::string replica = mark < names[i].size() ? names[i].substr(mark + 1) : "1";
      sites_.push_back(std::make_unique<Site>(world.network, host, name,
                                              1 + static_cast<uint32_t>((seed + i) % 2),
                                              seed + 1000 * (i + 1), replica));
      labels_.push_back(names[i]);
      sites_.back()->config.acceptors = {
          {.name = "access", .addresses = {links_of(i)}, .credentials = credentials_of(name)}};
      world.publish(*sites_.back());
    }
  }
  ~Stage() {
    for (auto& site : sites_) site->drain(Duration::seconds(1));
    until([&] { return all([](Site& site) { return site.is_drained(); }); }, "the sites to end");
    world.finish();
  }

  Site& site(const std::string& name) {
    return name == "west" ? world.west : *sites_[index_of(name)];
  }
  void link(const std::string& from, const std::string& to) {
    site(from).config.links.push_back(
        {.name = "to-" + to,
         .targets = {{.host = site(to).name(), .addresses = {links_of(index_of(to))}}},
         .credentials = credentials_of(site(from).name()),
         .is_sibling = site(from).name() == site(to).name()});
    world.publish(site(from));
    const uint32_t wanted = std::max(site(from).workers(), site(to).workers());
    until([&] { return linked(from, to) == wanted && linked(to, from) == wanted; }, "a link");
  }
  // Of another replica of its site; the port where it is dialed is for siblings then.
  void link_siblings(const std::string& from, const std::string& to) {
    site(to).config.acceptors.front().is_for_siblings = true;
    world.publish(site(to));
    link(from, to);
  }
  // What the mesh tells a site: that its neighbour reaches the service, or serves it (cost 0).
  void tell(const std::string& at, const std::string& neighbour, uint32_t cost,
            bool is_cut = false) {
    site(at).config.remote_services.push_back(
        {.routing_key = kKey, .site_id = neighbour, .cost = cost, .is_cut = is_cut});
    world.publish(site(at));
  }
  // West is linked with "middle", and that one with "east".
  void make_line() {
    link("west", "middle");
    link("middle", "east");
    tell("west", "middle", 1);
    tell("middle", "east", 0);
  }
  void serve(const std::string& at) {
    site(at).config.connectors = {world.connector(1)};
    world.publish(site(at));
  }
  uint32_t linked(const std::string& from, const std::string& to) {
    uint32_t count = 0;
    for_each_link(from, to, [&](const proxy::Link& link) { count += link.is_open(); });
    return count;
  }
  template <class Visitor>
  void for_each_link(const std::string& from, const std::string& to, Visitor&& visit) {
    Site& its = site(from);
    for (uint32_t i = 0; i < its.workers(); ++i) {
      for (const auto& link : its.worker(i).links()) {
        if (link->replica() == site(to).replica()) visit(*link);
      }
    }
  }
  void cut(const std::string& a, const std::string& b) {
    world.network.cut(site(a).host(), site(b).host());
  }
  template <class Predicate>
  void until(Predicate&& predicate, const char* what, Duration limit = Duration::seconds(60)) {
    BOOST_TEST(world.until(predicate, limit), "waited in vain for " << what);
  }
  // An exchange for which no way leads to a server: its client is told soon.
  void expect_reset(Duration limit = Duration::seconds(2)) {
    const Exchange& exchange = world.start({.bytes = 10}, {.bytes = 10});
    until([&] { return exchange.client->is_done(); }, "the reset", limit);
    BOOST_TEST(exchange.client->was_reset());
    BOOST_TEST(exchange.servers.empty());
  }
  void expect_service(int exchanges = 1) {
    for (int i = 0; i < exchanges; ++i) {
      world.start({.bytes = 3000}, {.bytes = 3000});
      until([&] { return world.book.is_idle(); }, "the exchange");
    }
    world.for_each(check_complete);
  }
  template <class Check>
  bool all(Check&& check) {
    return std::ranges::all_of(sites_, [&](auto& site) { return check(*site); });
  }

  // An exchange that is slow to be served: `latency` of the path to the servers.
  void set_path(io::SimHost a, io::SimHost b, Duration latency = Duration::milliseconds(1)) {
    world.network.set_path(a, b, {.latency = latency, .bytes_per_second = 25'000'000});
  }

  World world;

 private:
  size_t index_of(const std::string& label) const {
    const auto found = std::ranges::find(labels_, label);
    BOOST_REQUIRE(found != labels_.end());
    return static_cast<size_t>(found - labels_.begin());
  }
  static io::Address links_of(size_t index) {
    return address("10.3.0." + std::to_string(index + 1) + ":55671");
  }

  std::vector<io::SimHost> hosts_;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<std::string> labels_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(transit)

BOOST_AUTO_TEST_CASE(a_stream_goes_through_a_site_octet_by_octet) {
  FOR_SEEDS(24, seed) {
    Stage stage(seed, {"middle", "east"});
    stage.link("west", "middle");
    if (seed % 2 == 0) stage.link("middle", "east");
    else stage.link("east", "middle");
    stage.tell("west", "middle", 1);
    stage.tell("middle", "east", 0);
    stage.serve("east");
    if (seed % 3 == 0) stage.world.disturb(seed);
    Site& middle = stage.site("middle");
    for (int i = 0; i < 20; ++i) {
      const uint64_t bytes = stage.world.random(0, 400'000);
      stage.world.start({.bytes = bytes, .waits_for_end = i % 4 == 0}, {.bytes = bytes});
    }
    stage.world.start({.bytes = 5'000'000},
                      {.bytes = 5'000'000, .read_pause_max = Duration::milliseconds(20)});
    uint64_t most = 0;  // octets that the site in the middle holds for one exchange
    const auto is_idle = [&] {
      if (const uint64_t streams = middle.streams_open()) {
        most = std::max(most, middle.buffered_bytes() / streams);
      }
      return stage.world.book.is_idle();
    };
    stage.until(is_idle, "the exchanges", Duration::seconds(600));
    BOOST_TEST(most <= 2 * middle.config.limits.link_window_bytes);
    stage.world.for_each(check_complete);
    stage.until([&] { return middle.streams_open() == 0; }, "the site in the middle to be done");
    BOOST_TEST(middle.closed(CloseReason::finished) == 21u);
  }
}

BOOST_AUTO_TEST_CASE(the_cheapest_way_is_taken) {
  Stage stage(1, {"near", "far", "east"});
  for (const char* name : {"near", "far"}) {
    stage.link("west", name);
    stage.link(name, "east");
    stage.tell(name, "east", 0);
  }
  stage.tell("west", "far", 5);
  stage.tell("west", "near", 4);
  stage.serve("east");
  stage.expect_service(10);
  stage.until([&] { return stage.site("near").closed(CloseReason::finished) == 10u; }, "all ends");
  BOOST_TEST(stage.site("far").closed(CloseReason::finished) == 0u);
}

// Its own table is ahead of those that sent it the stream.
BOOST_AUTO_TEST_CASE(a_site_that_lost_its_way_says_so_and_another_one_is_taken) {
  FOR_SEEDS(12, seed) {
    Stage stage(seed, {"lost", "good", "east"});
    for (const char* name : {"lost", "good"}) stage.link("west", name);
    stage.link("good", "east");
    stage.tell("west", "lost", 1);
    stage.tell("west", "good", 2);
    stage.tell("good", "east", 0);
    if (seed % 2 == 0) stage.tell("lost", "east", 0);  // but has no link with it
    stage.serve("east");
    stage.expect_service(5);
  }
}

BOOST_AUTO_TEST_CASE(tables_that_point_in_a_circle_end_in_a_reset_at_once) {
  Stage stage(2, {"a", "b", "c"});
  stage.link("west", "a");
  stage.link("a", "b");
  stage.link("b", "c");
  stage.link("c", "a");
  stage.tell("west", "a", 1);
  stage.tell("a", "west", 1);
  stage.tell("a", "b", 2);
  stage.tell("b", "c", 1);
  stage.tell("c", "a", 1);
  stage.expect_reset();
  for (const char* name : {"a", "b", "c"}) {
    BOOST_TEST(stage.site(name).closed(CloseReason::no_route) ==
               2u);  // a second time after a while
    BOOST_TEST(stage.site(name).streams_open() == 0u);
  }
}

// Through a sibling it still does not go back to where it came from.
BOOST_AUTO_TEST_CASE(the_path_of_a_stream_goes_with_it_over_links_of_siblings) {
  Stage stage(2, {"x", "hub", "hub#2"});
  stage.link("west", "x");
  stage.link("x", "hub");
  stage.link_siblings("hub", "hub#2");
  stage.link("hub#2", "x");
  stage.tell("west", "x", 1);
  stage.tell("hub#2", "x", 1);
  stage.site("x").config.remote_services = {
      {.routing_key = kKey, .site_id = "hub", .replica = "1", .cost = 1}};
  stage.world.publish(stage.site("x"));
  stage.site("hub").config.remote_services = {
      {.routing_key = kKey, .site_id = "hub", .replica = "2", .cost = 1}};
  stage.world.publish(stage.site("hub"));
  stage.expect_reset();
  BOOST_TEST(stage.site("x").closed(CloseReason::no_route) == 2u);  // a second time after a while
  BOOST_TEST(stage.site("hub").closed(CloseReason::no_route) == 2u);
}

// The table of the client's site is behind: news come while the exchange waits.
BOOST_AUTO_TEST_CASE(an_exchange_that_is_refused_waits_shortly_for_news) {
  FOR_SEEDS(8, seed) {
    Stage stage(seed, {"middle", "other", "east"});
    stage.link("west", "middle");
    stage.link("west", "other");
    stage.link("middle", "east");
    stage.link("other", "east");
    stage.serve("east");
    stage.tell("west", "middle", 1);
    const Exchange& exchange = stage.world.start({.bytes = 1000}, {.bytes = 1000});
    stage.until([&] { return stage.site("middle").closed(CloseReason::no_route) == 1; },
                "a refusal");
    if (seed % 2 == 0) {  // another way; or the same one again
      stage.tell("other", "east", 0);
      stage.tell("west", "other", 2);
    } else {
      stage.tell("middle", "east", 0);
      stage.world.publish(stage.world.west);
    }
    stage.until([&] { return exchange.client->is_done(); }, "the exchange", Duration::seconds(1));
    check_complete(exchange);
  }
}

// How long it may take is for the listener and the connector to say.
BOOST_AUTO_TEST_CASE(a_site_in_the_middle_has_no_deadline_of_its_own) {
  Stage stage(1, {"middle", "east"});
  stage.make_line();
  stage.set_path(stage.site("east").host(), stage.world.server_host, Duration::seconds(4));
  stage.serve("east");
  stage.site("east").config.connectors.front().tcp.connect_timeout = Duration::seconds(20);
  stage.world.publish(stage.site("east"));
  stage.world.west.config.listeners.front().tcp.connect_timeout = Duration::seconds(30);
  stage.world.publish(stage.world.west);
  const Exchange& exchange = stage.world.start({.bytes = 1000}, {.bytes = 1000});
  stage.until([&] { return exchange.client->is_done(); }, "the exchange");
  check_complete(exchange);
}

// The server is gone, and nobody has heard: not every path is tried that a dense network has.
BOOST_AUTO_TEST_CASE(a_service_that_is_gone_costs_few_attempts) {
  const std::vector<std::string> names = {"a", "b", "c", "d", "e", "f"};
  Stage stage(1, names);
  for (const std::string& from : names) {
    stage.link("west", from);
    stage.tell("west", from, 1);
    for (const std::string& to : names) {
      if (from < to) stage.link(from, to);
      if (from != to) stage.tell(from, to, 1);
    }
  }
  stage.expect_reset(Duration::seconds(4));
  uint64_t attempts = 0;
  for (const std::string& name : names) {
    for (int reason = 0; reason < proxy::kCloseReasons; ++reason) {
      attempts += stage.site(name).closed(static_cast<CloseReason>(reason));
    }
  }
  BOOST_TEST(attempts >= names.size());
  // At each of them what comes from west, then 4, 8, 8... further ones; all that twice.
  BOOST_TEST(attempts <= 2 * names.size() * (1 + 4 + 8 + 8 + 8 + 8));
}

// A hub: of two sites behind it one has nothing that answers.
BOOST_AUTO_TEST_CASE(a_site_in_the_middle_tries_another_site_after_a_refusal) {
  FOR_SEEDS(12, seed) {
    Stage stage(seed, {"hub", "dead", "alive"});
    stage.link("west", "hub");
    stage.tell("west", "hub", 1);
    for (const char* name : {"dead", "alive"}) {
      stage.link("hub", name);
      stage.tell("hub", name, 0);
    }
    stage.serve("alive");
    stage.site("dead").config.connectors = {{.name = "back",
                                             .routing_key = kKey,
                                             .host = "server",
                                             .addresses = {address("10.2.0.1:1")}}};
    stage.world.publish(stage.site("dead"));
    stage.expect_service(10);
  }
}

BOOST_AUTO_TEST_CASE(a_stream_crosses_eight_links_and_no_more) {
  std::vector<std::string> names;
  for (uint32_t i = 1; i <= proxy::kHopsMax + 1; ++i) names.push_back("s" + std::to_string(i));
  Stage stage(3, names);
  std::string before = "west";
  for (const std::string& name : names) {
    stage.link(before, name);
    stage.tell(before, name, 1);
    before = name;
  }
  stage.serve("s9");
  stage.expect_reset();
  stage.serve("s8");
  const Exchange& exchange = stage.world.start({.bytes = 100'000}, {.bytes = 100'000});
  stage.until([&] { return stage.world.book.is_idle(); }, "the exchange");
  check_complete(exchange);
}

BOOST_AUTO_TEST_CASE(a_site_without_transit_serves_and_passes_nothing_on) {
  Stage stage(4, {"middle", "east"});
  stage.make_line();
  stage.serve("east");
  stage.site("middle").config.allows_transit = false;
  stage.world.publish(stage.site("middle"));
  stage.expect_reset();
  stage.serve("middle");
  const Exchange& exchange = stage.world.start({.bytes = 1000}, {.bytes = 1000});
  stage.until([&] { return stage.world.book.is_idle(); }, "the exchange");
  check_complete(exchange);
}

// At the site of the client it waits as for an own link; in the middle it does not.
BOOST_AUTO_TEST_CASE(an_exchange_waits_for_a_way_that_is_cut) {
  Stage stage(5, {"middle", "east"});
  stage.link("west", "middle");
  stage.tell("west", "middle", 1, true);
  stage.tell("middle", "east", 0);
  stage.serve("east");
  const Exchange& exchange = stage.world.start({.bytes = 1000}, {.bytes = 1000});
  stage.world.run_for(Duration::seconds(2));
  BOOST_TEST(!exchange.client->is_done());
  BOOST_TEST(stage.site("middle").closed(CloseReason::no_route) == 0u);
  stage.link("middle", "east");
  stage.site("west").config.remote_services.front().is_cut = false;
  stage.world.publish(stage.site("west"));
  stage.until([&] { return stage.world.book.is_idle(); }, "the exchange", Duration::seconds(2));
  check_complete(exchange);
}

// "The process ends" is heard of the one that ends alone.
BOOST_AUTO_TEST_CASE(nobody_takes_a_site_for_leaving_that_tells_of_another) {
  FOR_SEEDS(8, seed) {
    Stage stage(seed, {"middle", "east"});
    stage.make_line();
    stage.serve("east");
    const Exchange& open = stage.world.start({.bytes = 10, .finale = Finale::stay},
                                             {.bytes = 10, .finale = Finale::stay});
    stage.until([&] { return !open.servers.empty(); }, "a server");
    stage.site("east").drain(Duration::milliseconds(500));
    const Exchange& refused = stage.world.start({.bytes = 10}, {.bytes = 10});
    stage.until([&] { return open.client->is_done() && refused.client->is_done(); }, "both ends");
    uint32_t links = 0;
    stage.for_each_link("west", "middle", [&](const proxy::Link& link) {
      BOOST_TEST(!link.is_leaving());
      links += link.is_open();
    });
    BOOST_TEST(links > 0u);
  }
}

BOOST_AUTO_TEST_CASE(what_ends_on_one_side_ends_on_the_other) {
  FOR_SEEDS(12, seed) {
    Stage stage(seed, {"middle", "east"});
    stage.make_line();
    stage.serve("east");
    const auto start = [&](Finale client, Finale server) -> const Exchange& {
      return stage.world.start({.bytes = 100'000, .finale = client},
                               {.bytes = 100'000, .finale = server});
    };
    const Exchange& by_client = start(Finale::reset, Finale::stay);
    const Exchange& by_server = start(Finale::stay, Finale::reset);
    stage.until([&] { return by_client.client->is_done() && by_server.client->is_done(); },
                "the resets");
    BOOST_TEST(by_server.client->was_reset());
    for (const char* name : {"west", "middle", "east"}) {
      stage.until([&] { return stage.site(name).streams_open() == 0; }, name);
    }
    // The link behind the one in the middle is lost in silence: the client hears of it.
    const Exchange& cut = start(Finale::stay, Finale::stay);
    stage.until([&] { return cut.client->received() > 0; }, "octets");
    stage.cut("middle", "east");
    stage.until([&] { return cut.client->is_done(); }, "a reset", Duration::seconds(120));
    BOOST_TEST(cut.client->was_reset());
    BOOST_TEST(stage.linked("west", "middle") > 0u);
    stage.world.network.restore(stage.site("middle").host(), stage.site("east").host());
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
