#include "control/mesh_routes.h"

#include <boost/test/unit_test.hpp>
#include <deque>
#include <optional>
#include <set>

#include "base/rng.h"
#include "control/mesh_announcer.h"
#include "dataplane/codec/mesh_reader.h"
#include "dataplane/proxy/snapshot.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string kHere = "west";

MeshSiteState state_of(const std::string& id) {
  MeshSiteState state{.site = {id, id, "", "linux", "0.1.0"}};
  state.services = {{"key-of-" + id, "tcp", {8080}, {"c"}, {}}};
  return state;
}

MeshRoute route_to(const std::string& id, std::vector<std::string> path, uint32_t cost,
                   bool is_cut = false) {
  const MeshSiteState state = state_of(id);
  return {.site = state.site,
          .services = state.services,
          .links = {},
          .path = std::move(path),
          .cost = cost,
          .is_cut = is_cut};
}

RemoteSite neighbour(const std::string& id, std::vector<MeshRoute> routes = {}) {
  RemoteSite site{.state = state_of(id)};
  site.state.routes = std::move(routes);
  return site;
}

const RemoteSite* find(const std::vector<RemoteSite>& sites, const std::string& id) {
  for (const RemoteSite& site : sites) {
    if (site.state.site.id == id) return &site;
  }
  return nullptr;
}

const MeshRoute* find(const std::vector<MeshRoute>& routes, const std::string& id) {
  for (const MeshRoute& route : routes) {
    if (route.site.id == id) return &route;
  }
  return nullptr;
}

using Path = std::vector<std::string>;

// --- a network whose sites tell each other, one message at a time ----------------------------

class Network {
 public:
  Network(size_t count, uint64_t seed) : rng_(seed) {
    for (size_t i = 0; i < count; ++i) nodes_.emplace_back("site" + std::to_string(i));
  }

  void link(size_t a, size_t b, uint32_t cost) {
    costs_[std::minmax(a, b)] = cost;
    for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
      nodes_[from].mesh.on_replica_open(replica(to));
      nodes_[from].announcer.forget(replica(to));
      nodes_[from].is_dirty = true;
    }
  }
  void unlink(size_t a, size_t b, MeshState::Loss loss) {
    costs_.erase(std::minmax(a, b));
    std::erase_if(letters_, [&](const Letter& letter) {
      return std::minmax(letter.from, letter.to) == std::minmax(a, b);
    });
    for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
      nodes_[from].mesh.on_replica_lost(replica(to), loss, now_);
      nodes_[from].announcer.forget(replica(to));
      nodes_[from].is_dirty = true;
    }
  }
  bool is_linked(size_t a, size_t b) const { return costs_.contains(std::minmax(a, b)); }

  // Until nobody has anything new to say. How many messages that took.
  size_t settle() {
    size_t messages = 0;
    while (step()) BOOST_REQUIRE(++messages < 20'000);
    return messages;
  }
  // One site takes stock, or one message arrives; of each pair of sites in order.
  bool step() {
    std::vector<size_t> dirty;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].is_dirty) dirty.push_back(i);
    }
    if (dirty.empty() && letters_.empty()) return false;
    if (!dirty.empty() && (letters_.empty() || rng_.between(0, 1) == 0)) {
      refresh(dirty[rng_.between(0, dirty.size() - 1)]);
      return true;
    }
    const auto [from, to] = letters_[rng_.between(0, letters_.size() - 1)].ends();
    const auto first = std::ranges::find_if(
        letters_, [&](const Letter& one) { return one.from == from && one.to == to; });
    const Letter letter = *first;
    letters_.erase(first);
    const auto changed = nodes_[letter.to].mesh.on_message(replica(letter.from), letter.text);
    BOOST_REQUIRE(changed.has_value());
    nodes_[letter.to].is_dirty |= *changed;
    return true;
  }
  // Every site forgets what it held of neighbours that are gone.
  void let_hold_end() {
    now_ = now_ + MeshState::kHoldTime;
    for (Node& node : nodes_) node.is_dirty |= node.mesh.tick(now_);
  }

  // Cost of the best way from one site to each one that it reaches, of the links as they are.
  std::map<std::string, uint64_t> distances(size_t from) const {
    std::map<size_t, uint64_t> known = {{from, 0}};
    for (bool is_changed = true; is_changed;) {
      is_changed = false;
      for (const auto& [ends, cost] : costs_) {
        for (const auto& [a, b] : {ends, std::pair(ends.second, ends.first)}) {
          if (!known.contains(a)) continue;
          const uint64_t total = known[a] + cost;
          if (known.contains(b) && known[b] <= total) continue;
          known[b] = total;
          is_changed = true;
        }
      }
    }
    std::map<std::string, uint64_t> distances;
    for (const auto& [node, distance] : known) {
      if (node != from) distances[nodes_[node].id] = distance;
    }
    return distances;
  }
  // The same as the site believes it, of what it takes for reachable.
  std::map<std::string, uint64_t> believed(size_t at) const {
    std::map<std::string, uint64_t> distances;
    for (const MeshRoute& route : nodes_[at].told) {
      if (!route.is_cut) distances[route.site.id] = route.cost;
    }
    return distances;
  }
  size_t known(size_t at) const { return nodes_[at].told.size(); }
  size_t size() const { return nodes_.size(); }
  uint64_t random(uint64_t low, uint64_t high) { return rng_.between(low, high); }

 private:
  struct Node {
    explicit Node(std::string its_id) : id(its_id), mesh(std::move(its_id)) {}
    std::string id;
    MeshState mesh;
    MeshAnnouncer announcer;
    std::vector<MeshRoute> told;
    bool is_dirty = false;
  };
  struct Letter {
    size_t from;
    size_t to;
    std::string text;
    std::pair<size_t, size_t> ends() const { return {from, to}; }
  };

  proxy::Replica replica(size_t node) const { return {nodes_[node].id, "r"}; }

  void refresh(size_t at) {
    Node& node = nodes_[at];
    node.is_dirty = false;
    NeighbourCosts costs;
    for (const auto& [ends, cost] : costs_) {
      if (ends.first == at) costs[nodes_[ends.second].id] = cost;
      if (ends.second == at) costs[nodes_[ends.first].id] = cost;
    }
    std::vector<RemoteSite> sites = node.mesh.sites();
    add_ways(sites, node.id, costs);
    node.told = routes_to_tell(sites, costs).routes;
    MeshSiteState state = state_of(node.id);
    state.routes = node.told;
    for (size_t other = 0; other < nodes_.size(); ++other) {
      if (other == at || !is_linked(at, other)) continue;
      std::string text = node.announcer.message_for(replica(other), state, {});
      if (!text.empty()) letters_.push_back({at, other, std::move(text)});
    }
  }

  Rng rng_;
  Instant now_{1'000'000'000};
  std::vector<Node> nodes_;
  std::map<std::pair<size_t, size_t>, uint32_t> costs_;
  std::deque<Letter> letters_;
};

void check_tables(const Network& network) {
  for (size_t i = 0; i < network.size(); ++i) {
    BOOST_TEST((network.believed(i) == network.distances(i)), "site " << i);
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(mesh_routes)

BOOST_AUTO_TEST_CASE(a_site_behind_a_neighbour_is_reached_over_it) {
  std::vector<RemoteSite> sites = {neighbour("b", {route_to("c", {}, 3), route_to("d", {"c"}, 5)})};
  add_ways(sites, kHere, {{"b", 10}});
  BOOST_REQUIRE(sites.size() == 3u);
  const RemoteSite* c = find(sites, "c");
  BOOST_REQUIRE(c);
  BOOST_TEST(!c->is_neighbour());
  BOOST_TEST(c->is_reachable);
  BOOST_TEST((c->state.services == state_of("c").services));
  BOOST_TEST((c->ways == std::vector{MeshWay{.neighbour = "b", .path = {"b"}, .cost = 3}}));
  BOOST_TEST((find(sites, "d")->ways ==
              std::vector{MeshWay{.neighbour = "b", .path = {"b", "c"}, .cost = 5}}));
  const auto told = routes_to_tell(sites, {{"b", 10}});
  BOOST_TEST(told.left_out == 0u);
  BOOST_REQUIRE(told.routes.size() == 3u);
  BOOST_TEST((told.routes[0] == route_to("b", {}, 10)));
  BOOST_TEST((told.routes[1] == route_to("c", {"b"}, 13)));
  BOOST_TEST((told.routes[2] == route_to("d", {"b", "c"}, 15)));
}

BOOST_AUTO_TEST_CASE(what_leads_in_a_circle_or_too_far_is_no_way) {
  const Path six = {"1", "2", "3", "4", "5", "6"};
  Path seven = six;
  seven.push_back("7");
  std::vector<RemoteSite> sites = {
      neighbour("b", {route_to(kHere, {}, 1), route_to("b", {}, 1), route_to("x", {kHere}, 1),
                      route_to("y", {"c", "b"}, 1), route_to("z", {"c", "z"}, 1),
                      route_to("far", six, 1), route_to("too-far", seven, 1)})};
  add_ways(sites, kHere, {});
  BOOST_TEST(sites.size() == 2u);
  BOOST_TEST(find(sites, "far"));
}

BOOST_AUTO_TEST_CASE(the_best_ways_are_kept_and_a_cut_one_is_the_last) {
  std::vector<RemoteSite> sites;
  NeighbourCosts costs;
  for (const auto& [id, cost] : std::map<std::string, uint32_t>{
           {"a", 7}, {"b", 5}, {"c", 1}, {"d", 5}, {"e", 9}, {"f", 8}}) {
    sites.push_back(neighbour(id, {route_to("x", {}, 1, id == "c")}));
    costs[id] = cost;
  }
  sites.push_back(neighbour("near", {route_to("x", {"n"}, 1)}));  // as dear as b, and longer
  costs["near"] = 5;
  add_ways(sites, kHere, costs);
  Path order;
  for (const MeshWay& way : find(sites, "x")->ways) order.push_back(way.neighbour);
  BOOST_TEST((order == Path{"b", "d", "near", "a"}));
  BOOST_TEST(find(sites, "x")->is_reachable);
}

BOOST_AUTO_TEST_CASE(a_neighbour_is_also_reached_over_another_one) {
  std::vector<RemoteSite> sites = {neighbour("b", {route_to("c", {}, 1)}), neighbour("c")};
  sites[1].state.services.clear();  // its own word, which is newer than b's
  add_ways(sites, kHere, {{"b", 1}, {"c", 5}});
  BOOST_REQUIRE(sites.size() == 2u);
  BOOST_TEST(sites[1].is_linked);
  BOOST_TEST(sites[1].state.services.empty());
  BOOST_TEST(sites[1].ways.size() == 1u);
  // The way over b is cheaper than the own link.
  BOOST_TEST((find(routes_to_tell(sites, {{"b", 1}, {"c", 5}}).routes, "c")->path == Path{"b"}));
  BOOST_TEST(find(routes_to_tell(sites, {{"b", 1}, {"c", 2}}).routes, "c")->path.empty());
}

BOOST_AUTO_TEST_CASE(a_lost_neighbour_is_reachable_while_another_one_reaches_it) {
  std::vector<RemoteSite> sites = {neighbour("b", {route_to("c", {}, 1)}), neighbour("c")};
  sites[1].is_reachable = false;  // held
  sites[1].state.services.clear();
  add_ways(sites, kHere, {{"b", 1}});
  BOOST_TEST(sites[1].is_reachable);
  BOOST_TEST(sites[1].state.services.size() == 1u);
  const auto told = routes_to_tell(sites, {{"b", 1}}).routes;
  BOOST_TEST((*find(told, "c") == route_to("c", {"b"}, 2)));
}

BOOST_AUTO_TEST_CASE(what_is_lost_on_the_way_is_told_as_cut) {
  std::vector<RemoteSite> sites = {neighbour("b", {route_to("c", {}, 1, true)}),
                                   neighbour("d", {route_to("e", {}, 1)})};
  sites[1].is_reachable = false;
  add_ways(sites, kHere, {{"b", 1}});
  for (const char* id : {"c", "e"}) {
    BOOST_TEST(!find(sites, id)->is_reachable);
    BOOST_TEST(find(sites, id)->ways.front().is_cut);
  }
  const auto told = routes_to_tell(sites, {{"b", 1}}).routes;
  for (const MeshRoute& route : told) BOOST_TEST(route.is_cut == (route.site.id != "b"));
}

BOOST_AUTO_TEST_CASE(the_farthest_sites_are_left_out_when_there_are_too_many) {
  std::vector<RemoteSite> sites;
  NeighbourCosts costs;
  for (uint32_t i = 0; i < 3; ++i) {
    const std::string id = "site" + std::to_string(i);
    sites.push_back(neighbour(id));
    sites.back().state.services.assign(kMeshServicesMax / 2, {"key", "tcp", {}, {"c"}, {}});
    costs[id] = 10 - i;
  }
  const auto told = routes_to_tell(sites, costs);
  BOOST_TEST(told.left_out == 1u);
  BOOST_REQUIRE(told.routes.size() == 2u);
  BOOST_TEST(told.routes[0].site.id == "site2");
  BOOST_TEST(told.routes[1].site.id == "site1");
}

// However much a near site offers.
BOOST_AUTO_TEST_CASE(no_neighbour_takes_the_room_of_the_others) {
  std::vector<RemoteSite> sites;
  NeighbourCosts costs;
  for (const char* id : {"wide", "b", "c"}) {
    sites.push_back(neighbour(id));
    costs[id] = 2;
  }
  costs["wide"] = 1;
  for (size_t i = 0; i < kMeshServicesMax; ++i) {
    sites[0].state.services.push_back({"key" + std::to_string(i), "tcp", {}, {"c"}, {}});
  }
  const auto told = routes_to_tell(sites, costs);
  BOOST_TEST(told.left_out == 1u);
  BOOST_TEST(find(told.routes, "b"));
  BOOST_TEST(find(told.routes, "c"));
}

BOOST_AUTO_TEST_CASE(a_site_that_is_known_by_another_name_finds_itself) {
  RemoteSite hub = neighbour("hub");
  MeshRoute self = route_to("made-by-link-generate", {}, 1);
  self.site.own_id = kHere;
  hub.state.routes = {self, route_to("x", {kHere}, 1), route_to("y", {}, 1)};
  std::vector<RemoteSite> sites = {hub};
  add_ways(sites, kHere, {});
  BOOST_TEST(sites.size() == 2u);
  BOOST_TEST(find(sites, "y"));
  // So the path has what each site calls itself.
  sites = {neighbour("named", {route_to("y", {}, 1)})};
  sites[0].state.site.own_id = "uuid";
  add_ways(sites, kHere, {});
  BOOST_TEST(find(sites, "y")->ways.front().neighbour == "named");
  BOOST_TEST((find(sites, "y")->ways.front().path == Path{"uuid"}));
}

// --- who is told what ------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(nobody_is_told_of_ways_to_or_over_himself) {
  MeshAnnouncer announcer;
  MeshSiteState state = state_of(kHere);
  state.routes = {route_to("b", {}, 1), route_to("c", {}, 1), route_to("d", {"b"}, 2)};
  const auto told = [&](const std::string& site) {
    Path sites;
    const std::string message = announcer.message_for({site, "r"}, state, {});
    if (message.empty()) return sites;
    const auto read = read_mesh_message(message);
    for (const MeshRoute& route : read->state.routes) sites.push_back(route.site.id);
    return sites;
  };
  BOOST_TEST((told("b") == Path{"c"}));
  BOOST_TEST((told("c") == Path{"b", "d"}));
  state.routes.push_back(route_to("e", {"b"}, 2));
  BOOST_TEST(announcer.message_for({"b", "r"}, state, {}).empty());  // no news for that one
  BOOST_TEST((told("c") == Path{"b", "d", "e"}));
  state.is_leaving = true;
  BOOST_TEST((told("b") == Path{"c"}));
  BOOST_TEST(announcer.message_for({"b", "r"}, state, {}).empty());
  announcer.forget({"b", "r"});
  BOOST_TEST((told("b") == Path{"c"}));
}

// Every part of it may have the largest size, and the message has it not.
BOOST_AUTO_TEST_CASE(a_message_fits_and_what_has_no_room_is_counted) {
  const std::string name(249, 'n');
  const auto wide = [&](const std::string& id) {
    MeshSiteState state = state_of(id);
    for (int i = 0; i < 5000; ++i) {
      state.services.push_back({name + std::to_string(i), "tcp", {}, {name}, {}});
    }
    return state;
  };
  MeshAnnouncer announcer;
  MeshSiteState state = wide(kHere);
  state.links.assign(kMeshLinksMax + 1, {"link", "b", "b", true});  // more than readers take
  std::vector<MeshSiteState> neighbours;
  for (int i = 0; i < 20; ++i) {
    neighbours.push_back(state_of("n" + std::to_string(i)));
    neighbours.back().routes = {route_to("x", {}, 1), route_to("y", {}, 1)};
    neighbours.back().routes[i % 2].services = state.services;
  }
  neighbours.push_back(wide("too-wide"));
  const std::string message = announcer.message_for({"b", "r"}, state, {}, neighbours);
  const auto read = read_mesh_message(message);
  BOOST_REQUIRE_MESSAGE(read.has_value(), (read ? "" : read.error().text()));
  BOOST_TEST(message.size() <= codec::kMeshMessageBytesMax);
  BOOST_TEST(read->state.services.size() > 2000u);
  BOOST_TEST(read->neighbours.size() == 20u);  // all but the one that has no room
  BOOST_TEST(announcer.left_out() == 1 + 5001 - read->state.services.size());
  for (const MeshSiteState& neighbour : read->neighbours) {
    BOOST_TEST(neighbour.routes.size() == 1u);  // the small one
  }
}

BOOST_AUTO_TEST_CASE(sums_of_costs_end_at_the_largest_number) {
  std::vector<RemoteSite> sites = {neighbour("b", {route_to("c", {}, UINT32_MAX)})};
  add_ways(sites, kHere, {{"b", UINT32_MAX}});
  BOOST_TEST(find(routes_to_tell(sites, {{"b", UINT32_MAX}}).routes, "c")->cost == UINT32_MAX);
}

// In whatever order messages arrive: every site knows the cheapest way to every other one, after
// links came, went in order, and were lost; and a site that is gone is forgotten everywhere.
BOOST_AUTO_TEST_CASE(tables_settle_after_every_change) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      Network network(2 + seed % 7, seed);
      for (int change = 0; change < 25; ++change) {
        const size_t a = network.random(0, network.size() - 1);
        const size_t b = network.random(0, network.size() - 1);
        if (a == b) continue;
        if (!network.is_linked(a, b)) {
          network.link(a, b, static_cast<uint32_t>(network.random(1, 20)));
        } else if (network.random(0, 1) == 0) {
          network.unlink(a, b, MeshState::Loss::orderly);
        } else {
          network.unlink(a, b, MeshState::Loss::silent);
        }
        // The next change comes before all have heard of this one, or after.
        if (network.random(0, 2) == 0) {
          for (uint64_t steps = network.random(0, 30); steps > 0 && network.step();) --steps;
          continue;
        }
        network.settle();
        check_tables(network);
      }
      network.settle();
      network.let_hold_end();
      network.settle();
      check_tables(network);
      for (size_t i = 0; i < network.size(); ++i) {
        BOOST_TEST(network.known(i) == network.distances(i).size());  // nothing is held any more
      }
    }
  }
}

// Nobody learns of it step by step from others who have not heard yet.
BOOST_AUTO_TEST_CASE(a_site_that_leaves_a_dense_network_costs_few_messages) {
  constexpr size_t kSites = 6;
  Network network(kSites, 7);
  for (size_t a = 0; a + 1 < kSites; ++a) {
    for (size_t b = a + 1; b + 1 < kSites; ++b) network.link(a, b, 1);
  }
  network.link(0, kSites - 1, 1);
  network.settle();
  check_tables(network);
  network.unlink(0, kSites - 1, MeshState::Loss::orderly);
  const size_t messages = network.settle();
  check_tables(network);
  BOOST_TEST(messages < 400u);
  BOOST_TEST(network.known(1) == kSites - 2);
}

BOOST_AUTO_TEST_SUITE_END()
