// The port where sites dial, and hosts that say nothing there, or too little.
#include <boost/test/unit_test.hpp>

#include <deque>
#include <memory>

#include "dataplane/codec/tls_engine.h"
#include "link_program.h"
#include "world.h"

namespace istmo::sim {
namespace {

using proxy::CloseReason;
using proxy::Newcomers;

constexpr uint32_t kOfSourceMax = Newcomers::kOfSourceMax;
constexpr uint32_t kMax = Newcomers::kMax;

// A connection that says `words`, and then nothing for ever.
class Mute {
 public:
  Mute(io::SimLoop& loop, const io::Address& to, std::string_view words) : loop_(loop) {
    if (!words.empty()) words_.append(io::Slice::copy_of(words));
    loop_.connect(connect_op_, to, {});
  }
  bool is_ended() const { return is_ended_; }
  Instant ended_at() const { return ended_at_; }
  void end() {
    loop_.cancel(connect_op_);
    loop_.cancel(receive_op_);
  }

 private:
  void on_connected(io::Completion&& done) {
    if (done.failed()) return on_end();
    fd_ = done.fd;
    loop_.receive(receive_op_, fd_);
    if (!words_.empty()) loop_.send(send_op_, fd_, words_);
  }
  void on_received(io::Completion&& done) {
    if (!done.is_last) return;
    loop_.close(fd_, io::Loop::Ending::orderly);
    on_end();
  }
  void on_sent(io::Completion&&) {}
  void on_end() {
    is_ended_ = true;
    ended_at_ = loop_.now();
  }

  io::SimLoop& loop_;
  io::Fd fd_;
  io::Chain words_;
  bool is_ended_ = false;
  Instant ended_at_;
  io::OpOf<Mute, &Mute::on_connected> connect_op_{*this};
  io::OpOf<Mute, &Mute::on_received> receive_op_{*this};
  io::OpOf<Mute, &Mute::on_sent> send_op_{*this};
};

// East's link port, and crowds of mute hosts before it.
struct Siege {
  explicit Siege(uint64_t seed)
      : world(seed, {.west_workers = 1, .east_workers = 1, .east_dials = false}) {
    BOOST_TEST(world.until_linked());
  }
  // One more host with so many connections, all of them made.
  std::vector<Mute*> add(uint32_t count, std::string_view words = {}) {
    const auto host = world.network.add_host({"10.9.0." + std::to_string(loops.size() + 1)});
    io::SimLoop& loop = *loops.emplace_back(std::make_unique<io::SimLoop>(world.network, host));
    std::vector<Mute*> added;
    for (uint32_t i = 0; i < count; ++i) added.push_back(&mutes.emplace_back(loop, port, words));
    world.run_for(Duration::milliseconds(20));
    return added;
  }
  uint32_t dropped() {
    return static_cast<uint32_t>(world.east().closed(CloseReason::connections_limit));
  }
  void finish() {
    for (auto& mute : mutes) mute.end();
    const auto is_over = [&] {
      return std::ranges::all_of(mutes, [](const Mute& mute) { return mute.is_ended(); });
    };
    BOOST_TEST(world.until(is_over));
    world.finish();
  }

  World world;
  const io::Address port = address("10.0.0.2:55671");
  std::vector<std::unique_ptr<io::SimLoop>> loops;
  std::deque<Mute> mutes;
};

uint32_t count_ended(const std::vector<Mute*>& mutes) {
  return static_cast<uint32_t>(std::ranges::count_if(mutes, &Mute::is_ended));
}

// What a TLS client says first.
std::string client_hello() {
  transport::TlsContextOptions options;
  options.role = transport::TlsRole::client;
  const auto credentials = credentials_of("mallory");
  options.certificate_chain_pem = credentials.certificate;
  options.private_key_pem = credentials.private_key;
  options.ca_pem = credentials.ca;
  const auto context = transport::TlsContext::create(options).value();
  codec::TlsEngine engine(context.shared(), transport::TlsRole::client, {});
  BOOST_TEST(engine.start().has_value());
  return engine.take_output().to_string();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(link_port)

BOOST_AUTO_TEST_CASE(connection_that_does_not_finish_its_hello_is_dropped_after_five_seconds) {
  const std::string half = client_hello().substr(0, 100);
  for (const std::string& words : {std::string(), half}) {
    Siege siege(1);
    const Instant before = siege.world.network.now();
    const auto mutes = siege.add(3, words);
    siege.world.run_for(Duration::milliseconds(4'900));
    BOOST_TEST(count_ended(mutes) == 0u);
    siege.world.run_for(Duration::milliseconds(200));
    BOOST_TEST(count_ended(mutes) == 3u);
    BOOST_TEST((mutes[0]->ended_at() >= before + Duration::seconds(5)));
    BOOST_TEST(siege.dropped() == 0u);
    siege.finish();
  }
}

BOOST_AUTO_TEST_CASE(connection_that_shows_no_certificate_is_dropped_after_five_seconds) {
  Siege siege(1);
  const auto mutes = siege.add(3, client_hello());
  siege.world.run_for(Duration::milliseconds(4'900));
  BOOST_TEST(count_ended(mutes) == 0u);
  siege.world.run_for(Duration::milliseconds(1'300));  // the alert has a second to arrive
  BOOST_TEST(count_ended(mutes) == 3u);
  siege.finish();
}

// Silent ones before their hello, and after it.
BOOST_AUTO_TEST_CASE(one_source_has_few_places_and_its_first_connection_goes_first) {
  for (const std::string& words : {std::string(), client_hello()}) {
    Siege siege(2);
    const auto first = siege.add(10, words);
    const auto second = siege.add(kOfSourceMax + 20, words);
    BOOST_TEST(count_ended(first) == 0u);
    BOOST_TEST(count_ended(second) == 20u);
    BOOST_TEST(siege.dropped() == 20u);
    siege.finish();
  }
}

BOOST_AUTO_TEST_CASE(silent_connections_of_many_hosts_keep_no_site_out) {
  for (const std::string& words : {std::string(), client_hello()}) {
    Siege siege(3);
    std::vector<std::vector<Mute*>> crowd;
    for (uint32_t i = 0; i < 8; ++i) crowd.push_back(siege.add(kMax / 8, words));
    BOOST_TEST(siege.dropped() == 0u);
    const uint32_t linked = siege.world.east().links_open();
    io::SimLoop& loop = *siege.loops.front();
    LinkProgram program(loop, "mandy", transport::TlsRole::client);
    program.connect(siege.port);
    program.greet({});
    const auto is_let_in = [&] { return siege.world.east().links_open() == linked + 1; };
    BOOST_TEST(siege.world.until(is_let_in, Duration::seconds(1)));
    BOOST_TEST(siege.dropped() == 1u);
    BOOST_TEST(count_ended(crowd[0]) == 1u);  // who came first waits longest
    // More of them take each other's places, not that of the link.
    siege.add(kOfSourceMax, words);
    siege.add(kOfSourceMax, words);
    BOOST_TEST(siege.dropped() == 2 * kOfSourceMax);
    BOOST_TEST(is_let_in());
    program.end();
    BOOST_TEST(siege.world.until([&] { return program.is_closed(); }));
    siege.finish();
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::sim
