// When a site dials again: at once, then later and later, by chance a little earlier, up to a most.
#include <boost/test/unit_test.hpp>

#include <algorithm>

#include "link_program.h"
#include "world.h"

namespace istmo::sim {
namespace {

constexpr Duration kAtOnce = Duration::milliseconds(10);
constexpr Duration kFirst = Duration::milliseconds(50);
constexpr Duration kHandshake = Duration::milliseconds(10);  // at most, here

// A site that dials a program, and when it did.
class Dialing final : public io::SimObserver {
 public:
  explicit Dialing(uint64_t seed) : world(seed, {.west_workers = 1, .east_workers = 0}) {
    world.network.set_observer(this);
  }
  ~Dialing() { world.network.set_observer(nullptr); }

  void start() {
    world.west.config.links = {{.name = "to-bob",
                                .targets = {{.host = "bob", .addresses = {at}}},
                                .credentials = credentials_of("west")}};
    world.publish(world.west);
  }
  void finish() {
    port.close();
    BOOST_TEST(world.until([&] { return port.is_idle(); }));
    world.finish();
  }
  void on_octets_sent(io::SimHost, io::SimHost, uint64_t) override {}
  void on_octets_received(io::SimHost, io::SimHost, uint64_t) override {}
  void on_connect(io::SimHost from, io::SimHost to) override {
    if (from == world.west_host && to == host) dialed_at.push_back(world.network.now());
  }

  World world;
  io::SimHost host = world.network.add_host({"10.3.0.1"});
  io::SimLoop loop{world.network, host};
  const io::Address at = address("10.3.0.1:55671");
  LinkPort port{loop, "bob", at};
  std::vector<Instant> dialed_at;
};

std::vector<Duration> gaps_of(const std::vector<Instant>& times) {
  std::vector<Duration> gaps;
  for (size_t i = 1; i < times.size(); ++i) gaps.push_back(times[i] - times[i - 1]);
  return gaps;
}

// The first retry at once, then 50 ms, 100 ms ... at most `longest`, and up to a quarter less.
// Returns how long the waits at the most were, in per cent of it.
std::vector<int64_t> check_growth(const std::vector<Duration>& gaps, Duration longest) {
  std::vector<int64_t> shares;
  BOOST_REQUIRE(gaps.size() >= 12u);
  BOOST_TEST((gaps[0] < kAtOnce));
  Duration nominal = kFirst;
  for (size_t i = 1; i < gaps.size(); ++i) {
    BOOST_TEST_CONTEXT("retry " << i + 1 << " after " << gaps[i].to_milliseconds() << " ms") {
      BOOST_TEST((gaps[i] >= nominal * 3 / 4));
      BOOST_TEST((gaps[i] <= nominal + kHandshake));
    }
    if (nominal == longest) shares.push_back(gaps[i].ns * 100 / longest.ns);
    nominal = std::min(nominal * 2, longest);
  }
  return shares;
}

// Not in step with others: all of the last quarter is used.
void check_chance(const std::vector<int64_t>& shares) {
  BOOST_REQUIRE(shares.size() >= 50u);
  BOOST_TEST(std::ranges::min(shares) < 80);
  BOOST_TEST(std::ranges::max(shares) >= 95);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(reconnect)

BOOST_AUTO_TEST_CASE(network_that_refuses_is_tried_at_once_and_then_up_to_every_second) {
  std::vector<int64_t> shares;
  FOR_SEEDS(4, seed) {
    Dialing dialing(seed);
    dialing.start();
    dialing.world.run_for(Duration::seconds(30));
    const auto found = check_growth(gaps_of(dialing.dialed_at), Duration::seconds(1));
    shares.insert(shares.end(), found.begin(), found.end());
    dialing.world.finish();
  }
  check_chance(shares);
}

BOOST_AUTO_TEST_CASE(site_that_refuses_is_tried_at_once_and_then_up_to_every_ten_seconds) {
  std::vector<int64_t> shares;
  FOR_SEEDS(4, seed) {
    Dialing dialing(seed);
    dialing.port.open();
    dialing.start();
    dialing.world.run_for(Duration::seconds(200));
    const auto found = check_growth(gaps_of(dialing.dialed_at), Duration::seconds(10));
    shares.insert(shares.end(), found.begin(), found.end());
    dialing.finish();
  }
  check_chance(shares);
}

BOOST_AUTO_TEST_CASE(site_that_closes_what_it_opened_is_like_one_that_refuses) {
  Dialing dialing(1);
  dialing.port.script = welcome() + goodbye();
  dialing.port.open();
  dialing.start();
  dialing.world.run_for(Duration::seconds(100));
  check_growth(gaps_of(dialing.dialed_at), Duration::seconds(10));
  dialing.finish();
}

BOOST_AUTO_TEST_CASE(link_that_was_open_for_a_while_is_dialed_again_at_once) {
  Dialing dialing(1);
  dialing.port.script = welcome();
  dialing.port.open();
  dialing.start();
  for (size_t round = 1; round <= 4; ++round) {
    BOOST_REQUIRE(dialing.world.until([&] { return dialing.world.west.links_open() == 1; }));
    BOOST_TEST(dialing.dialed_at.size() == round);
    dialing.world.run_for(Duration::seconds(6));
    const Instant lost_at = dialing.world.network.now();
    dialing.port.programs().back()->end();
    BOOST_TEST(dialing.world.until([&] { return dialing.dialed_at.size() > round; }));
    BOOST_TEST((dialing.dialed_at.back() - lost_at < kAtOnce));
  }
  dialing.finish();
}

// Refusals of the network say nothing about the site: its first failure is its first.
BOOST_AUTO_TEST_CASE(site_that_fails_once_after_an_outage_is_tried_again_at_once) {
  Dialing dialing(1);
  dialing.start();
  dialing.world.run_for(Duration::seconds(60));
  dialing.port.open();
  const auto& accepted_at = dialing.port.accepted_at();
  BOOST_TEST(dialing.world.until([&] { return accepted_at.size() == 1; }, Duration::seconds(2)));
  dialing.port.script = welcome();
  BOOST_TEST(dialing.world.until([&] { return dialing.world.west.links_open() == 1; }));
  BOOST_REQUIRE(accepted_at.size() == 2u);
  BOOST_TEST((accepted_at[1] - accepted_at[0] < kAtOnce));
  dialing.finish();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
