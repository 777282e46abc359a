// SimLoop and SimNetwork: TCP as Linux has it, faults, and that a run is a function of its seed.
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/sim_loop.h"
#include "dataplane/io/sim_network.h"
#include "loop_suite.h"

namespace istmo::io {
namespace {

constexpr Duration kLong = Duration::seconds(200);

Address address(std::string_view text) {
  auto parsed = Address::parse(text);
  BOOST_REQUIRE(parsed.has_value());
  return *parsed;
}

// One connected socket and what its program saw.
struct Wire {
  explicit Wire(SimLoop& its_loop) : loop(its_loop) {}
  ~Wire() {
    if (fd.is_open()) loop.close(fd, Loop::Ending::abort);
  }

  void receive() { loop.receive(receive_op, fd); }
  void send(std::string_view text) {
    output.append(Slice::copy_of(text));
    if (send_op.is_idle()) loop.send(send_op, fd, output);
  }
  void close(Loop::Ending ending) {
    loop.close(fd, ending);
    fd = Fd();
  }
  bool has_ended() const { return has_receive_ended; }

  void on_connected(Completion&& done) {
    connect_result = done.result;
    is_connect_done = true;
    if (!done.failed()) fd = done.fd;
  }
  void on_received(Completion&& done) {
    BOOST_TEST((done.is_last || done.result > 0));
    if (done.result > 0) {
      BOOST_TEST(static_cast<uint64_t>(done.result) == done.bytes.size());
      input += done.bytes.to_string();
      if (pause_after > 0 && input.size() >= pause_after) loop.cancel(receive_op);
    }
    if (!done.is_last) return;
    receive_result = done.result;
    has_receive_ended = true;
  }
  void on_sent(Completion&& done) {
    send_result = done.result;
    if (done.failed()) return;
    sent += static_cast<uint64_t>(done.result);
    output.drop_front(static_cast<uint64_t>(done.result));
    if (!output.empty() && goes_on) loop.send(send_op, fd, output);
  }

  SimLoop& loop;
  Fd fd;
  Chain output;
  std::string input;
  uint64_t sent = 0;
  uint64_t pause_after = 0;
  bool goes_on = true;
  bool is_connect_done = false;
  bool has_receive_ended = false;
  int connect_result = 0;
  int receive_result = 1;
  int send_result = 0;
  OpOf<Wire, &Wire::on_connected> connect_op{*this};
  OpOf<Wire, &Wire::on_received> receive_op{*this};
  OpOf<Wire, &Wire::on_sent> send_op{*this};
};

// Accepts into wires.
struct Door {
  explicit Door(SimLoop& its_loop) : loop(its_loop) {}
  void open(const Address& at, const ListenOptions& options = {}) {
    auto opened = loop.listen(at, options);
    BOOST_REQUIRE(opened.has_value());
    fd = *opened;
    loop.accept(accept_op, fd, {});
  }
  void on_accepted(Completion&& done) {
    if (done.failed()) return;
    wires.emplace_back(std::make_unique<Wire>(loop))->fd = done.fd;
  }
  SimLoop& loop;
  Fd fd;
  std::deque<std::unique_ptr<Wire>> wires;
  OpOf<Door, &Door::on_accepted> accept_op{*this};
};

// Two hosts, a loop on each, a listener on the second.
struct World {
  explicit World(uint64_t seed = 1, const SimOptions& options = {})
      : network(seed, options),
        west(network.add_host({"10.0.0.1"})),
        east(network.add_host({"10.0.0.2"})) {
    door.open(address("10.0.0.2:80"));
  }
  ~World() {
    network.set_faults({});
    door.loop.cancel(door.accept_op);
    until([&] { return door.accept_op.is_idle(); });
    finish(client);
    for (auto& wire : door.wires) finish(*wire);
  }
  bool connect() {
    client.loop.connect(client.connect_op, address("10.0.0.2:80"), {});
    network.run_until([&] { return client.is_connect_done && door.wires.size() == 1; }, kLong);
    return client.fd.is_open() && door.wires.size() == 1;
  }
  Wire& server() { return *door.wires.front(); }
  template <class Predicate>
  bool until(Predicate predicate) {
    return network.run_until(predicate, kLong);
  }
  void finish(Wire& wire) {
    wire.goes_on = false;
    wire.loop.cancel(wire.receive_op);
    wire.loop.cancel(wire.send_op);
    until([&] { return wire.receive_op.is_idle() && wire.send_op.is_idle(); });
  }

  SimNetwork network;
  SimHost west;
  SimHost east;
  SimLoop client_loop{network, west};
  SimLoop server_loop{network, east};
  Door door{server_loop};
  Wire client{client_loop};
};

std::string pattern(size_t size) {
  std::string text(size, ' ');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

const SimFaults kAllFaults = {.small_chunk = 100'000,
                              .delayed_completion = 100'000,
                              .starvation = 100'000,
                              .cancel_race = 500'000,
                              .accept_limit = 300'000};

}  // namespace

BOOST_AUTO_TEST_SUITE(sim_loop)

// The suite's loops are workers of one simulated host, with or without faults.
struct SuiteNetwork {
  explicit SuiteNetwork(const SimFaults& faults) : network(1), host(network.add_host({})) {
    network.set_faults(faults);
  }
  suite::LoopFactory factory() {
    return [this](const LoopOptions& options) {
      return std::make_unique<SimLoop>(network, host, options);
    };
  }
  SimNetwork network;
  SimHost host;
};

BOOST_DATA_TEST_CASE(does, boost::unit_test::data::make(suite::network_cases()), named) {
  SuiteNetwork quiet({});
  named.run(quiet.factory());
}

BOOST_DATA_TEST_CASE(does_with_faults, boost::unit_test::data::make(suite::network_cases()),
                     named) {
  SuiteNetwork disturbed({.small_chunk = 2'000,
                          .delayed_completion = 50'000,
                          .starvation = 50'000,
                          .cancel_race = 300'000});
  named.run(disturbed.factory());
}

BOOST_AUTO_TEST_CASE(survives_a_soak) {
  SuiteNetwork disturbed({.delayed_completion = 20'000, .cancel_race = 300'000});
  suite::soak(disturbed.factory(), {.connections = 8, .bytes_per_connection = 256 * 1024});
}

BOOST_AUTO_TEST_CASE(octets_arrive_exactly_and_then_the_end) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    World world(seed);
    if (seed > 10) world.network.set_faults(kAllFaults);
    BOOST_REQUIRE(world.connect());
    const std::string text = pattern(700'000);
    world.client.send(text);
    world.server().receive();
    BOOST_TEST(world.until([&] { return world.client.sent == text.size(); }));
    world.client.loop.shutdown_send(world.client.fd);
    BOOST_TEST(world.until([&] { return world.server().has_ended(); }));
    BOOST_TEST(world.server().receive_result == 0);
    BOOST_TEST((world.server().input == text));
    BOOST_TEST(world.network.octets_queued() == 0u);
    BOOST_TEST(world.network.octets_in_flight() == 0u);
  }
}

BOOST_AUTO_TEST_CASE(a_run_is_a_function_of_its_seed) {
  const auto trace_of = [](uint64_t seed) {
    World world(seed);
    world.network.set_faults(kAllFaults);
    BOOST_REQUIRE(world.connect());
    world.client.send(pattern(200'000));
    world.server().receive();
    world.until([&] { return world.server().input.size() == 200'000; });
    return world.network.trace_hash();
  };
  BOOST_TEST(trace_of(7) == trace_of(7));
  BOOST_TEST(trace_of(7) != trace_of(8));
}

BOOST_AUTO_TEST_CASE(nobody_listening_is_refused) {
  World world;
  world.client.loop.connect(world.client.connect_op, address("10.0.0.2:81"), {});
  BOOST_TEST(world.until([&] { return world.client.is_connect_done; }));
  BOOST_TEST(world.client.connect_result == -ECONNREFUSED);
  BOOST_TEST(world.network.open_sockets(world.west) == 0u);
  BOOST_TEST(world.network.connections() == 0u);
}

BOOST_AUTO_TEST_CASE(a_cut_path_lets_connect_time_out_or_succeed_after_restoration) {
  World world;
  world.network.cut(world.west, world.east);
  Wire& client = world.client;
  client.loop.connect(client.connect_op, address("10.0.0.2:80"), {});
  BOOST_TEST(world.until([&] { return client.is_connect_done; }));
  BOOST_TEST(client.connect_result == -ETIMEDOUT);
  client.is_connect_done = false;
  client.loop.connect(client.connect_op, address("10.0.0.2:80"), {});
  world.network.run_for(Duration::milliseconds(1500));
  world.network.restore(world.west, world.east);
  BOOST_TEST(world.until([&] { return client.is_connect_done; }));
  BOOST_TEST(client.connect_result == 0);
  BOOST_TEST(client.fd.is_open());
}

BOOST_AUTO_TEST_CASE(an_abort_is_a_reset_behind_the_octets_that_were_under_way) {
  World world;
  BOOST_REQUIRE(world.connect());
  world.client.send("last words");
  world.network.run_for(Duration::seconds(1));  // unread at the server
  world.client.close(Loop::Ending::abort);
  world.network.run_for(Duration::seconds(1));
  world.server().receive();
  BOOST_TEST(world.until([&] { return world.server().has_ended(); }));
  BOOST_TEST(world.server().input == "last words");
  BOOST_TEST(world.server().receive_result == -ECONNRESET);
}

BOOST_AUTO_TEST_CASE(a_reset_is_reported_once_as_linux_does) {
  World world;
  BOOST_REQUIRE(world.connect());
  world.client.close(Loop::Ending::abort);
  world.network.run_for(Duration::seconds(1));
  Wire& server = world.server();
  server.send("x");
  world.until([&] { return server.send_op.is_idle(); });
  BOOST_TEST(server.send_result == -ECONNRESET);
  server.receive();
  world.until([&] { return server.has_ended(); });
  BOOST_TEST(server.receive_result == 0);
  BOOST_TEST(!server.loop.remote_address(server.fd).has_value());
  server.send("x");
  world.until([&] { return server.send_op.is_idle(); });
  BOOST_TEST(server.send_result == -EPIPE);
}

BOOST_AUTO_TEST_CASE(closing_with_unread_octets_resets) {
  World world;
  BOOST_REQUIRE(world.connect());
  world.client.send("never read");
  world.network.run_for(Duration::seconds(1));
  world.server().close(Loop::Ending::orderly);
  world.client.receive();
  BOOST_TEST(world.until([&] { return world.client.has_ended(); }));
  BOOST_TEST(world.client.receive_result == -ECONNRESET);
}

BOOST_AUTO_TEST_CASE(an_orderly_close_still_delivers_what_was_sent) {
  World world;
  BOOST_REQUIRE(world.connect());
  const std::string text = pattern(100'000);
  world.client.send(text);
  world.until([&] { return world.client.sent == text.size(); });
  world.client.close(Loop::Ending::orderly);
  BOOST_TEST(world.network.open_sockets(world.west) == 0u);
  world.server().receive();
  BOOST_TEST(world.until([&] { return world.server().has_ended(); }));
  BOOST_TEST((world.server().input == text));
  BOOST_TEST(world.server().receive_result == 0);
  world.server().close(Loop::Ending::orderly);
  world.network.run_for(Duration::seconds(1));
  BOOST_TEST(world.network.connections() == 0u);
}

BOOST_AUTO_TEST_CASE(a_reader_that_does_not_read_stops_the_sender) {
  World world;
  BOOST_REQUIRE(world.connect());
  world.client.send(pattern(2'000'000));
  world.network.run_for(Duration::seconds(5));
  const SimOptions options;
  const uint64_t held = world.network.octets_queued() + world.network.octets_in_flight();
  BOOST_TEST(held <= options.send_buffer_bytes + options.receive_buffer_bytes);
  BOOST_TEST(held >= options.receive_buffer_bytes);
  BOOST_TEST(!world.client.send_op.is_idle());
  world.server().receive();
  BOOST_TEST(world.until([&] { return world.server().input.size() == 2'000'000u; }));
}

BOOST_AUTO_TEST_CASE(cancelled_receives_lose_nothing) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    World world(seed);
    world.network.set_faults({.small_chunk = 200'000, .cancel_race = 500'000});
    BOOST_REQUIRE(world.connect());
    const std::string text = pattern(300'000);
    world.client.send(text);
    Wire& server = world.server();
    while (server.input.size() < text.size()) {
      server.pause_after = server.input.size() + 20'000;
      server.has_receive_ended = false;
      server.receive();
      const auto is_over = [&] { return server.has_ended() || server.input.size() == text.size(); };
      BOOST_REQUIRE(world.until(is_over));
      if (server.has_ended()) BOOST_TEST(server.receive_result == -ECANCELED);
    }
    BOOST_TEST((server.input == text));
  }
}

BOOST_AUTO_TEST_CASE(a_cancelled_send_tells_exactly_what_it_sent) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    World world(seed);
    world.network.set_faults({.small_chunk = 500'000, .cancel_race = 500'000});
    BOOST_REQUIRE(world.connect());
    const std::string text = pattern(250'000);
    world.client.goes_on = false;
    world.client.send(text);
    world.network.run_for(Duration::microseconds(static_cast<int64_t>(seed * 40)));
    world.client.loop.cancel(world.client.send_op);
    BOOST_TEST(world.until([&] { return world.client.send_op.is_idle(); }));
    world.server().receive();
    world.network.run_for(Duration::seconds(2));
    BOOST_TEST(world.server().input.size() == world.client.sent);
    BOOST_TEST((world.server().input == text.substr(0, world.client.sent)));
  }
}

BOOST_AUTO_TEST_CASE(listeners_that_share_an_address_share_its_connections) {
  World world(3);
  SimLoop second_loop(world.network, world.east);
  Door second(second_loop);
  second.open(address("10.0.0.2:80"));
  std::vector<std::unique_ptr<Wire>> clients;
  for (int i = 0; i < 40; ++i) {
    Wire& client = *clients.emplace_back(std::make_unique<Wire>(world.client_loop));
    client.loop.connect(client.connect_op, address("10.0.0.2:80"), {});
  }
  BOOST_TEST(world.until([&] { return world.door.wires.size() + second.wires.size() == 40; }));
  BOOST_TEST(world.door.wires.size() > 5u);
  BOOST_TEST(second.wires.size() > 5u);
  second_loop.cancel(second.accept_op);
  world.until([&] { return second.accept_op.is_idle(); });
  BOOST_TEST(world.until([&] { return clients.back()->is_connect_done; }));
  auto third = second_loop.listen(address("10.0.0.2:80"), {.reuse_port = false});
  BOOST_TEST(!third.has_value());
}

BOOST_AUTO_TEST_CASE(a_cut_loses_nothing_that_tcp_sends_again) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    World world(seed);
    BOOST_REQUIRE(world.connect());
    const std::string text = pattern(1'000'000);
    world.client.send(text);
    world.server().receive();
    while (world.server().input.size() < text.size()) {
      world.network.run_for(Duration::milliseconds(1));
      world.network.cut(world.west, world.east);
      world.network.run_for(Duration::milliseconds(700));
      const size_t received = world.server().input.size();
      world.network.run_for(Duration::milliseconds(700));
      BOOST_TEST(world.server().input.size() == received);
      world.network.restore(world.west, world.east);
      world.network.run_for(Duration::seconds(2));
    }
    BOOST_TEST((world.server().input == text));
  }
}

BOOST_AUTO_TEST_CASE(a_long_cut_times_out_both_ends_that_wait) {
  World world;
  BOOST_REQUIRE(world.connect());
  world.server().receive();
  world.client.receive();
  world.network.cut(world.west, world.east);
  world.client.send("into the void");
  BOOST_TEST(world.until([&] { return world.client.has_ended(); }));
  BOOST_TEST(world.client.receive_result == -ETIMEDOUT);
  BOOST_TEST(world.until([&] { return world.server().has_ended(); }));  // keepalive
  BOOST_TEST(world.server().receive_result == -ETIMEDOUT);
}

BOOST_AUTO_TEST_CASE(a_reset_that_was_lost_is_noticed_at_the_next_octet) {
  World world;
  BOOST_REQUIRE(world.connect());
  world.server().receive();
  world.network.cut(world.west, world.east);
  world.client.close(Loop::Ending::abort);
  world.network.restore(world.west, world.east);
  world.network.run_for(Duration::seconds(5));
  BOOST_TEST(!world.server().has_ended());
  world.server().send("anybody?");
  BOOST_TEST(world.until([&] { return world.server().has_ended(); }));
  BOOST_TEST(world.server().receive_result == -ECONNRESET);
}

BOOST_AUTO_TEST_CASE(an_injected_reset_reaches_both_ends) {
  World world;
  BOOST_REQUIRE(world.connect());
  world.network.set_faults({.reset = 1'000'000});
  world.server().receive();
  world.client.receive();
  world.client.send("x");
  BOOST_TEST(world.until([&] { return world.server().has_ended() && world.client.has_ended(); }));
  BOOST_TEST(world.server().receive_result == -ECONNRESET);
  BOOST_TEST(world.client.receive_result == -ECONNRESET);
  BOOST_TEST(world.network.resets_injected() == 1u);
}

BOOST_AUTO_TEST_CASE(accepting_pauses_at_the_limit_of_descriptors_and_goes_on) {
  World world;
  world.network.set_sockets_max(world.east, 1);
  world.client.loop.connect(world.client.connect_op, address("10.0.0.2:80"), {});
  world.network.run_for(Duration::seconds(1));
  BOOST_TEST(world.door.wires.empty());
  BOOST_TEST(world.server_loop.metrics().accept_limit_hits.value() >= 5u);
  BOOST_TEST(world.server_loop.metrics().accept_limit_hits.value() <= 20u);
  world.network.set_sockets_max(world.east, 100);
  BOOST_TEST(world.until([&] { return world.door.wires.size() == 1; }));
}

BOOST_AUTO_TEST_CASE(an_adopted_socket_goes_on_where_it_was) {
  World world;
  BOOST_REQUIRE(world.connect());
  SimLoop second_loop(world.network, world.east);
  Wire moved(second_loop);
  world.client.send("before and after");
  second_loop.post(make_letter([&] {
    moved.fd = std::exchange(world.server().fd, Fd());
    second_loop.adopt(moved.fd, {});
    moved.receive();
  }));
  BOOST_TEST(world.until([&] { return moved.input == "before and after"; }));
  world.finish(moved);
}

BOOST_AUTO_TEST_CASE(a_path_has_its_latency_and_its_rate) {
  World world;
  world.network.set_path(
      world.west, world.east,
      {.latency = Duration::milliseconds(10), .jitter = {}, .bytes_per_second = 1'000'000});
  const Instant start = world.network.now();
  BOOST_REQUIRE(world.connect());
  BOOST_TEST((world.network.now() - start).to_milliseconds() == 30);
  world.client.send(pattern(1'000'000));
  world.server().receive();
  BOOST_TEST(world.until([&] { return world.server().input.size() == 1'000'000u; }));
  const int64_t took_ms = (world.network.now() - start).to_milliseconds();
  BOOST_TEST(took_ms >= 1030);
  BOOST_TEST(took_ms <= 1200);
}

BOOST_AUTO_TEST_CASE(a_connect_that_is_cancelled_leaves_nothing) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    World world(seed);
    world.network.set_faults({.cancel_race = 500'000});
    Wire& client = world.client;
    client.loop.connect(client.connect_op, address("10.0.0.2:80"), {});
    world.network.run_for(Duration::microseconds(static_cast<int64_t>(seed * 25)));
    client.loop.cancel(client.connect_op);
    BOOST_TEST(world.until([&] { return client.is_connect_done; }));
    BOOST_TEST((client.connect_result == 0 || client.connect_result == -ECANCELED));
    if (client.fd.is_open()) client.close(Loop::Ending::abort);
    world.network.run_for(Duration::seconds(20));
    while (!world.door.wires.empty()) {
      world.server().receive();
      BOOST_TEST(world.until([&] { return world.server().has_ended(); }));
      BOOST_TEST(world.server().receive_result == -ECONNRESET);
      world.door.wires.pop_front();
    }
    world.network.run_for(Duration::seconds(20));
    BOOST_TEST(world.network.connections() == 0u);
    BOOST_TEST(world.network.open_sockets() == 1u);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::io
