#include "world.h"

#include <boost/test/unit_test.hpp>

#include "base/rng.h"
#include "dataplane/io/sim_loop.h"

namespace istmo::test {
namespace {

constexpr Duration kPatience = Duration::seconds(20);

class KernelWorld final : public World {
 public:
  explicit KernelWorld(std::unique_ptr<io::Loop> loop) : loop_(std::move(loop)) {}
  std::string name() const override {
    return loop_->kind() == io::LoopKind::uring ? "uring" : "epoll";
  }
  io::Loop& west() override { return *loop_; }
  io::Loop& east() override { return *loop_; }
  std::string east_ip() const override { return "127.0.0.1"; }
  bool run_until(const std::function<bool()>& is_done) override {
    const Instant deadline = monotonic_now() + kPatience;
    while (!is_done()) {
      if (monotonic_now() > deadline) return false;
      loop_->run_turn(Duration::milliseconds(10));
    }
    return true;
  }

 private:
  std::unique_ptr<io::Loop> loop_;
};

class SimWorld final : public World {
 public:
  explicit SimWorld(uint64_t seed) : network_(seed) {
    const auto west = network_.add_host({"10.0.0.1"});
    const auto east = network_.add_host({"10.0.0.2"});
    network_.set_faults({.small_chunk = 50'000,
                         .delayed_completion = 50'000,
                         .starvation = 20'000,
                         .cancel_race = 500'000});
    west_ = std::make_unique<io::SimLoop>(network_, west);
    east_ = std::make_unique<io::SimLoop>(network_, east);
  }
  std::string name() const override { return "simulation"; }
  io::Loop& west() override { return *west_; }
  io::Loop& east() override { return *east_; }
  std::string east_ip() const override { return "10.0.0.2"; }
  bool run_until(const std::function<bool()>& is_done) override {
    const Instant deadline = network_.now() + Duration::seconds(600);
    // Nothing happens any more where a test has paused, until its condition resumes.
    for (int idle_steps = 0; !is_done();) {
      if (!network_.step()) ++idle_steps;
      if (idle_steps == 1000 || network_.now() > deadline) return false;
    }
    return true;
  }

 private:
  io::SimNetwork network_;
  std::unique_ptr<io::SimLoop> west_, east_;
};

// Keeps what an accept and a connect brought.
struct Opener {
  void on_accepted(io::Completion&& done) {
    if (done.fd.is_open()) accepted = done.fd;
  }
  void on_connected(io::Completion&& done) { connected = done.fd; }
  io::Fd accepted, connected;
  io::OpOf<Opener, &Opener::on_accepted> accept_op{*this};
  io::OpOf<Opener, &Opener::on_connected> connect_op{*this};
};

}  // namespace

void World::run_turns(int count) {
  run_until([&] { return count-- == 0; });
}

World::Sockets World::connect() {
  Opener opener;
  const auto address = io::Address::parse(east_ip(), 0);
  const auto listener = east().listen(*address, {});
  BOOST_TEST_REQUIRE(listener.has_value());
  east().accept(opener.accept_op, *listener, {});
  west().connect(opener.connect_op, *east().local_address(*listener), {});
  BOOST_TEST_REQUIRE(
      run_until([&] { return opener.accepted.is_open() && opener.connect_op.is_idle(); }));
  BOOST_TEST_REQUIRE(opener.connected.is_open());
  east().cancel(opener.accept_op);
  BOOST_TEST_REQUIRE(run_until([&] { return opener.accept_op.is_idle(); }));
  east().close(*listener, io::Loop::Ending::orderly);
  return {opener.connected, opener.accepted};
}

std::vector<std::unique_ptr<World>> make_worlds() {
  std::vector<std::unique_ptr<World>> worlds;
  for (const auto mode : {io::IoMode::epoll, io::IoMode::uring}) {
    const auto choice = io::choose_loop(mode);
    const auto wanted = mode == io::IoMode::uring ? io::LoopKind::uring : io::LoopKind::epoll;
    if (!choice || choice->kind != wanted) {
      BOOST_TEST_MESSAGE("no io_uring here: " << (choice ? choice->reason : choice.error().text()));
      continue;
    }
    auto loop = io::make_loop(*choice, {});
    BOOST_TEST_REQUIRE(loop.has_value());
    worlds.push_back(std::make_unique<KernelWorld>(std::move(*loop)));
  }
  for (uint64_t seed = 1; seed <= 3; ++seed) worlds.push_back(std::make_unique<SimWorld>(seed));
  return worlds;
}

const TestCa& test_ca() {
  static const TestCa ca("test ca");
  return ca;
}

transport::TlsContextOptions tls_options(transport::TlsRole role) {
  static const TestCertificate own =
      test_ca().issue({"site", {"DNS:site.example", "URI:istmo://site/one"}});
  return {.role = role,
          .certificate_chain_pem = own.certificate_pem,
          .private_key_pem = own.key_pem,
          .ca_pem = test_ca().certificate_pem()};
}

void End::make_tcp(io::Loop& loop, io::Fd fd) {
  transport = std::make_unique<transport::TcpTransport>(loop, fd, *this);
}

void End::make_tls(io::Loop& loop, io::Fd fd, const transport::TlsContextOptions& options,
                   codec::TlsEngineOptions engine_options) {
  const auto context = transport::TlsContext::create(options);
  BOOST_TEST_REQUIRE(context.has_value());
  transport = std::make_unique<transport::TlsTransport>(loop, fd, *context, *this,
                                                        std::move(engine_options));
}

void End::on_transport_open() {
  BOOST_TEST_REQUIRE(!is_open);
  BOOST_TEST_REQUIRE(!is_closed());
  is_open = true;
  if (on_open) on_open();
}

void End::on_transport_data(io::Chain&& bytes) {
  BOOST_TEST_REQUIRE(is_open);
  BOOST_TEST_REQUIRE(!has_ended);
  BOOST_TEST_REQUIRE(!is_closed());
  BOOST_TEST_REQUIRE(!bytes.empty());
  received += bytes.to_string();
  if (on_data) on_data();
}

void End::on_transport_end() {
  BOOST_TEST_REQUIRE(!has_ended);
  BOOST_TEST_REQUIRE(!is_closed());
  has_ended = true;
  if (on_end) on_end();
}

void End::on_transport_drained(uint64_t count) {
  BOOST_TEST_REQUIRE(!is_closed());
  drained += count;
  if (on_drained) on_drained();
}

void End::on_transport_closed(const Error& error) {
  BOOST_TEST_REQUIRE(!is_closed());
  closed_as = error;
  if (!keeps_transport) transport.reset();
}

std::string End::closed_text() const {
  if (!closed_as) return "open";
  return std::string(istmo::to_string(closed_as->error_class())) + ": " + closed_as->text();
}

Connection::Connection(World& its_world, Wire wire) : world(its_world) {
  const auto sockets = world.connect();
  if (wire == Wire::tcp) {
    west.make_tcp(world.west(), sockets.west);
    east.make_tcp(world.east(), sockets.east);
  } else {
    west.make_tls(world.west(), sockets.west, tls_options(transport::TlsRole::client));
    east.make_tls(world.east(), sockets.east, tls_options(transport::TlsRole::server));
  }
  west.transport->start();
  east.transport->start();
}

Connection::~Connection() {
  for (End* end : {&west, &east}) {
    if (end->transport) end->abort();
  }
  BOOST_TEST(world.run_until([this] { return both_closed(); }));
}

void for_each_connection(const std::function<void(Connection&)>& test) {
  for (const auto& world : make_worlds()) {
    for (const Wire wire : {Wire::tcp, Wire::tls}) {
      BOOST_TEST_CONTEXT(world->name() << " " << to_string(wire)) {
        Connection connection(*world, wire);
        test(connection);
      }
    }
  }
}

std::string random_text(size_t size, uint64_t seed) {
  Rng rng(seed);
  std::string text(size, '\0');
  for (char& octet : text) octet = static_cast<char>(rng.next());
  return text;
}

}  // namespace istmo::test
