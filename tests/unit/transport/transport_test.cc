// What every Transport does, over every loop: plain TCP and TLS alike.
#include <boost/test/unit_test.hpp>

#include "base/rng.h"
#include "world.h"

using namespace istmo;
using namespace istmo::test;

namespace {

constexpr size_t kMebibyte = 1024 * 1024;

void send_in_pieces(End& end, const std::string& text, Rng& rng) {
  for (size_t sent = 0; sent < text.size();) {
    const size_t size = std::min<size_t>(text.size() - sent, rng.between(1, 50'000));
    end.send(std::string_view(text).substr(sent, size));
    sent += size;
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(transports)

BOOST_AUTO_TEST_CASE(echo_is_byte_exact) {
  for_each_connection([](Connection& pair) {
    Rng rng(1);
    const std::string text = random_text(2 * kMebibyte, 2);
    size_t echoed = 0;
    pair.east.on_data = [&] {
      pair.east.send(std::string_view(pair.east.received).substr(echoed));
      echoed = pair.east.received.size();
    };
    send_in_pieces(pair.west, text, rng);
    BOOST_TEST(pair.run_until([&] { return pair.west.received.size() == text.size(); }));
    BOOST_TEST((pair.west.received == text));
  });
}

BOOST_AUTO_TEST_CASE(what_is_sent_before_start_arrives) {
  for (const auto& world : make_worlds()) {
    for (const Wire wire : {Wire::tcp, Wire::tls}) {
      BOOST_TEST_CONTEXT(world->name() << " " << to_string(wire)) {
        Connection pair(*world, wire);  // sends before a turn, and before the handshake
        pair.west.send("early");
        BOOST_TEST(pair.run_until([&] { return pair.east.received == "early"; }));
        BOOST_TEST(pair.west.is_open);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(half_close_keeps_what_is_in_flight_in_both_directions) {
  for_each_connection([](Connection& pair) {
    const std::string from_west = random_text(3 * kMebibyte, 3);
    const std::string from_east = random_text(2 * kMebibyte, 4);
    pair.west.send(from_west);
    pair.west.transport->shutdown_send();
    pair.east.on_end = [&] {  // the other direction goes on after the end of this one
      BOOST_TEST(pair.east.received.size() == from_west.size());
      pair.east.send(from_east);
      pair.east.transport->shutdown_send();
    };
    BOOST_TEST(pair.run_until([&] { return pair.west.has_ended; }));
    BOOST_TEST((pair.east.received == from_west));
    BOOST_TEST((pair.west.received == from_east));
    BOOST_TEST(!pair.west.is_closed());
    BOOST_TEST(!pair.east.is_closed());
  });
}

BOOST_AUTO_TEST_CASE(both_directions_may_end_at_once) {
  for_each_connection([](Connection& pair) {
    const std::string text = random_text(2 * kMebibyte, 5);
    for (End* end : {&pair.west, &pair.east}) {
      end->send(text);
      end->transport->shutdown_send();
    }
    BOOST_TEST(pair.run_until([&] { return pair.west.has_ended && pair.east.has_ended; }));
    BOOST_TEST((pair.west.received == text));
    BOOST_TEST((pair.east.received == text));
    pair.west.close();
    pair.east.close();
    BOOST_TEST(pair.run_until([&] { return pair.both_closed(); }));
    BOOST_TEST(pair.west.closed_text() == "closed: test");
    BOOST_TEST(pair.east.closed_text() == "closed: test");
  });
}

BOOST_AUTO_TEST_CASE(everything_that_left_is_counted_once) {
  for_each_connection([](Connection& pair) {
    const std::string text = random_text(3 * kMebibyte + 12'345, 6);
    pair.west.on_drained = [&] {
      BOOST_TEST_REQUIRE(pair.west.drained <= text.size());
      BOOST_TEST_REQUIRE(
          (pair.west.drained == text.size() || pair.west.transport->pending_bytes() > 0));
    };
    pair.west.send(text);
    BOOST_TEST(pair.west.transport->pending_bytes() == text.size());
    pair.west.transport->shutdown_send();
    BOOST_TEST(pair.run_until([&] { return pair.east.has_ended; }));
    BOOST_TEST(pair.west.drained == text.size());
    BOOST_TEST(pair.west.transport->pending_bytes() == 0u);
  });
}

BOOST_AUTO_TEST_CASE(abort_is_a_reset_at_the_other_side_whatever_is_in_flight) {
  for_each_connection([](Connection& first) {
    World& world = first.world;
    const Wire wire =
        dynamic_cast<transport::TlsTransport*>(first.west.transport.get()) ? Wire::tls : Wire::tcp;
    for (int round = 0; round < 24; ++round) {
      Connection pair(world, wire);
      BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.west.is_open && pair.east.is_open; }));
      const bool is_to_west = round % 2 != 0;
      End& breaker = is_to_west ? pair.east : pair.west;
      End& witness = is_to_west ? pair.west : pair.east;
      if (round % 3 != 0) witness.send(random_text(3 * kMebibyte, 7));
      if (round % 4 != 0) breaker.send(random_text(2 * kMebibyte, 8));
      const size_t enough = round % 3 == 0 ? 0 : static_cast<size_t>(round) * 50'000;
      BOOST_TEST_REQUIRE(pair.run_until([&] { return breaker.received.size() >= enough; }));
      if (round % 5 == 0) {
        breaker.transport->pause_receive();
        world.run_turns(5);
      }
      breaker.abort();
      BOOST_TEST(pair.run_until([&] { return pair.both_closed(); }));
      BOOST_TEST(breaker.closed_text() == "closed: test");
      BOOST_TEST((witness.closed_as->error_class() == ErrorClass::reset), witness.closed_text());
      BOOST_TEST(!witness.has_ended);
    }
  });
}

// Whoever paused may wait for this connection to drain before it resumes: it must end by itself.
BOOST_AUTO_TEST_CASE(reset_that_a_send_saw_ends_a_connection_whose_receiving_is_paused) {
  for (const auto& world : make_worlds()) {
    BOOST_TEST_CONTEXT(world->name()) {
      Connection pair(*world, Wire::tcp);
      BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.east.is_open; }));
      pair.east.transport->pause_receive();
      world->run_turns(5);
      pair.west.send("last words");
      BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.west.drained > 0; }));
      world->run_turns(10);
      pair.west.abort();
      BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.west.is_closed(); }));
      if (!pair.east.is_closed()) pair.east.send("to nobody");
      BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.east.is_closed(); }));
      BOOST_TEST((pair.east.closed_as->error_class() == ErrorClass::reset));
      BOOST_TEST(!pair.east.has_ended);
    }
  }
}

// Nobody asks for the socket any more: the end was received, or receiving is paused for good.
BOOST_AUTO_TEST_CASE(reset_ends_a_connection_that_is_half_closed) {
  for_each_connection([](Connection& pair) {
    pair.west.send("last words");
    pair.west.transport->shutdown_send();
    BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.east.has_ended; }));
    BOOST_TEST(!pair.east.is_closed());
    pair.west.abort();
    BOOST_TEST(pair.run_until([&] { return pair.both_closed(); }));
    BOOST_TEST((pair.east.closed_as->error_class() == ErrorClass::reset), pair.east.closed_text());
    BOOST_TEST(pair.east.received == "last words");
  });
}

BOOST_AUTO_TEST_CASE(reset_ends_a_connection_whose_receiving_is_paused) {
  for_each_connection([](Connection& pair) {
    BOOST_TEST_REQUIRE(pair.run_until([&] { return pair.west.is_open && pair.east.is_open; }));
    pair.east.transport->pause_receive();
    pair.west.send(random_text(4 * kMebibyte, 13));
    pair.world.run_turns(20);
    BOOST_TEST(!pair.east.is_closed());
    pair.west.abort();
    BOOST_TEST(pair.run_until([&] { return pair.both_closed(); }));
    BOOST_TEST((pair.east.closed_as->error_class() == ErrorClass::reset), pair.east.closed_text());
    BOOST_TEST(!pair.east.has_ended);
  });
}

BOOST_AUTO_TEST_CASE(pause_stops_the_sender_and_resume_loses_nothing) {
  for_each_connection([](Connection& pair) {
    const std::string text = random_text(24 * kMebibyte, 9);
    size_t at_pause = 0;
    pair.east.on_data = [&] {
      if (at_pause > 0) return;
      at_pause = pair.east.received.size();
      pair.east.transport->pause_receive();
      pair.east.transport->pause_receive();
    };
    pair.west.send(text);
    BOOST_TEST_REQUIRE(pair.run_until([&] { return at_pause > 0; }));
    uint64_t drained = 0;
    int quiet_turns = 0;
    BOOST_TEST_REQUIRE(pair.run_until([&] {
      quiet_turns = drained == pair.west.drained ? quiet_turns + 1 : 0;
      drained = pair.west.drained;
      return quiet_turns == 20 || drained == text.size();
    }));
    BOOST_TEST(pair.west.transport->pending_bytes() > 0u);
    BOOST_TEST(pair.east.received.size() <= at_pause + kMebibyte);
    pair.east.transport->resume_receive();
    pair.east.transport->resume_receive();
    BOOST_TEST(pair.run_until([&] { return pair.east.received.size() == text.size(); }));
    BOOST_TEST((pair.east.received == text));
  });
}

BOOST_AUTO_TEST_CASE(resume_right_after_pause_goes_on) {
  for_each_connection([](Connection& pair) {
    const std::string text = random_text(2 * kMebibyte, 12);
    pair.east.on_data = [&] {
      pair.east.transport->pause_receive();
      pair.east.transport->resume_receive();
    };
    pair.west.send(text);
    BOOST_TEST(pair.run_until([&] { return pair.east.received.size() == text.size(); }));
  });
}

BOOST_AUTO_TEST_CASE(pausing_at_random_moments_loses_nothing) {
  for_each_connection([](Connection& pair) {
    Rng rng(10);
    const std::string text = random_text(4 * kMebibyte, 11);
    pair.east.on_data = [&] {
      if (rng.chance(500'000)) pair.east.transport->pause_receive();
      if (rng.chance(300'000)) pair.east.transport->resume_receive();
    };
    send_in_pieces(pair.west, text, rng);
    pair.west.transport->shutdown_send();
    BOOST_TEST(pair.run_until([&] {
      if (rng.chance(300'000)) pair.east.transport->resume_receive();
      return pair.east.has_ended;
    }));
    BOOST_TEST((pair.east.received == text));
  });
}

BOOST_AUTO_TEST_CASE(the_owner_may_close_inside_every_call) {
  using Hook = std::function<void()> End::*;
  for (const Hook hook : {&End::on_open, &End::on_data, &End::on_end, &End::on_drained}) {
    for (const auto ending : {io::Loop::Ending::orderly, io::Loop::Ending::abort}) {
      for_each_connection([&](Connection& pair) {
        const auto closes = [&] {
          pair.west.transport->close(ending, Error::limit("first"));
          pair.west.transport->close(ending, Error::limit("second"));
          pair.west.transport->send(io::Chain::copy_of("ignored"));
          pair.west.transport->resume_receive();
          BOOST_TEST(pair.west.transport->is_closed());
        };
        pair.west.*hook = closes;
        pair.west.send("from west");
        pair.east.send("from east");
        pair.east.transport->shutdown_send();
        BOOST_TEST(pair.run_until([&] { return pair.west.is_closed(); }));
        BOOST_TEST(pair.west.closed_text() == "limit: first");
      });
    }
  }
}

BOOST_AUTO_TEST_CASE(a_transport_that_is_kept_beyond_its_end_does_nothing) {
  for_each_connection([](Connection& pair) {
    World& world = pair.world;
    const auto sockets = world.connect();
    world.east().close(sockets.east, io::Loop::Ending::orderly);
    End kept;
    kept.keeps_transport = true;
    kept.make_tcp(world.west(), sockets.west);
    // Started and closed by a handler: the end may come in this turn, deferred work in the next.
    pair.west.on_data = [&] {
      kept.transport->start();
      kept.close();
    };
    pair.east.send("go");
    BOOST_TEST(pair.run_until([&] { return kept.is_closed(); }));
    world.run_turns(5);
    BOOST_TEST(!kept.is_open);
  });
}

BOOST_AUTO_TEST_CASE(close_before_the_first_turn_is_reported_once) {
  for (const auto& world : make_worlds()) {
    for (const Wire wire : {Wire::tcp, Wire::tls}) {
      BOOST_TEST_CONTEXT(world->name() << " " << to_string(wire)) {
        Connection pair(*world, wire);
        pair.west.close();
        BOOST_TEST(!pair.west.is_closed());  // never from inside the call
        BOOST_TEST(pair.run_until([&] { return pair.west.is_closed(); }));
        BOOST_TEST(!pair.west.is_open);
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
