#include "dataplane/proxy/listening_socket.h"

#include <boost/test/unit_test.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

using namespace istmo;

namespace {

// Takes one connection after the other, and asks the kernel about them.
struct Taker final : proxy::ListeningSocketSink {
  void on_accepted(io::Fd fd) override { taken = fd; }
  void on_socket_closed() override {}
  void on_connected(io::Completion&& done) { client = done.fd; }

  // Of a connection to `address` that is made now: 0 when TCP keepalive is off.
  int keepalive_seconds(const io::Address& address) {
    loop->connect(connect_op, address, {});
    run_until([&] { return taken.is_open() && client.is_open(); });
    const int seconds = option(SOL_SOCKET, SO_KEEPALIVE) ? option(IPPROTO_TCP, TCP_KEEPIDLE) : 0;
    loop->close(std::exchange(taken, io::Fd()), io::Loop::Ending::abort);
    loop->close(std::exchange(client, io::Fd()), io::Loop::Ending::abort);
    return seconds;
  }
  int option(int level, int name) const {
    int value = -1;
    socklen_t length = sizeof value;
    getsockopt(taken.number(), level, name, &value, &length);
    return value;
  }
  template <class Condition>
  void run_until(Condition is_done) {
    const Instant deadline = loop->now() + Duration::seconds(20);
    while (!is_done()) {
      BOOST_TEST_REQUIRE((loop->now() < deadline));
      loop->run_turn(Duration::milliseconds(100));
    }
  }

  std::unique_ptr<io::Loop> loop =
      io::make_loop(io::choose_loop(io::IoMode::automatic).value(), {}).value();
  io::Fd taken, client;
  io::OpOf<Taker, &Taker::on_connected> connect_op{*this};
};

// An address that is free: it was bound a moment ago.
io::Address free_address(io::Loop& loop) {
  const auto fd = loop.listen(io::Address::parse("127.0.0.1", 0).value(), {}).value();
  const io::Address address = loop.local_address(fd).value();
  loop.close(fd, io::Loop::Ending::orderly);
  loop.run_turn({});
  return address;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(listening_socket)

BOOST_AUTO_TEST_CASE(options_reach_accepted_sockets_also_when_they_change) {
  Taker taker;
  const io::Address address = free_address(*taker.loop);
  proxy::ListeningSockets sockets(*taker.loop, taker);
  std::vector<Error> errors;
  for (const int seconds : {0, 7, 60, 0, 9}) {
    sockets.update({address}, {.keepalive = Duration::seconds(seconds)}, errors);
    BOOST_TEST_REQUIRE(errors.empty());
    BOOST_TEST(taker.keepalive_seconds(address) == seconds);
  }
  sockets.close_all();
  taker.run_until([&] { return sockets.is_idle(); });
}

BOOST_AUTO_TEST_SUITE_END()
