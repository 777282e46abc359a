// The stage of a simulation: clients, the site "west" where they connect, servers, and either one
// site that has both (plain proxy) or a second site "east" next to the servers and a link.
//
//   clients 10.1.0.1 --> west 10.0.0.1:8080 == link ==> east 10.0.0.2 --> servers 10.2.0.1:9000...
//
// finish() ends everything and checks that nothing is left.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkers.h"
#include "exchange.h"
#include "site.h"

namespace istmo::sim {

struct WorldPlan {
  uint32_t west_workers = 1;
  uint32_t east_workers = 1;  // 0: one site
  bool east_dials = true;
  uint32_t backends = 1;
  io::SimOptions options;
  proxy::Limits limits;

  bool has_link() const { return east_workers > 0; }
};

class World {
 public:
  World(uint64_t seed, const WorldPlan& plan);
  ~World();

  Exchange& start(const FlowPlan& client, const FlowPlan& server);
  // Steps; every step checks the bounds that always hold.
  template <class Predicate>
  bool until(Predicate&& predicate, Duration limit = Duration::seconds(120)) {
    const Instant deadline = network.now() + limit;
    while (!predicate()) {
      if (network.now() >= deadline || !network.step(deadline)) return predicate();
      check_bounds();
    }
    return true;
  }
  void run_for(Duration time) {
    until([] { return false; }, time);
  }
  bool until_idle(Duration limit = Duration::seconds(120)) {
    return until([this] { return book.is_idle(); }, limit);
  }
  void publish(Site& site);
  bool until_linked(Duration limit = Duration::seconds(30));
  // Faults that do not break connections, mildly; `seed` chooses which.
  void disturb(uint64_t seed);
  template <class Check>
  void for_each(Check&& check) {
    for (const auto& [id, exchange] : book.exchanges()) check(*exchange);
  }
  void finish();

  Site& east() { return east_ ? *east_ : west; }
  const io::Address& service() const { return service_; }
  void cut_link() { network.cut(west.host(), east().host()); }
  void restore_link() { network.restore(west.host(), east().host()); }
  proxy::ConnectorConfig connector(uint32_t backends) const;
  proxy::ListenerConfig listener() const;
  uint64_t random(uint64_t low, uint64_t high) { return book.rng().between(low, high); }

  WorldPlan plan;
  io::SimNetwork network;
  Book book;
  io::SimHost west_host;
  io::SimHost east_host;
  io::SimHost client_host;
  io::SimHost server_host;
  io::SimLoop client_loop{network, client_host};
  io::SimLoop server_loop{network, server_host};
  Site west;
  std::vector<std::unique_ptr<Server>> servers;
  LowestCredit lowest_credit;
  uint64_t mesh_bytes_max = 0;  // queued at a link, of simulations that use the mesh

 private:
  void configure();
  void check_bounds();
  std::vector<Site*> sites() {
    return east_ ? std::vector{&west, east_.get()} : std::vector{&west};
  }

  std::unique_ptr<Site> east_;
  io::Address service_;
  bool has_had_races_ = false;
};

io::Address address(const std::string& text);

// Each seed takes the next arrangement of workers, and the other side dials: one site with 1 and 3
// workers; two sites with 1x1, 2x1, 1x4 and 3x2.
WorldPlan arrangement_of(uint64_t seed);

// The seeds of a case: 1..count, or the one that ISTMO_SIM_SEED names.
std::vector<uint64_t> seeds(uint64_t count);

}  // namespace istmo::sim

// Names the seed in every failure, a failed assertion's included.
#define FOR_SEEDS(count, seed)                                \
  for (const uint64_t seed : ::istmo::sim::seeds(count))      \
    BOOST_TEST_CONTEXT("replay with ISTMO_SIM_SEED=" << seed) \
  if (BOOST_TEST_CHECKPOINT("ISTMO_SIM_SEED=" << seed); true)
