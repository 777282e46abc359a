// A LinkMux gives the same events however its input is cut, on both sides of a link.
#include <boost/test/unit_test.hpp>

#include <functional>

#include "link_mux_pair.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

// What a dialer did and what it was told in answer, to be told again with the input cut elsewhere.
class DialerTape {
 public:
  using Verb = std::function<void(LinkMux&)>;

  MuxPair& pair() { return pair_; }
  void act(const Verb& verb) {
    verbs_.push_back({verb, pair_.wire_west.size()});
    verb(pair_.dialer.mux);
    pair_.pump();
  }
  // `step_to_cut`: index in wire_west.
  std::vector<Seen> replay(size_t step_to_cut = SIZE_MAX, size_t cut = 0,
                           size_t piece_bytes = SIZE_MAX / 2) const {
    MuxSide side(options(dialer_options()), pair_.now);
    const auto feed = [&](std::string_view text) {
      for (size_t at = 0; at < text.size(); at += piece_bytes) {
        side.feed(text.substr(at, piece_bytes), pair_.now);
      }
    };
    for (size_t verb = 0; verb < verbs_.size(); ++verb) {
      verbs_[verb].first(side.mux);
      const bool is_last = verb + 1 == verbs_.size();
      const size_t end = is_last ? pair_.wire_west.size() : verbs_[verb + 1].second;
      for (size_t step = verbs_[verb].second; step < end; ++step) {
        side.output(pair_.now);
        side.collect();
        const std::string_view told(pair_.wire_west[step]);
        const size_t first = step == step_to_cut ? cut : told.size();
        feed(told.substr(0, first));
        feed(told.substr(first));
      }
      side.output(pair_.now);
      side.collect();
    }
    return side.seen_events;
  }

 private:
  // Small windows, so that what is sent needs several flows.
  static LinkMuxOptions options(LinkMuxOptions options) {
    options.window_bytes = 200;
    return options;
  }

  MuxPair pair_{options(dialer_options()), options(acceptor_options())};
  std::vector<std::pair<Verb, size_t>> verbs_;  // and where in wire_west its answers begin
};

}  // namespace

BOOST_AUTO_TEST_SUITE(link_mux_split)

BOOST_AUTO_TEST_CASE(every_split_of_the_acceptors_input_gives_the_same_events) {
  MuxPair pair;
  pair.pump();
  const auto [a, a_there] = pair.open();
  pair.dialer.mux.write(a, io::Chain::copy_of("request of a"));
  pair.pump();
  const auto [b, b_there] = pair.open("other");
  pair.dialer.mux.write(b, io::Chain::copy_of(octets(300)));
  pair.pump();
  pair.dialer.mux.reset(a, "left");
  pair.dialer.mux.finish(b);
  pair.pump();
  pair.dialer.mux.close("amqp:connection:forced", "bye");
  pair.pump();
  // What the dialer sent between two answers is one step; each step is cut at each place.
  const auto replay = [&](size_t step_to_cut, size_t cut, size_t piece_bytes) {
    MuxSide side(acceptor_options(), pair.now);
    const auto feed = [&](std::string_view piece) {
      for (size_t at = 0; at < piece.size(); at += piece_bytes) {
        side.feed(piece.substr(at, piece_bytes), pair.now);
      }
      side.output(pair.now);
    };
    for (size_t step = 0; step < pair.wire_east.size(); ++step) {
      const std::string_view octets_of_step(pair.wire_east[step]);
      if (step == step_to_cut) {
        feed(octets_of_step.substr(0, cut));
        feed(octets_of_step.substr(cut));
      } else {
        feed(octets_of_step);
      }
    }
    return side.seen_events;
  };
  const auto expected = replay(SIZE_MAX, 0, SIZE_MAX / 2);
  BOOST_TEST(expected.size() == pair.acceptor.seen_events.size());
  BOOST_TEST(expected.size() == 11u);
  for (size_t step = 0; step < pair.wire_east.size(); ++step) {
    for (size_t cut = 1; cut < pair.wire_east[step].size(); ++cut) {
      BOOST_TEST((replay(step, cut, SIZE_MAX / 2) == expected));
    }
  }
  BOOST_TEST((replay(SIZE_MAX, 0, 1) == expected));
}

// Handshake, answers to attaches (one is a refusal), flows, an answer that fills several windows,
// dispositions, detaches, a reset, a close.
BOOST_AUTO_TEST_CASE(every_split_of_the_dialers_input_gives_the_same_events) {
  DialerTape tape;
  MuxPair& pair = tape.pair();
  StreamId a, b;
  tape.act([](LinkMux&) {});
  tape.act([&](LinkMux& mux) {
    a = *mux.open_stream(head_to("echo"));
    mux.write(a, io::Chain::copy_of(octets(500)));
  });
  const StreamId a_there = pair.acceptor.find(Kind::stream_opened)->stream;
  pair.acceptor.mux.write(a_there, io::Chain::copy_of(octets(450, 2)));
  pair.acceptor.mux.finish(a_there);
  tape.act([&](LinkMux& mux) { mux.finish(a); });
  tape.act([](LinkMux& mux) { static_cast<void>(*mux.open_stream(head_to("nowhere"))); });
  tape.act([&](LinkMux& mux) {
    b = *mux.open_stream(head_to("other"));
    mux.write(b, io::Chain::copy_of("request"));
  });
  pair.acceptor.mux.reset(pair.acceptor.seen_events.back().stream, "left");
  tape.act([](LinkMux&) {});
  pair.acceptor.mux.close("amqp:connection:forced", "bye");
  tape.act([](LinkMux&) {});
  const auto expected = tape.replay();
  BOOST_TEST((expected == pair.dialer.seen_events));
  for (const Kind kind :
       {Kind::opened, Kind::stream_answered, Kind::stream_data, Kind::stream_ended,
        Kind::stream_reset, Kind::stream_drained, Kind::stream_released, Kind::closed}) {
    BOOST_TEST(pair.dialer.count(kind) > 0u);
  }
  BOOST_TEST(pair.dialer.count(Kind::stream_drained) > 2u);  // so there were flows between
  for (size_t step = 0; step < pair.wire_west.size(); ++step) {
    for (size_t cut = 1; cut < pair.wire_west[step].size(); ++cut) {
      BOOST_TEST((tape.replay(step, cut) == expected));
    }
  }
  BOOST_TEST((tape.replay(SIZE_MAX, 0, 1) == expected));
}

BOOST_AUTO_TEST_SUITE_END()
