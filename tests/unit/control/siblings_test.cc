#include "control/siblings.h"

#include <boost/test/unit_test.hpp>

#include "control/compile.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string kHere = "99999999-2222-4333-8444-555555555555";
const std::string kEast = "11111111-2222-4333-8444-555555555555";
const proxy::Replica kOther{kHere, "b"};

MeshSiteState east() {
  MeshSiteState state{.site = {kEast, "east", "leste", "linux", "0.1.0"}};
  state.services = {{"a", "tcp", {8080}, {"c"}, {}}};
  return state;
}

MeshSiteState here() {
  MeshSiteState state{.site = {kHere, "west", "oeste", "kubernetes", "0.1.0"}};
  state.links = {{"to-east", kEast, "east", true}};
  return state;
}

std::string message(uint64_t sequence) {
  return write_mesh_message(here(), {}, sequence, {east()});
}

proxy::LinkChange change(uint64_t id, bool is_open) {
  return {.link = std::string(kSiblingLinkPrefix) + "10.0.0.2",
          .id = id,
          .is_open = is_open,
          .site_id = kHere,
          .replica = "b"};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(siblings)

BOOST_AUTO_TEST_CASE(links_of_siblings_are_told_from_those_of_documents) {
  const Siblings siblings(kHere);
  BOOST_TEST(siblings.is_link(change(1, true)));
  BOOST_TEST(siblings.is_link({.is_incoming = true, .site_id = kHere}));
  BOOST_TEST(siblings.is_link({.link = "sibling/10.0.0.2", .error = "connect refused"}));
  BOOST_TEST(!siblings.is_link({.link = "to-east", .site_id = kEast}));
  BOOST_TEST(!siblings.is_link({.is_incoming = true, .site_id = kEast}));
}

BOOST_AUTO_TEST_CASE(what_a_replica_told_is_known_until_its_last_link_ends) {
  Siblings siblings(kHere);
  siblings.on_link_changed(change(1, true));
  siblings.on_link_changed(change(2, true));
  siblings.on_open(kOther);
  BOOST_TEST(*siblings.on_message(kOther, message(5)));
  BOOST_TEST(!*siblings.on_message(kOther, message(6)));  // the same
  BOOST_REQUIRE(siblings.states().size() == 1u);
  BOOST_TEST((siblings.states().front().neighbours == std::vector{east()}));
  BOOST_TEST(!siblings.on_link_changed(change(1, false)));
  BOOST_TEST(siblings.has_told("b"));
  BOOST_TEST(siblings.on_link_changed(change(2, false)));
  BOOST_TEST(siblings.states().empty());
}

BOOST_AUTO_TEST_CASE(a_message_of_an_old_channel_or_another_site_changes_nothing) {
  Siblings siblings(kHere);
  BOOST_TEST(!*siblings.on_message(kOther, message(1)));  // no link is open
  siblings.on_link_changed(change(1, true));
  BOOST_TEST(*siblings.on_message(kOther, message(5)));
  BOOST_TEST(!*siblings.on_message(kOther, write_mesh_message(here(), {}, 4)));
  siblings.on_open(kOther);
  BOOST_TEST(*siblings.on_message(kOther, write_mesh_message(here(), {}, 1)));
  BOOST_TEST(!siblings.on_message(kOther, write_mesh_message(east(), {}, 9)).has_value());
}

BOOST_AUTO_TEST_CASE(what_siblings_reach_comes_to_what_is_reached_here) {
  RemoteSite held{.state = east(), .is_reachable = false};
  held.state.services.clear();
  std::vector<RemoteSite> sites = {held};
  MeshSiteState south = east();
  south.site.id = "south";
  add_reach_of_siblings(sites, {{"b", here(), {east(), south}}, {"c", here(), {east()}}});
  BOOST_REQUIRE(sites.size() == 2u);
  BOOST_TEST(sites[0].is_reachable);
  BOOST_TEST(sites[0].is_linked);
  BOOST_TEST((sites[0].state == east()));
  BOOST_TEST((sites[0].siblings == std::vector<SiblingLink>{{"b"}, {"c"}}));
  BOOST_TEST(!sites[1].is_linked);
  BOOST_TEST(sites[1].state.site.id == "south");
}

BOOST_AUTO_TEST_CASE(a_link_is_up_when_it_is_so_at_one_replica) {
  std::vector<LinkState> links = {{.link = "to-east", .error = "connect refused"}};
  MeshSiteState theirs = here();
  theirs.links.push_back({"", "south", "south", true});  // south dialed it
  theirs.links.push_back({"to-north", "", "", false});
  add_links_of_siblings(links, {{"b", theirs, {}}, {"c", theirs, {}}});
  BOOST_REQUIRE(links.size() == 2u);
  BOOST_TEST(links[0].is_up());
  BOOST_TEST(links[0].site_id == kEast);
  BOOST_TEST(links[0].error.empty());
  BOOST_TEST(links[1].is_incoming);
  BOOST_TEST(links[1].site_id == "south");
}

BOOST_AUTO_TEST_CASE(the_lower_address_dials_and_all_accept_their_own_site_alone) {
  Observed seen;
  seen.site.id = kHere;
  seen.cluster.emplace();
  seen.credentials[std::string(kSiblingSecret)] = {"certificate", "key", "ca"};
  BOOST_TEST(compile({}, seen).snapshot->acceptors.empty());  // one replica alone
  seen.cluster->own_address = "10.0.0.2";
  seen.cluster->siblings = {"10.0.0.1", "10.0.0.3"};
  const auto compiled = compile({}, seen);
  BOOST_REQUIRE(compiled.snapshot->acceptors.size() == 1u);
  BOOST_TEST(compiled.snapshot->acceptors[0].is_for_siblings);
  BOOST_TEST(compiled.snapshot->acceptors[0].addresses.at(0).to_string() == "10.0.0.2:55672");
  BOOST_REQUIRE(compiled.snapshot->links.size() == 1u);
  BOOST_TEST(compiled.snapshot->links[0].is_sibling);
  BOOST_TEST(compiled.snapshot->links[0].targets.at(0).addresses.at(0).to_string() ==
             "10.0.0.3:55672");
  seen.credentials.clear();
  BOOST_TEST(compile({}, seen).snapshot->links.empty());
}

BOOST_AUTO_TEST_CASE(a_key_is_reached_over_own_links_and_those_of_siblings) {
  Observed seen;
  seen.site.id = kHere;
  seen.remote_sites = {{.state = east(), .siblings = {{"b"}}},
                       {.state = east(), .is_linked = false, .siblings = {{"c"}}}};
  const std::vector<proxy::RemoteService> expected = {
      {"a", kEast, ""}, {"a", kHere, "b", 1}, {"a", kHere, "c", 1}};
  BOOST_TEST((compile({}, seen).snapshot->remote_services == expected));
}

BOOST_AUTO_TEST_CASE(a_key_behind_neighbours_is_reached_over_them_and_their_siblings) {
  Observed seen;
  seen.site.id = kHere;
  RemoteSite hub{.state = {.site = {"hub", "hub", "", "linux", "0.1.0"}}, .siblings = {{"b", 20}}};
  RemoteSite other{.state = {.site = {"other", "other", "", "linux", "0.1.0"}},
                   .is_linked = false,
                   .siblings = {{"c"}}};
  RemoteSite far{.state = east(),
                 .is_linked = false,
                 .ways = {{"hub", {"hub"}, 3}, {"other", {"other", "x"}, 9}}};
  RemoteSite farther = far;  // the same key, dearer over the hub, and cut over the other one
  farther.state.site.id = "farther";
  farther.ways = {{"hub", {"hub"}, 4}, {"other", {"other"}, 1, true}};
  seen.remote_sites = {hub, other, farther, far};
  const std::vector<proxy::RemoteService> expected = {
      {"a", "hub", "", 3}, {"a", kHere, "b", 23}, {"a", kHere, "c", 10}};
  BOOST_TEST((compile({}, seen).snapshot->remote_services == expected));
  seen.remote_sites = {other, farther};
  BOOST_TEST((compile({}, seen).snapshot->remote_services ==
              std::vector<proxy::RemoteService>{{"a", kHere, "c", 2, true}}));
}

BOOST_AUTO_TEST_SUITE_END()
