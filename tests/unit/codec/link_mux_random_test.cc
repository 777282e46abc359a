// Seeded random exchanges: many streams, random sizes, splits, pauses and resets, with a checker
// for byte-exact streams, for credit that is never negative, and for nothing left at the end.
#include <boost/test/unit_test.hpp>

#include <map>

#include "link_mux_pair.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

char octet_at(StreamId opener_id, size_t index, bool is_request) {
  return static_cast<char>(opener_id.number() * 31 + index * 7 + (index >> 8) + is_request);
}

// One direction of one stream, as its ends see it.
struct Flowing {
  size_t written = 0;
  size_t wanted = 0;
  size_t received = 0;
  size_t ungranted = 0;
  bool is_finished = false;
  bool is_end_seen = false;
};

struct Exchange {
  Flowing request;
  Flowing answer;
  StreamId here;
  StreamId there;
  bool is_reset = false;
};

class RandomRun {
 public:
  explicit RandomRun(uint64_t seed) : rng_(seed) {
    west_.window_bytes = static_cast<uint32_t>(rng_.between(1, 100'000));
    east_.window_bytes = static_cast<uint32_t>(rng_.between(1, 100'000));
    west_.frame_bytes_max = static_cast<uint32_t>(rng_.between(512, 40'000));
    east_.frame_bytes_max = static_cast<uint32_t>(rng_.between(512, 40'000));
    west_.first_sequence_number = static_cast<uint32_t>(rng_.next());
    east_.first_sequence_number = UINT32_MAX - static_cast<uint32_t>(rng_.below(200));
  }

  void run() {
    MuxPair pair(west_, east_);
    pair_ = &pair;
    pair.dialer.grants_at_once = pair.acceptor.grants_at_once = false;
    for (int step = 0; step < 4000; ++step) {
      act();
      carry();
      check_events(pair.dialer, dialer_seen_);
      check_events(pair.acceptor, acceptor_seen_);
      check_credit(pair.dialer, west_, east_);
      check_credit(pair.acceptor, east_, west_);
    }
    settle();
    BOOST_TEST((pair.dialer.find(Kind::closed) == nullptr));
    BOOST_TEST((pair.acceptor.find(Kind::closed) == nullptr));
    BOOST_TEST(pair.dialer.mux.streams_open() == 0u);
    BOOST_TEST(pair.acceptor.mux.streams_open() == 0u);
    BOOST_TEST((pair.dialer.mux.use() == LinkMuxUse{}));
    BOOST_TEST((pair.acceptor.mux.use() == LinkMuxUse{}));
    BOOST_TEST(pair.dialer.mux.queued_bytes() + pair.acceptor.mux.queued_bytes() == 0u);
    for (auto& [id, exchange] : exchanges_) {
      ++(exchange.is_reset ? resets : completed);
      if (exchange.is_reset) continue;
      for (const Flowing* flow : {&exchange.request, &exchange.answer}) {
        BOOST_TEST(flow->received == flow->wanted);
        BOOST_TEST(flow->is_end_seen);
      }
    }
  }

  size_t completed = 0;
  size_t resets = 0;

 private:
  void act() {
    if (pair_->dialer.mux.is_open() && exchanges_.size() < 60 && rng_.chance(30'000)) {
      const auto id = *pair_->dialer.mux.open_stream({.to = "echo"});
      Exchange& exchange = exchanges_[id.number()];
      exchange.here = id;
      exchange.request.wanted = rng_.below(60'000);
      exchange.answer.wanted = rng_.below(60'000);
      by_name_order_.push_back(id.number());
    }
    for (auto& [number, exchange] : exchanges_) {
      if (exchange.is_reset) continue;
      if (rng_.chance(1000)) {
        const bool by_opener = rng_.chance(500'000);
        if (!by_opener && exchange.there == StreamId()) continue;
        if (over(exchange)) continue;
        side(by_opener).mux.reset(by_opener ? exchange.here : exchange.there, "random");
        exchange.is_reset = true;
        continue;
      }
      if (rng_.chance(200'000)) push(exchange, true, rng_.below(9000));
      if (exchange.there != StreamId() && rng_.chance(200'000))
        push(exchange, false, rng_.below(9000));
      if (rng_.chance(300'000)) drain(exchange, true, rng_.below(9000));
      if (rng_.chance(300'000)) drain(exchange, false, rng_.below(9000));
    }
  }
  static bool over(const Exchange& exchange) {
    return exchange.request.is_end_seen && exchange.answer.is_end_seen;
  }
  MuxSide& side(bool is_dialer) { return is_dialer ? pair_->dialer : pair_->acceptor; }

  void push(Exchange& exchange, bool is_request, size_t count) {
    Flowing& flow = is_request ? exchange.request : exchange.answer;
    if (flow.is_finished) return;
    count = std::min(count, flow.wanted - flow.written);
    std::string text(count, '\0');
    for (auto& c : text) c = octet_at(exchange.here, flow.written++, is_request);
    LinkMux& mux = side(is_request).mux;
    const StreamId id = is_request ? exchange.here : exchange.there;
    if (count > 0) mux.write(id, io::Chain::copy_of(text));
    if (flow.written < flow.wanted) return;
    mux.finish(id);
    flow.is_finished = true;
  }
  void drain(Exchange& exchange, bool is_request, size_t count) {
    Flowing& flow = is_request ? exchange.request : exchange.answer;
    count = std::min(count, flow.ungranted);
    flow.ungranted -= count;
    if (count > 0) side(!is_request).mux.grant(is_request ? exchange.there : exchange.here, count);
  }

  // Moves a random part of what is under way, in random pieces.
  void carry() {
    east_bound_ += pair_->dialer.output(pair_->now, rng_.below(50'000));
    west_bound_ += pair_->acceptor.output(pair_->now, rng_.below(50'000));
    give(pair_->acceptor, east_bound_);
    give(pair_->dialer, west_bound_);
  }
  void give(MuxSide& to, std::string& wire) {
    const size_t count = std::min(wire.size(), rng_.below(rng_.chance(200'000) ? 40 : 60'000));
    to.feed(std::string_view(wire).substr(0, count), pair_->now);
    to.collect();
    wire.erase(0, count);
  }

  void check_events(MuxSide& from, size_t& seen_count) {
    const bool is_dialer = &from == &pair_->dialer;
    for (; seen_count < from.seen_events.size(); ++seen_count) {
      const Seen& seen = from.seen_events[seen_count];
      // The correlation-id would tell; here the order of opening does, as attaches keep it.
      if (seen.kind == Kind::stream_requested) {
        there_[seen.stream.number()] = by_name_order_.at(requests_seen_++);
      }
      if (seen.kind == Kind::opened || seen.kind == Kind::closed) continue;
      if (!is_dialer) BOOST_REQUIRE(there_.contains(seen.stream.number()));
      const uint64_t number = is_dialer ? seen.stream.number() : there_[seen.stream.number()];
      BOOST_REQUIRE(exchanges_.contains(number));
      Exchange& exchange = exchanges_[number];
      if (seen.kind == Kind::stream_opened) exchange.there = seen.stream;
      if (seen.kind != Kind::stream_data && seen.kind != Kind::stream_ended &&
          seen.kind != Kind::stream_reset) {
        continue;
      }
      Flowing& flow = is_dialer ? exchange.answer : exchange.request;
      if (seen.kind == Kind::stream_reset) {
        BOOST_TEST(seen.text == "random");
        BOOST_TEST(exchange.is_reset);
        continue;
      }
      flow.is_end_seen |= seen.kind == Kind::stream_ended;
      for (char c : seen.bytes) {
        // Not an assertion per octet: millions of them take minutes to be logged.
        if (c != octet_at(exchange.here, flow.received++, !is_dialer)) BOOST_FAIL("wrong octet");
      }
      flow.ungranted += seen.bytes.size();
      BOOST_TEST(flow.ungranted <= (is_dialer ? west_ : east_).window_bytes);
    }
  }
  static void check_credit(const MuxSide& side, const LinkMuxOptions& options,
                           const LinkMuxOptions& other) {
    for (const StreamCredit& credit : side.mux.credits()) {
      const bool is_right = credit.send_bytes >= 0 && credit.send_bytes <= other.window_bytes &&
                            credit.receive_announced_bytes >= 0 &&
                            credit.receive_announced_bytes <= credit.receive_bytes &&
                            credit.receive_bytes <= options.window_bytes &&
                            credit.send_deliveries <= 1 && credit.receive_deliveries <= 1;
      if (!is_right) BOOST_FAIL("credit out of bounds");
    }
  }

  void settle() {
    for (int i = 0; i < 2000; ++i) {
      for (auto& [number, exchange] : exchanges_) {
        if (exchange.is_reset) continue;
        push(exchange, true, SIZE_MAX);
        if (exchange.there != StreamId()) push(exchange, false, SIZE_MAX);
        drain(exchange, true, SIZE_MAX);
        drain(exchange, false, SIZE_MAX);
      }
      carry();
      check_events(pair_->dialer, dialer_seen_);
      check_events(pair_->acceptor, acceptor_seen_);
    }
  }

  Rng rng_;
  LinkMuxOptions west_ = dialer_options();
  LinkMuxOptions east_ = acceptor_options();
  MuxPair* pair_ = nullptr;
  std::map<uint64_t, Exchange> exchanges_;
  std::map<uint64_t, uint64_t> there_;  // the acceptor's id to the opener's
  std::vector<uint64_t> by_name_order_;
  size_t requests_seen_ = 0;
  std::string east_bound_;
  std::string west_bound_;
  size_t dialer_seen_ = 0;
  size_t acceptor_seen_ = 0;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(link_mux_random)

BOOST_AUTO_TEST_CASE(random_exchanges_are_byte_exact_and_leave_nothing) {
  size_t resets = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      RandomRun random(seed);
      random.run();
      BOOST_TEST(random.completed > 0u);
      resets += random.resets;
    }
  }
  BOOST_TEST(resets > 20u);
}

BOOST_AUTO_TEST_SUITE_END()
