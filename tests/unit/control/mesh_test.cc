#include <boost/test/unit_test.hpp>

#include "control/link_table.h"
#include "control/mesh.h"
#include "control/mesh_announcer.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string kEast = "11111111-2222-4333-8444-555555555555";
const std::string kWest = "99999999-2222-4333-8444-555555555555";
const std::string kOther = "22222222-2222-4333-8444-555555555555";

MeshSiteState east() {
  MeshSiteState state;
  state.site = {kEast, "east", "leste", "linux", "0.1.0"};
  state.services = {{"a", "tcp", {8080, 9090}, {"c1", "c2"}, {}}, {"b", "tcp", {}, {}, {"l"}}};
  state.links = {{"link1", kWest, "west", true}};
  return state;
}

std::string message(uint64_t sequence) { return write_mesh_message(east(), {}, sequence); }

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  BOOST_REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

constexpr Instant kStart{1'000'000'000};

}  // namespace

BOOST_AUTO_TEST_SUITE(mesh)

BOOST_AUTO_TEST_CASE(message_is_read_back_the_same) {
  const auto read = read_mesh_message(message(7));
  BOOST_REQUIRE(read.has_value());
  BOOST_TEST(read->sequence == 7u);
  BOOST_TEST(bool(read->state == east()));
}

BOOST_AUTO_TEST_CASE(what_is_wrong_in_a_route_takes_that_route_alone) {
  MeshSiteState hub = east();
  const MeshRoute route{.site = {kOther, "south", "", "linux", "0.1.0"},
                        .services = {{"d", "tcp", {5432}, {"c"}, {}}},
                        .links = {{"link1", kEast, "east", true}},
                        .path = {"site-between"},
                        .cost = 7,
                        .is_cut = true};
  MeshRoute second = route;
  second.site.id = "second";
  hub.routes = {route, second};
  const std::string good = write_mesh_message(hub, {}, 1);
  const auto read = read_mesh_message(good);
  BOOST_REQUIRE(read.has_value());
  BOOST_TEST(bool(read->state == hub));
  const std::pair<const char*, const char*> changes[] = {
      {"\"name\":\"south\"", "\"name\":\"\""},
      {"[\"site-between\"]", "[\"site\\nbetween\"]"},
      {"[\"site-between\"]", "[1]"},
      {"[\"site-between\"]", "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]"},
      {"\"cost\":7", "\"cost\":-7"},
      {"\"cut\":true", "\"cut\":1"},
      {"5432", "70000"}};
  for (const auto& [from, to] : changes) {
    const auto without = read_mesh_message(replaced(good, from, to));
    BOOST_TEST_CONTEXT(from << " -> " << to) {
      BOOST_REQUIRE(without.has_value());
      BOOST_TEST((without->state.routes == std::vector{second}));
    }
  }
}

// What is told of sites further on has a room of its own, in which the first ones are taken.
BOOST_AUTO_TEST_CASE(services_of_all_routes_together_are_bounded) {
  MeshSiteState hub = east();
  const MeshRoute small{.site = {kOther, "small", "", "linux", "0.1.0"},
                        .services = {{"d", "tcp", {1}, {"c"}, {}}}};
  MeshRoute wide = small;
  wide.services.clear();
  for (uint16_t i = 0; i < 600; ++i) {
    wide.services.push_back({"key" + std::to_string(1000 + i), "tcp", {1}, {"c"}, {}});
  }
  MeshRoute second = wide;
  second.site.id = "second";
  wide.site.id = "wide";
  hub.routes = {wide, second, small};  // 1,201 published ports
  const auto read = read_mesh_message(write_mesh_message(hub, {}, 1));
  BOOST_REQUIRE(read.has_value());
  BOOST_TEST((read->state.routes == std::vector{wide, small}));
}

BOOST_AUTO_TEST_CASE(the_second_route_to_a_site_is_not_taken) {
  MeshSiteState hub = east();
  const MeshRoute route{.site = {kOther, "south", "", "linux", "0.1.0"}, .services = {}};
  hub.routes = {route, route};
  const auto read = read_mesh_message(write_mesh_message(hub, {}, 1));
  BOOST_REQUIRE(read.has_value());
  BOOST_TEST(read->state.routes.size() == 1u);
}

// Many short names in little text: what one site may say, all that pass it on may say, too.
BOOST_AUTO_TEST_CASE(names_are_bounded_and_too_many_values_are_no_broken_rule) {
  MeshSiteState state = east();
  state.services.clear();
  for (int i = 0; i < 250; ++i) {
    state.services.push_back({"key" + std::to_string(1000 + i), "tcp", {}, {}, {}});
    state.services.back().connectors.assign(kMeshNamesMax, "a");
  }
  const auto refused = read_mesh_message(write_mesh_message(state, {}, 1));
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().error_class() == ErrorClass::limit));
  for (ServiceInfo& service : state.services) service.connectors.resize(800);
  MeshSiteState hub = state;
  hub.routes = {{.site = {kOther, "south", "", "linux", "0.1.0"}, .services = state.services}};
  const auto read = read_mesh_message(write_mesh_message(hub, {}, 1));
  BOOST_REQUIRE(read.has_value());
  BOOST_TEST(bool(read->state == hub));
  std::string values = "{\"version\":1,\"new\":[0";
  for (int i = 0; i < 600'000; ++i) values += ",0";
  const auto too_many = read_mesh_message(values + "]}");
  BOOST_REQUIRE(!too_many.has_value());
  BOOST_TEST((too_many.error().error_class() == ErrorClass::limit));
}

// The weights that writers keep to are never less than what is written.
BOOST_AUTO_TEST_CASE(a_message_is_no_longer_than_its_weight) {
  MeshSiteState state = east();
  state.site.namespace_name = "\"\\\xff\xc3\xa9";
  state.services.push_back({"\xff\xff\xff",
                            "tcp",
                            std::vector<uint16_t>(64, 65535),
                            std::vector<std::string>(50, "\"quoted\""),
                            {"l"}});
  for (int i = 0; i < 50; ++i) state.links.push_back({"", "", "", false, UINT32_MAX});
  BOOST_TEST(write_mesh_site(state).size() <= weight_of(state).bytes);
  const MeshRoute route{.site = state.site,
                        .services = state.services,
                        .links = state.links,
                        .path = std::vector<std::string>(8, "\xff"),
                        .cost = UINT32_MAX,
                        .is_cut = true};
  BOOST_TEST(write_mesh_route(route).size() <= weight_of(route).bytes);
}

// Its new process has not met the sites again that the one before knew.
BOOST_AUTO_TEST_CASE(routes_of_a_process_that_is_gone_are_held_beside_those_of_the_next) {
  MeshState mesh(kWest);
  MeshSiteState state = east();
  const MeshRoute south{.site = {kOther, "south", "", "linux", "0.1.0"}, .services = {}};
  MeshRoute north = south;
  north.site.id = "north";
  state.routes = {south, north};
  BOOST_TEST(*mesh.on_message({kEast, "a"}, write_mesh_message(state, {}, 1)));
  BOOST_TEST(mesh.on_replica_lost({kEast, "a"}, MeshState::Loss::silent, kStart));
  state.routes = {north};
  BOOST_TEST(*mesh.on_message({kEast, "b"}, write_mesh_message(state, {}, 1)));
  MeshRoute held = south;
  held.is_cut = true;
  BOOST_TEST((mesh.sites().at(0).state.routes == std::vector{north, held}));
  BOOST_TEST(mesh.tick(kStart + MeshState::kHoldTime));
  BOOST_TEST((mesh.sites().at(0).state.routes == std::vector{north}));
}

BOOST_AUTO_TEST_CASE(replicas_together_tell_the_best_routes_of_any) {
  MeshState mesh(kWest);
  const auto told = [](uint32_t cost, bool is_cut, uint64_t sequence) {
    MeshSiteState state = east();
    state.routes = {{.site = {kOther, "south", "", "linux", "0.1.0"},
                     .services = {},
                     .links = {},
                     .path = {},
                     .cost = cost,
                     .is_cut = is_cut}};
    return write_mesh_message(state, {}, sequence);
  };
  const auto cost = [&] { return mesh.sites().at(0).state.routes.at(0).cost; };
  BOOST_TEST(*mesh.on_message({kEast, "a"}, told(5, false, 1)));
  BOOST_TEST(*mesh.on_message({kEast, "b"}, told(3, false, 1)));
  BOOST_TEST(cost() == 3u);
  BOOST_TEST(*mesh.on_message({kEast, "b"}, told(3, true, 2)));
  BOOST_TEST(cost() == 5u);
  BOOST_TEST(mesh.sites().at(0).state.routes.size() == 1u);
}

BOOST_AUTO_TEST_CASE(hostile_messages_are_refused) {
  const std::string good = message(1);
  const std::pair<const char*, const char*> changes[] = {
      {"\"version\":1,", "\"version\":2,"},
      {"\"sequence\":1", "\"sequence\":-1"},
      {"\"id\":\"11111111-2222-4333-8444-555555555555\"", "\"id\":\"\""},
      {"\"name\":\"east\"", "\"name\":\"ea\\nst\""},
      {"\"name\":\"east\"", "\"name\":5"},
      {"8080", "80800"},
      {"8080", "0"},
      {"8080", "\"80\""},
      {"\"routingKey\":\"a\"", "\"routingKey\":\"b\""},
      {"\"routingKey\":\"a\"", "\"routingKey\":\"\""},
      {"\"services\":[", "\"services\":[5,"},
      {"\"connectors\":[", "\"connectors\":[{},"}};
  for (const auto& [from, to] : changes) {
    BOOST_TEST(!read_mesh_message(replaced(good, from, to)).has_value(), from << " -> " << to);
  }
  for (size_t cut = 0; cut < good.size(); ++cut) {
    BOOST_TEST(!read_mesh_message(good.substr(0, cut)).has_value());
  }
  BOOST_TEST(!read_mesh_message("[]").has_value());
  BOOST_TEST(read_mesh_message(replaced(good, "\"version\":1,", "\"new\":[1],\"version\":1,"))
                 .has_value());
}

// Whoever breaks the rules loses the link; whoever is ahead of us, or very large, is ignored.
BOOST_AUTO_TEST_CASE(a_later_version_and_too_many_services_break_no_rule) {
  const auto class_of = [](const std::string& text) {
    return to_string(read_mesh_message(text).error().error_class());
  };
  BOOST_TEST(class_of(replaced(message(1), "\"version\":1,", "\"version\":2,")) == "refused");
  MeshSiteState large = east();
  large.links.assign(1001, large.links.front());
  BOOST_TEST(class_of(write_mesh_message(large, {}, 1)) == "limit");
  MeshSiteState wide = east();
  wide.services.clear();
  for (uint16_t i = 0; i < 1001; ++i) {
    const auto port = static_cast<uint16_t>(1000 + i);
    wide.services.push_back({"key" + std::to_string(i), "tcp", {port}, {"c"}, {}});
  }
  BOOST_TEST(class_of(write_mesh_message(wide, {}, 1)) == "limit");
  wide.services.pop_back();
  BOOST_TEST(read_mesh_message(write_mesh_message(wide, {}, 1)).has_value());
  BOOST_TEST(class_of("nonsense") == "protocol");
  BOOST_TEST(class_of(replaced(message(1), "8080", "80800")) == "protocol");
}

BOOST_AUTO_TEST_CASE(site_must_call_itself_as_its_certificate_does) {
  MeshState state(kWest);
  const std::string other = "6f0c3b1e-7d52-4a86-9a53-1f2e3d4c5b6a";
  BOOST_TEST(!state.on_message({other, ""}, message(1)).has_value());
  MeshState self(kEast);
  BOOST_TEST(!self.on_message({kEast, ""}, message(1)).has_value());
  BOOST_TEST(state.sites().empty());
}

BOOST_AUTO_TEST_CASE(certificate_that_names_no_site_gives_the_neighbour_its_name) {
  MeshState state(kWest);
  BOOST_TEST(*state.on_message({"link-from-east", ""}, message(1)));
  BOOST_REQUIRE(state.sites().size() == 1u);
  BOOST_TEST(state.sites().front().state.site.id == "link-from-east");
}

BOOST_AUTO_TEST_CASE(certificate_that_names_no_site_is_the_identity) {
  MeshState state(kWest);
  BOOST_TEST(*state.on_message({"link-file", ""}, message(1)));
  BOOST_TEST(state.sites().at(0).state.site.id == "link-file");
}

BOOST_AUTO_TEST_CASE(old_sequence_numbers_change_nothing_until_the_channel_opens_anew) {
  MeshState state(kWest);
  BOOST_TEST(*state.on_message({kEast, ""}, message(5)));
  MeshSiteState changed = east();
  changed.services.pop_back();
  BOOST_TEST(!*state.on_message({kEast, ""}, write_mesh_message(changed, {}, 4)));
  BOOST_TEST(state.sites().at(0).state.services.size() == 2u);
  BOOST_TEST(!*state.on_message({kEast, ""}, message(6)));  // the same again
  state.on_replica_open({kEast, ""});
  BOOST_TEST(*state.on_message({kEast, ""}, write_mesh_message(changed, {}, 1)));
  BOOST_TEST(state.sites().at(0).state.services.size() == 1u);
}

BOOST_AUTO_TEST_CASE(orderly_end_is_forgotten_at_once) {
  MeshState state(kWest);
  BOOST_TEST(*state.on_message({kEast, ""}, message(1)));
  BOOST_TEST(state.on_replica_lost({kEast, ""}, MeshState::Loss::orderly, kStart));
  BOOST_TEST(state.sites().empty());
}

BOOST_AUTO_TEST_CASE(silent_loss_is_held_for_the_hold_time) {
  MeshState state(kWest);
  BOOST_TEST(*state.on_message({kEast, ""}, message(1)));
  BOOST_TEST(state.on_replica_lost({kEast, ""}, MeshState::Loss::silent, kStart));
  BOOST_TEST(!state.sites().at(0).is_reachable);
  BOOST_TEST(state.next_deadline().ns == (kStart + MeshState::kHoldTime).ns);
  BOOST_TEST(!state.tick(kStart + MeshState::kHoldTime - Duration{1}));
  BOOST_TEST(state.sites().size() == 1u);
  BOOST_TEST(state.tick(kStart + MeshState::kHoldTime));
  BOOST_TEST(state.sites().empty());
  BOOST_TEST(bool(state.next_deadline() == Instant::never()));
}

BOOST_AUTO_TEST_CASE(return_within_the_hold_time_ends_the_hold) {
  MeshState state(kWest);
  BOOST_TEST(*state.on_message({kEast, ""}, message(9)));
  BOOST_TEST(state.on_replica_lost({kEast, ""}, MeshState::Loss::silent, kStart));
  state.on_replica_open({kEast, ""});
  BOOST_TEST(*state.on_message({kEast, ""}, message(1)));
  BOOST_TEST(state.sites().at(0).is_reachable);
  BOOST_TEST(!state.tick(kStart + MeshState::kHoldTime * 2));
}

BOOST_AUTO_TEST_CASE(open_without_a_message_can_be_lost_again) {
  MeshState state(kWest);
  BOOST_TEST(*state.on_message({kEast, ""}, message(9)));
  BOOST_TEST(state.on_replica_lost({kEast, ""}, MeshState::Loss::silent, kStart));
  state.on_replica_open({kEast, ""});
  BOOST_TEST(!state.on_replica_lost({kEast, ""}, MeshState::Loss::silent, kStart));
  BOOST_TEST(state.tick(kStart + MeshState::kHoldTime));
}

// A pod that is replaced: the site stays, so its services do until the next pod says how it is.
BOOST_AUTO_TEST_CASE(orderly_end_of_a_process_that_said_that_it_leaves_is_held) {
  MeshState state(kWest);
  MeshSiteState leaving = east();
  leaving.is_leaving = true;
  BOOST_TEST(!state.is_leaving({kEast, "1"}));
  BOOST_TEST(*state.on_message({kEast, "1"}, write_mesh_message(leaving, {}, 1)));
  BOOST_TEST(state.is_leaving({kEast, "1"}));
  BOOST_TEST(state.on_replica_lost({kEast, "1"}, MeshState::Loss::orderly, kStart));
  BOOST_REQUIRE(state.sites().size() == 1u);
  BOOST_TEST(!state.sites().front().is_reachable);
  BOOST_TEST(*state.on_message({kEast, "2"}, message(1)));
  BOOST_TEST(state.sites().front().is_reachable);
  BOOST_TEST(state.tick(kStart + MeshState::kHoldTime));
  BOOST_TEST(state.sites().size() == 1u);
}

BOOST_AUTO_TEST_CASE(what_a_replica_says_of_its_neighbours_is_read_back_the_same) {
  MeshSiteState other = east();
  other.site.id = kOther;
  const std::vector<MeshSiteState> neighbours = {east(), other};
  const std::string text = write_mesh_message(east(), {}, 3, neighbours);
  BOOST_TEST(bool(read_mesh_message(text)->neighbours == neighbours));
  BOOST_TEST(read_mesh_message(message(3))->neighbours.empty());
}

BOOST_AUTO_TEST_CASE(neighbour_that_cannot_be_read_is_left_out_and_the_others_are_heard) {
  const std::string text = write_mesh_message(east(), {}, 3, {east()});
  const auto message = read_mesh_message(replaced(text, "\"neighbours\":[", "\"neighbours\":[5,"));
  BOOST_TEST_REQUIRE(bool(message));
  BOOST_TEST(bool(message->neighbours == std::vector<MeshSiteState>{east()}));
}

BOOST_AUTO_TEST_CASE(what_the_replicas_of_a_site_say_is_put_together) {
  MeshState state(kWest);
  MeshSiteState other = east();
  other.services = {{"a", "tcp", {9090, 7070}, {"c2", "c3"}, {"l2"}}, {"c", "tcp", {}, {"c"}, {}}};
  other.links = {{"link1", kWest, "west", false}, {"link2", kOther, "other", true}};
  BOOST_TEST(*state.on_message({kEast, "1"}, message(5)));
  BOOST_TEST(*state.on_message({kEast, "2"}, write_mesh_message(other, {.request = "csr"}, 1)));
  BOOST_REQUIRE(state.sites().size() == 1u);
  const RemoteSite site = state.sites().front();
  const std::vector<ServiceInfo> services = {
      {"a", "tcp", {8080, 9090, 7070}, {"c1", "c2", "c3"}, {"l2"}},
      {"b", "tcp", {}, {}, {"l"}},
      {"c", "tcp", {}, {"c"}, {}}};
  const std::vector<MeshLink> links = {{"link1", kWest, "west", true},
                                       {"link2", kOther, "other", true}};
  BOOST_TEST((site.state.services == services));
  BOOST_TEST((site.state.links == links));
  BOOST_TEST(site.trust.request == "csr");
}

BOOST_AUTO_TEST_CASE(a_site_stays_while_one_of_its_replicas_does) {
  for (const auto loss : {MeshState::Loss::orderly, MeshState::Loss::silent}) {
    MeshState state(kWest);
    MeshSiteState other = east();
    other.services.pop_back();
    BOOST_TEST(*state.on_message({kEast, "1"}, message(1)));
    BOOST_TEST(*state.on_message({kEast, "2"}, write_mesh_message(other, {}, 1)));
    state.on_replica_lost({kEast, "1"}, loss, kStart);
    BOOST_REQUIRE(state.sites().size() == 1u);
    BOOST_TEST(state.sites().front().is_reachable);
    BOOST_TEST(state.sites().front().state.services.size() == 1u);  // what the other one has
    state.tick(kStart + MeshState::kHoldTime);
    BOOST_TEST(state.sites().size() == 1u);
    state.on_replica_lost({kEast, "2"}, loss, kStart);
    state.tick(kStart + MeshState::kHoldTime);
    BOOST_TEST(state.sites().empty());
  }
}

BOOST_AUTO_TEST_CASE(a_site_has_a_bounded_number_of_replicas_and_those_gone_make_room) {
  MeshState state(kWest);
  for (uint32_t i = 0; i < proxy::kReplicasMax; ++i) {
    BOOST_TEST(state.on_message({kEast, std::to_string(i)}, message(1)).has_value());
  }
  const auto refused = state.on_message({kEast, "more"}, message(1));
  BOOST_TEST(to_string(refused.error().error_class()) == "limit");
  state.on_replica_lost({kEast, "3"}, MeshState::Loss::silent, kStart);
  BOOST_TEST(state.on_message({kEast, "more"}, message(1)).has_value());
  BOOST_TEST(!state.on_message({kEast, "3"}, message(1)).has_value());
  BOOST_TEST(state.on_message({kOther, "1"}, write_mesh_message({.site = {kOther, "o"}}, {}, 1))
                 .has_value());
}

BOOST_AUTO_TEST_CASE(announcer_speaks_only_of_changes) {
  MeshAnnouncer announcer;
  BOOST_TEST(!announcer.message_for({kWest, ""}, east(), {}).empty());
  BOOST_TEST(announcer.message_for({kWest, ""}, east(), {}).empty());
  BOOST_TEST(!announcer.message_for({kOther, ""}, east(), {}).empty());  // each is told by itself
  MeshSiteState changed = east();
  changed.services.clear();
  BOOST_TEST(!announcer.message_for({kWest, ""}, changed, {}).empty());
  BOOST_TEST(!announcer.message_for({kWest, ""}, changed, {.ca = "pem"}).empty());
  announcer.forget({kWest, ""});
  const auto last = read_mesh_message(announcer.message_for({kWest, ""}, changed, {.ca = "pem"}));
  BOOST_TEST(last->sequence == 5u);
  BOOST_TEST(last->trust.ca == "pem");
}

BOOST_AUTO_TEST_CASE(what_is_said_about_certificates_is_bounded) {
  const MeshTrust trust{
      .ca = "a\n", .request = "b", .certificate = "c", .certificate_request = "d"};
  BOOST_TEST(bool(read_mesh_message(write_mesh_message(east(), trust, 1))->trust == trust));
  BOOST_TEST(!read_mesh_message(write_mesh_message(east(), {.ca = std::string(20'000, 'a')}, 1)));
  BOOST_TEST(!read_mesh_message(write_mesh_message(east(), {.certificate_request = "a b"}, 1)));
}

BOOST_AUTO_TEST_CASE(link_table_counts_connections) {
  LinkTable table;
  table.on_link_changed(
      {.link = "l", .id = 7, .is_open = true, .site_id = "e", .connections_wanted = 2});
  table.on_link_changed(
      {.link = "l", .id = 8, .is_open = true, .site_id = "e", .connections_wanted = 2});
  table.on_link_changed({.link = "l", .id = 7, .site_id = "e", .error = "reset"});
  table.on_link_changed({.is_incoming = true, .id = 9, .is_open = true, .site_id = "x"});
  BOOST_REQUIRE(table.links().size() == 2u);
  const LinkState link = table.links().at(1);
  BOOST_TEST(link.link == "l");
  BOOST_TEST(link.connections_open == 1u);
  BOOST_TEST(link.is_up());
  table.on_link_changed({.is_incoming = true, .id = 9, .site_id = "x"});
  table.keep_only({});
  BOOST_TEST(table.links().empty());
}

BOOST_AUTO_TEST_CASE(link_table_tells_replicas_of_one_site_from_each_other) {
  LinkTable table;
  const auto incoming = [&](uint64_t id, const std::string& replica, bool is_open) {
    table.on_link_changed({.is_incoming = true,
                           .id = id,
                           .is_open = is_open,
                           .site_id = "x",
                           .replica = replica,
                           .connections_wanted = 2});
  };
  incoming(1, "a", true);
  incoming(2, "a", true);
  incoming(3, "b", true);
  incoming(4, "b", true);
  BOOST_REQUIRE(table.links().size() == 1u);  // one site, one link
  BOOST_TEST(table.links().front().connections_open == 4u);
  BOOST_TEST(table.links().front().connections_wanted == 4u);
  incoming(1, "a", false);
  BOOST_TEST(table.is_linked({"x", "a"}));
  incoming(2, "a", false);
  BOOST_TEST(!table.is_linked({"x", "a"}));
  BOOST_TEST(table.is_linked({"x", "b"}));
  BOOST_TEST(table.links().front().connections_open == 2u);
  BOOST_TEST(table.links().front().connections_wanted == 2u);
}

BOOST_AUTO_TEST_SUITE_END()
