#include "dataplane/transport/tls_transport.h"

#include <boost/test/unit_test.hpp>

#include "dataplane/codec/client_hello.h"
#include "world.h"

using namespace istmo;
using namespace istmo::test;
using transport::TlsContextOptions;
using transport::TlsRole;

namespace {

// A connection whose two sides have other settings than usual.
struct TlsPair {
  TlsPair(World& its_world, const TlsContextOptions& client, const TlsContextOptions& server,
          codec::TlsEngineOptions engine_options = {})
      : world(its_world) {
    const auto sockets = world.connect();
    west.make_tls(world.west(), sockets.west, client, std::move(engine_options));
    east.make_tls(world.east(), sockets.east, server);
    west.transport->start();
    east.transport->start();
  }
  void expect_closed(std::string_view west_text, std::string_view east_text) {
    BOOST_TEST(world.run_until([this] { return west.is_closed() && east.is_closed(); }));
    BOOST_TEST(west.closed_text() == west_text);
    BOOST_TEST(east.closed_text() == east_text);
    BOOST_TEST(!east.is_open);
    BOOST_TEST(east.received.empty());
  }
  World& world;
  End west, east;
};

void for_each_world(const std::function<void(World&)>& test) {
  for (const auto& world : make_worlds()) {
    BOOST_TEST_CONTEXT(world->name()) { test(*world); }
  }
}

TlsContextOptions with_certificate(TlsRole role, const TestCertificate& own) {
  TlsContextOptions options = tls_options(role);
  options.certificate_chain_pem = own.certificate_pem;
  options.private_key_pem = own.key_pem;
  return options;
}

// Reads what a client sends first, as the acceptor of a link does.
struct Acceptor {
  void on_received(io::Completion&& done) {
    received.append(std::move(done.bytes));
    if (hello) return;
    auto parsed =
        codec::parse_client_hello(received.make_contiguous(static_cast<uint32_t>(received.size())));
    BOOST_TEST_REQUIRE(parsed.has_value());
    hello = std::move(*parsed);
  }
  io::Chain received;
  std::optional<codec::ClientHello> hello;
  io::OpOf<Acceptor, &Acceptor::on_received> receive_op{*this};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(tls_transport)

BOOST_AUTO_TEST_CASE(each_side_learns_who_the_other_is) {
  for_each_world([](World& world) {
    auto server = tls_options(TlsRole::server);
    server.alpn = {"amqp"};
    TlsPair pair(world, tls_options(TlsRole::client), server,
                 {.expected_names = {"site.example"}, .alpn = {"amqp", "istmo-1"}});
    BOOST_TEST_REQUIRE(world.run_until([&] { return pair.west.is_open && pair.east.is_open; }));
    BOOST_TEST(pair.west.tls().negotiated_alpn() == "amqp");
    BOOST_TEST(pair.west.tls().remote_identity()->common_name == "site");
    BOOST_TEST(pair.east.tls().remote_identity()->uris.at(0) == "istmo://site/one");
    pair.west.abort();
    BOOST_TEST(world.run_until([&] { return pair.west.is_closed() && pair.east.is_closed(); }));
  });
}

BOOST_AUTO_TEST_CASE(refusals_have_the_alert_at_one_side_and_the_reason_at_the_other) {
  const TestCa other("other ca");
  const std::string said = "protocol: tls: alert from the other side: ";
  const std::string refused = "protocol: tls: certificate not accepted: ";
  for_each_world([&](World& world) {
    TlsPair(world, with_certificate(TlsRole::client, test_ca().issue({"old"}, Validity::expired)),
            tls_options(TlsRole::server))
        .expect_closed(said + "certificate expired", refused + "certificate has expired");
    TlsPair(world, {.role = TlsRole::client, .ca_pem = test_ca().certificate_pem()},
            tls_options(TlsRole::server))
        .expect_closed(said + "certificate required",
                       "protocol: tls: certificate required, but the other side sent none");
    TlsPair(world, with_certificate(TlsRole::client, other.issue({"mallory"})),
            tls_options(TlsRole::server))
        .expect_closed(said + "unknown ca", refused + "unable to get local issuer certificate");
    TlsPair(world, tls_options(TlsRole::client),
            with_certificate(TlsRole::server, other.issue({"mallory"})))
        .expect_closed(refused + "unable to get local issuer certificate", said + "unknown ca");
    TlsPair wrong_name(world, tls_options(TlsRole::client), tls_options(TlsRole::server),
                       {.expected_names = {"elsewhere.example"}});
    BOOST_TEST(world.run_until(
        [&] { return wrong_name.west.is_closed() && wrong_name.east.is_closed(); }));
    BOOST_TEST(wrong_name.west.closed_text().ends_with("ostname mismatch"));
    BOOST_TEST(wrong_name.east.closed_text() == said + "bad certificate");
  });
}

BOOST_AUTO_TEST_CASE(a_refused_client_that_already_sends_still_learns_why) {
  for_each_world([](World& world) {
    TlsPair pair(world, {.role = TlsRole::client, .ca_pem = test_ca().certificate_pem()},
                 tls_options(TlsRole::server));
    pair.west.send(random_text(3'000'000, 1));
    pair.expect_closed("protocol: tls: alert from the other side: certificate required",
                       "protocol: tls: certificate required, but the other side sent none");
  });
}

BOOST_AUTO_TEST_CASE(an_end_without_close_notify_is_a_reset) {
  for_each_world([](World& world) {
    Connection pair(world, Wire::tls);
    pair.west.send("all of it?");
    BOOST_TEST_REQUIRE(world.run_until([&] { return !pair.east.received.empty(); }));
    pair.west.close();  // FIN, but no shutdown_send() before it
    BOOST_TEST(world.run_until([&] { return pair.both_closed(); }));
    BOOST_TEST(pair.east.closed_text() == "reset: tls: connection ended without close_notify");
    BOOST_TEST(!pair.east.has_ended);
  });
}

BOOST_AUTO_TEST_CASE(an_end_during_the_handshake_is_a_reset) {
  for_each_world([](World& world) {
    const auto sockets = world.connect();
    End west, east;
    west.make_tcp(world.west(), sockets.west);
    east.make_tls(world.east(), sockets.east, tls_options(TlsRole::server));
    west.transport->start();
    east.transport->start();
    west.transport->shutdown_send();
    BOOST_TEST(world.run_until([&] { return east.is_closed(); }));
    BOOST_TEST(east.closed_text() == "reset: tls: connection ended during the handshake");
    west.abort();
    BOOST_TEST(world.run_until([&] { return west.is_closed(); }));
  });
}

BOOST_AUTO_TEST_CASE(a_broken_handshake_gets_an_alert_and_is_closed_soon) {
  for_each_world([](World& world) {
    const auto sockets = world.connect();
    End west, east;
    west.make_tcp(world.west(), sockets.west);
    east.make_tls(world.east(), sockets.east, tls_options(TlsRole::server));
    west.transport->start();
    east.transport->start();
    west.send(std::string_view("\x16\x03\x01\x00\x05hello", 10));
    // West never closes: the time to linger passes.
    BOOST_TEST(world.run_until([&] { return east.is_closed(); }));
    BOOST_TEST(east.closed_text().starts_with("protocol: tls: handshake: "));
    BOOST_TEST(world.run_until([&] { return west.has_ended; }));
    BOOST_TEST(west.received.starts_with("\x15\x03"));  // an alert record
    west.abort();
    BOOST_TEST(world.run_until([&] { return west.is_closed(); }));
  });
}

BOOST_AUTO_TEST_CASE(the_acceptor_may_have_read_the_first_octets) {
  for_each_world([](World& world) {
    const auto sockets = world.connect();
    End west, east;
    west.make_tls(world.west(), sockets.west, tls_options(TlsRole::client),
                  {.alpn = {"amqp", "istmo-3"}});
    west.transport->start();
    west.send("hello");
    Acceptor acceptor;
    world.east().receive(acceptor.receive_op, sockets.east);
    BOOST_TEST_REQUIRE(world.run_until([&] { return acceptor.hello.has_value(); }));
    world.east().cancel(acceptor.receive_op);
    BOOST_TEST_REQUIRE(world.run_until([&] { return acceptor.receive_op.is_idle(); }));
    BOOST_TEST(acceptor.hello->alpn.at(1) == "istmo-3");

    east.make_tls(world.east(), sockets.east, tls_options(TlsRole::server));
    east.tls().start_with(std::move(acceptor.received));
    BOOST_TEST(world.run_until([&] { return east.received == "hello"; }));
    east.abort();
    BOOST_TEST(world.run_until([&] { return west.is_closed() && east.is_closed(); }));
  });
}

BOOST_AUTO_TEST_CASE(close_notify_leaves_before_everything_counts_as_sent) {
  for_each_world([](World& world) {
    Connection pair(world, Wire::tls);
    pair.west.send(random_text(700'000, 2));
    pair.west.transport->shutdown_send();
    // An owner that closes as soon as nothing is pending any more.
    pair.west.on_drained = [&] {
      if (pair.west.transport->pending_bytes() == 0) pair.west.close();
    };
    BOOST_TEST(world.run_until([&] { return pair.west.is_closed() && pair.east.has_ended; }));
    BOOST_TEST(pair.east.received.size() == 700'000u);
  });
}

BOOST_AUTO_TEST_CASE(the_owner_hears_when_a_late_close_notify_has_left) {
  for_each_world([](World& world) {
    Connection pair(world, Wire::tls);
    pair.west.send("all");
    BOOST_TEST_REQUIRE(world.run_until(
        [&] { return pair.west.transport->pending_bytes() == 0 && !pair.east.received.empty(); }));
    pair.west.on_drained = [&] { pair.west.close(); };
    pair.west.transport->shutdown_send();
    BOOST_TEST(world.run_until([&] { return pair.west.is_closed() && pair.east.has_ended; }));
  });
}

BOOST_AUTO_TEST_CASE(little_ciphertext_waits_ahead_of_the_socket) {
  for_each_world([](World& world) {
    Connection pair(world, Wire::tls);
    BOOST_TEST_REQUIRE(world.run_until([&] { return pair.east.is_open && pair.west.is_open; }));
    const uint64_t size = 4'000'000;
    pair.west.send(random_text(size, 3));
    world.run_turns(1);
    // Plaintext counts as it is, ciphertext with 22 octets around each 16 KiB.
    const uint64_t records = transport::TlsTransport::kCiphertextBytesMax / (16 * 1024) + 1;
    BOOST_TEST(pair.west.transport->pending_bytes() <= size + records * 22);
  });
}

BOOST_AUTO_TEST_SUITE_END()
