// What a linked site may do with the mesh, and what becomes of one that does more.
#include <boost/test/unit_test.hpp>
#include <memory>
#include <vector>

#include "dataplane/codec/mesh_reader.h"
#include "neighbour.h"
#include "world.h"

namespace istmo::sim {
namespace {

std::string framed(const std::string& message) {
  return std::string(text_of(codec::encode_mesh_message(message).bytes()));
}

// One site, to which programs of the test link.
struct MeshWorld {
  explicit MeshWorld(uint64_t seed) : world(seed, {.east_workers = 0}) {
    world.mesh_bytes_max = uint64_t{2} * codec::kMeshMessageBytesMax;
    world.west.config.acceptors = {
        {.name = "access", .addresses = {links}, .credentials = credentials_of("west")}};
    world.publish(world.west);
  }
  ~MeshWorld() {
    for (const auto& neighbour : neighbours) neighbour->close();
    BOOST_TEST(world.until([&] {
      return std::ranges::all_of(neighbours, [](const auto& each) { return each->is_closed(); });
    }));
    BOOST_TEST(world.until([&] { return world.west.links_open() == 0; }));
    world.finish();
  }
  Neighbour& dial(const std::string& site_id, uint32_t connection = 0) {
    neighbours.push_back(std::make_unique<Neighbour>(world.client_loop, site_id, connection));
    Neighbour& neighbour = *neighbours.back();
    neighbour.start(links);
    BOOST_TEST(
        until([&] { return neighbour.has_mesh() || neighbour.is_mesh_refused(); }, "an answer"));
    return neighbour;
  }
  template <class Predicate>
  bool until(Predicate&& predicate, const char* what, Duration limit = Duration::seconds(10)) {
    const bool is_so = world.until(predicate, limit);
    BOOST_TEST(is_so, "waited in vain for " << what);
    return is_so;
  }
  const auto& messages() const { return world.west.mesh_messages; }

  const io::Address links = address("10.0.0.1:55671");
  World world;
  std::vector<std::unique_ptr<Neighbour>> neighbours;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(mesh)

BOOST_AUTO_TEST_CASE(a_message_arrives_in_whatever_pieces_it_comes) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    Neighbour& east = world.dial("east");
    east.write_crumbs(framed("crumbs"));
    world.until([&] { return world.messages().size() == 1; }, "the message");
    BOOST_TEST(world.messages().at(0).first == "east");
    BOOST_TEST(world.messages().at(0).second == "crumbs");
    const std::string long_one(3'000'000, 'l');
    east.write(framed(long_one));
    world.until([&] { return world.messages().size() == 2; }, "the long message");
    BOOST_TEST((world.messages().at(1).second == long_one));
  }
}

BOOST_AUTO_TEST_CASE(only_connection_0_of_a_link_has_a_mesh) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    BOOST_TEST(world.dial("east", 1).is_mesh_refused());
    BOOST_TEST(world.dial("east", 0).has_mesh());
    BOOST_TEST(world.dial("east", 7).is_mesh_refused());
  }
}

BOOST_AUTO_TEST_CASE(a_site_has_few_mesh_channels_however_many_links_it_opens) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    for (int i = 0; i < 4; ++i) BOOST_TEST(world.dial("east").has_mesh());
    BOOST_TEST(world.dial("east").is_mesh_refused());
    BOOST_TEST(world.dial("south").has_mesh());  // another site's are its own
    Neighbour& first = *world.neighbours.front();
    first.close();
    world.until([&] { return world.world.west.links_open() == 5; }, "a link to end");
    BOOST_TEST(world.dial("east").has_mesh());
  }
}

BOOST_AUTO_TEST_CASE(the_next_message_waits_until_the_last_one_was_read) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    world.world.west.answers_mesh = false;
    Neighbour& east = world.dial("east");
    east.write(framed("first") + framed("second"));
    world.until([&] { return world.messages().size() == 1; }, "the first message");
    world.world.run_for(Duration::seconds(3));
    BOOST_TEST(world.messages().size() == 1u);
    world.world.west.answer_mesh();
    world.until([&] { return world.messages().size() == 2; }, "the second message");
    BOOST_TEST(world.messages().at(1).second == "second");
  }
}

BOOST_AUTO_TEST_CASE(a_site_that_says_more_than_is_read_is_held_back_by_its_credit) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    world.world.west.answers_mesh = false;
    Neighbour& east = world.dial("east");
    const std::string message = framed(std::string(1000, 'm'));
    for (int i = 0; i < 5000; ++i) east.write(message);
    world.world.run_for(Duration::seconds(3));
    const uint64_t window = world.world.west.config.limits.link_window_bytes;
    BOOST_TEST(east.sent_bytes() >= window);
    BOOST_TEST(east.sent_bytes() <= window + message.size());
    BOOST_TEST(!east.is_closed());
  }
}

BOOST_AUTO_TEST_CASE(a_site_that_keeps_talking_is_heard_twenty_times_a_second) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    Neighbour& east = world.dial("east");
    for (int i = 0; i < 1000; ++i) east.write(framed("small"));
    world.world.run_for(Duration::seconds(2));
    BOOST_TEST(world.messages().size() >= 30u);
    BOOST_TEST(world.messages().size() <= 41u);
    // Long ones take more of the control thread, so that a pause is longer.
    Neighbour& south = world.dial("south");
    world.world.west.mesh_messages.clear();
    for (int i = 0; i < 5; ++i) south.write(framed(std::string(1'000'000, 'l')));
    world.world.run_for(Duration::milliseconds(2500));
    const auto is_long = [](const auto& each) { return each.first == "south"; };
    BOOST_TEST(std::ranges::count_if(world.messages(), is_long) <= 4);
    BOOST_TEST(std::ranges::count_if(world.messages(), is_long) >= 2);
  }
}

BOOST_AUTO_TEST_CASE(a_neighbour_that_gives_no_credit_gets_the_newest_state_when_it_does) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    Neighbour& east = world.dial("east");
    east.grants = false;
    std::vector<std::string> states;
    for (int i = 0; i < 100; ++i) {
      states.push_back(std::to_string(i) + ":" + std::string(400'000, 's'));
      world.world.west.worker(0).send_mesh({"east", ""}, states.back());
      world.world.run_for(Duration::milliseconds(20));
    }
    east.grant_again();
    const std::string expected = framed(states.front()) + framed(states.back());
    world.until([&] { return east.received.size() >= expected.size(); }, "the newest state");
    world.world.run_for(Duration::seconds(1));
    BOOST_TEST((east.received == expected));
  }
}

BOOST_AUTO_TEST_CASE(the_state_goes_to_a_neighbour_on_each_of_its_links) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    Neighbour& first = world.dial("east");
    Neighbour& second = world.dial("east");
    Neighbour& other = world.dial("south");
    world.world.west.worker(0).send_mesh({"east", ""}, "state");
    for (const Neighbour* each : {&first, &second}) {
      world.until([&] { return each->received == framed("state"); }, "the state");
    }
    BOOST_TEST(other.received.empty());
  }
}

BOOST_AUTO_TEST_CASE(a_neighbour_that_ends_its_direction_of_the_mesh_hears_no_more) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    Neighbour& east = world.dial("east");
    east.grants = false;
    world.world.west.worker(0).send_mesh({"east", ""}, std::string(1'000'000, 's'));
    world.world.run_for(Duration::seconds(1));
    east.finish();
    world.until([&] { return !world.world.west.is_mesh_open(); }, "the mesh to end");
    world.world.west.worker(0).send_mesh({"east", ""}, "more");
    east.grant_again();
    world.world.run_for(Duration::seconds(1));
    BOOST_TEST(east.received.size() == 4 + 1'000'000u);
    BOOST_TEST(east.is_open());
  }
}

BOOST_AUTO_TEST_CASE(a_message_that_the_control_thread_refuses_ends_the_link) {
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    world.world.west.answers_mesh = false;
    Neighbour& east = world.dial("east");
    Neighbour& south = world.dial("south");
    east.write(framed("nonsense"));
    world.until([&] { return world.messages().size() == 1; }, "the message");
    world.world.west.answer_mesh("this means nothing");
    world.until([&] { return east.is_closed(); }, "the link to end");
    BOOST_TEST(east.closed_because().contains("this means nothing"), east.closed_because());
    BOOST_TEST(south.is_open());
    world.world.west.answer_mesh();  // of a link that is gone: no effect
  }
}

BOOST_AUTO_TEST_CASE(what_is_no_message_ends_the_link) {
  struct Case {
    std::string octets;
    const char* reason;
  };
  const Case cases[] = {{framed("good") + std::string(4, '\0'), "empty mesh message"},
                        {"\x7f\xff\xff\xff", "mesh message too long"}};
  FOR_SEEDS(6, seed) {
    MeshWorld world(seed);
    for (const Case& one : cases) {
      Neighbour& east = world.dial("east");
      east.write(one.octets);
      world.until([&] { return east.is_closed(); }, "the link to end");
      BOOST_TEST(east.closed_because().contains(one.reason), east.closed_because());
    }
    BOOST_TEST(world.messages().size() == 1u);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
