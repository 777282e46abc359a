#include "world.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdlib>

namespace istmo::sim {

namespace {

constexpr std::string_view kKey = "service";
constexpr uint64_t kBytesPerSecond = 25'000'000;

proxy::LinkConfig link_to(const Site& from, const Site& to, const io::Address& at) {
  return {.name = "to-" + to.name(),
          .targets = {{.host = to.name(), .addresses = {at}}},
          .credentials = credentials_of(from.name())};
}

}  // namespace

io::Address address(const std::string& text) {
  auto parsed = io::Address::parse(text);
  ASSERT(parsed.has_value());
  return *parsed;
}

std::vector<uint64_t> seeds(uint64_t count) {
  if (const char* chosen = std::getenv("ISTMO_SIM_SEED")) {
    return {std::strtoull(chosen, nullptr, 10)};
  }
  std::vector<uint64_t> all;
  for (uint64_t seed = 1; seed <= count; ++seed) all.push_back(seed);
  return all;
}

WorldPlan arrangement_of(uint64_t seed) {
  struct Workers {
    uint32_t west;
    uint32_t east;
  };
  constexpr Workers kArrangements[] = {{1, 0}, {3, 0}, {1, 1}, {2, 1}, {1, 4}, {3, 2}};
  const Workers& workers = kArrangements[seed % std::size(kArrangements)];
  return {.west_workers = workers.west,
          .east_workers = workers.east,
          .east_dials = seed / std::size(kArrangements) % 2 == 0};
}

World::World(uint64_t seed, const WorldPlan& its_plan)
    : plan(its_plan),
      network(seed, its_plan.options),
      book(network, seed ^ 0x5eed),
      west_host(network.add_host({"10.0.0.1"})),
      east_host(network.add_host({"10.0.0.2"})),
      client_host(network.add_host({"10.1.0.1"})),
      server_host(network.add_host({"10.2.0.1"})),
      west(network, west_host, "west", its_plan.west_workers, seed),
      service_(address("10.0.0.1:8080")) {
  // Every path has a rate, so that virtual time and octets stay in proportion.
  const io::SimPath near{.bytes_per_second = kBytesPerSecond};
  network.set_path(client_host, west_host, near);
  network.set_path(server_host, west_host, near);
  network.set_path(server_host, east_host, near);
  if (plan.has_link()) {
    east_ = std::make_unique<Site>(network, east_host, "east", plan.east_workers, seed + 1000);
    network.set_path(west_host, east_host,
                     {.latency = Duration::milliseconds(2), .bytes_per_second = kBytesPerSecond});
  }
  for (uint32_t i = 0; i < plan.backends; ++i) {
    const auto at = address("10.2.0.1:" + std::to_string(9000 + i));
    servers.push_back(std::make_unique<Server>(book, server_loop, at));
    servers.back()->open();
  }
  configure();
}

World::~World() {
  network.set_faults({});
  for (const auto& server : servers) server->close();
  network.run_until(
      [this] { return std::ranges::all_of(servers, [](auto& each) { return each->is_idle(); }); },
      Duration::seconds(10));
}

void World::configure() {
  for (Site* site : sites()) site->config.limits = plan.limits;
  west.config.listeners = {listener()};
  if (!east_) {
    west.config.connectors = {connector(plan.backends)};
    publish(west);
    return;
  }
  Site& dialer = plan.east_dials ? *east_ : west;
  Site& acceptor = plan.east_dials ? west : *east_;
  const auto at = address(plan.east_dials ? "10.0.0.1:55671" : "10.0.0.2:55671");
  east_->config.connectors = {connector(plan.backends)};
  west.config.remote_services = {{.routing_key = std::string(kKey), .site_id = "east"}};
  acceptor.config.acceptors = {
      {.name = "access", .addresses = {at}, .credentials = credentials_of(acceptor.name())}};
  dialer.config.links = {link_to(dialer, acceptor, at)};
  publish(acceptor);
  publish(dialer);
}

proxy::ListenerConfig World::listener() const {
  return {.name = "front", .routing_key = std::string(kKey), .addresses = {service_}};
}

proxy::ConnectorConfig World::connector(uint32_t backends) const {
  proxy::ConnectorConfig config{.name = "back", .routing_key = std::string(kKey), .host = "server"};
  for (uint32_t i = 0; i < backends; ++i) config.addresses.push_back(servers[i]->address());
  return config;
}

void World::publish(Site& site) {
  site.publish();
  BOOST_TEST(until([&] { return site.is_applied(); }, Duration::seconds(5)));
  for (const auto& problem : site.problems()) {
    BOOST_ERROR(problem.kind << ' ' << problem.name << ": " << problem.text);
  }
}

bool World::until_linked(Duration limit) {
  if (!east_) return true;
  return until([this] { return west.all_links_open() && east_->all_links_open(); }, limit);
}

void World::disturb(uint64_t seed) {
  Rng rng(seed * 7919);
  const auto some = [&](uint32_t most) { return static_cast<uint32_t>(rng.below(most)); };
  network.set_faults({.small_chunk = some(20'000),
                      .delayed_completion = some(100'000),
                      .starvation = some(100'000),
                      .cancel_race = some(1'000'000),
                      .accept_limit = some(100'000)});
}

Exchange& World::start(const FlowPlan& client, const FlowPlan& server) {
  return book.start(client_loop, service_, client, server);
}

void World::check_bounds() {
  // A delivery may be under way when a receive is paused. A cancel that loses its race leaves it
  // everything that has arrived.
  has_had_races_ = has_had_races_ || network.faults().cancel_race > 0;
  const uint64_t arrived_bytes = has_had_races_ ? plan.options.receive_buffer_bytes : 0;
  const Bounds bounds{.has_link = plan.has_link(),
                      .overshoot_bytes = plan.options.delivery_bytes_max + arrived_bytes,
                      .mesh_bytes = mesh_bytes_max};
  for (Site* site : sites()) check_turn(*site, bounds, lowest_credit);
}

void World::finish() {
  network.set_faults({});
  restore_link();
  if (!book.is_idle()) book.abort_all();
  BOOST_TEST(until_idle());
  const auto all_are_quiet = [this] {
    return std::ranges::all_of(sites(), [](Site* site) { return is_quiet(*site); }) &&
           network.open_sockets(server_host) == servers.size();
  };
  BOOST_TEST(until(all_are_quiet, Duration::seconds(10)));
  for (Site* site : sites()) {
    BOOST_TEST_CONTEXT("site " << site->name()) { check_quiet(*site); }
    site->drain(Duration::seconds(1));
  }
  BOOST_TEST(network.open_sockets(client_host) == 0u);
  BOOST_TEST(network.open_sockets(server_host) == servers.size());
  const auto all_are_drained = [this] {
    return std::ranges::all_of(sites(), [](Site* site) { return site->is_drained(); });
  };
  BOOST_TEST(until(all_are_drained, Duration::seconds(20)));
  for (Site* site : sites()) check_empty(*site);
  BOOST_TEST(network.open_sockets(west_host) == 0u);
  BOOST_TEST(network.open_sockets(east_host) == 0u);
  network.run_for(Duration::seconds(200));  // what lingers in the kernels
  BOOST_TEST(network.connections() == 0u);
  BOOST_TEST(network.octets_queued() == 0u);
  BOOST_TEST(network.octets_in_flight() == 0u);
  BOOST_TEST_MESSAGE("trace " << network.trace_hash());  // equal in every run of a seed
}

}  // namespace istmo::sim
