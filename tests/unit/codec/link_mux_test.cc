// Two Istmo sites: handshake, streams, ends, credit, time.
#include <boost/test/unit_test.hpp>

#include <deque>

#include "dataplane/io/cores.h"
#include "link_mux_pair.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

void check_nothing_left(MuxPair& pair) {
  BOOST_TEST(pair.dialer.mux.streams_open() == 0u);
  BOOST_TEST(pair.acceptor.mux.streams_open() == 0u);
  BOOST_TEST(pair.dialer.mux.queued_bytes() == 0u);
  BOOST_TEST(pair.acceptor.mux.queued_bytes() == 0u);
  BOOST_TEST(!pair.dialer.mux.has_output());
  BOOST_TEST(!pair.acceptor.mux.has_output());
  BOOST_TEST((pair.dialer.mux.use() == LinkMuxUse{}));
  BOOST_TEST((pair.acceptor.mux.use() == LinkMuxUse{}));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(link_mux)

BOOST_AUTO_TEST_CASE(handshake_tells_both_sides_who_is_there) {
  MuxPair pair;
  pair.pump();
  BOOST_TEST((pair.dialer.find(Kind::opened) && pair.acceptor.find(Kind::opened)));
  BOOST_TEST(pair.acceptor.mux.remote().container_id == "west-id");
  BOOST_TEST(pair.acceptor.mux.remote().site_name == "west");
  BOOST_TEST(pair.acceptor.mux.remote().workers == 2u);
  BOOST_TEST(pair.acceptor.mux.remote().connection == 1u);
  BOOST_TEST(pair.acceptor.mux.remote().cost == 7u);
  BOOST_TEST(pair.acceptor.mux.remote().has_byte_credit);
  BOOST_TEST(pair.dialer.mux.remote().site_name == "east");
  BOOST_TEST(pair.dialer.mux.remote().workers == 3u);
}

// Lends blocks of 8 KiB and counts those that are out.
struct CountingPool final : io::BlockOwner {
  io::Slice one_octet() {
    blocks.push_back({.data = octets.data(), .size = 8192, .references = 1, .owner = this});
    ++lent;
    return {blocks.back(), 0, 1};
  }
  void release(io::Block&) override { --lent; }
  std::vector<uint8_t> octets = std::vector<uint8_t>(8192, 'x');
  std::deque<io::Block> blocks;
  int lent = 0;
};

BOOST_AUTO_TEST_CASE(octets_that_wait_for_credit_give_their_blocks_back) {
  CountingPool pool;
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  pair.acceptor.grants_at_once = false;
  pair.dialer.mux.write(here, io::Chain::copy_of(octets(256 * 1024)));  // all of the credit
  pair.pump();
  for (int i = 0; i < 10'000; ++i) pair.dialer.mux.write(here, io::Chain(pool.one_octet()));
  BOOST_TEST(pair.dialer.mux.queued_bytes() == 10'000u);
  BOOST_TEST(pool.lent <= 1);
  pair.acceptor.mux.grant(there, 256 * 1024);
  pair.pump();
  BOOST_TEST((pair.acceptor.received(there).substr(256 * 1024) == std::string(10'000, 'x')));
  BOOST_TEST(pool.lent == 0);
}

// The dialer would make as many connections as the other site says that it has workers.
BOOST_AUTO_TEST_CASE(open_with_more_workers_than_a_site_can_have_is_refused) {
  for (const uint32_t workers : {io::kWorkersMax, io::kWorkersMax + 1, 4'000'000'000u}) {
    const bool is_refused = workers > io::kWorkersMax;
    auto hostile = acceptor_options();
    hostile.workers = workers;
    MuxPair pair(dialer_options(), hostile);
    pair.pump();
    BOOST_TEST((pair.dialer.find(Kind::opened) == nullptr) == is_refused);
    BOOST_TEST(pair.dialer.mux.remote().workers == (is_refused ? 0u : workers));
    const Seen* closed = pair.dialer.find(Kind::closed);
    BOOST_REQUIRE((closed != nullptr) == is_refused);
    if (closed) BOOST_TEST(closed->text == "istmo:workers is more than a site can have");
  }
}

BOOST_AUTO_TEST_CASE(stream_carries_octets_both_ways_and_leaves_nothing) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  const Seen* opened = pair.acceptor.find(Kind::stream_opened);
  BOOST_REQUIRE(opened);
  BOOST_TEST(opened->head.to == "echo");
  BOOST_TEST(opened->head.correlation_id == "c1");
  BOOST_TEST(opened->head.content_type == "application/octet-stream");
  const auto request = octets(1'000'000, 1);
  const auto reply = octets(700'000, 2);
  pair.dialer.mux.write(here, io::Chain::copy_of(request));
  pair.dialer.mux.finish(here);
  pair.acceptor.mux.answer(there, {});
  pair.acceptor.mux.write(there, io::Chain::copy_of(reply));
  pair.acceptor.mux.finish(there);
  pair.pump();
  BOOST_TEST((pair.acceptor.received(there) == request));
  BOOST_TEST((pair.dialer.received(here) == reply));
  BOOST_TEST(pair.dialer.find(Kind::stream_answered, here)->head.correlation_id == "c1");
  for (auto* side : {&pair.dialer, &pair.acceptor}) {
    BOOST_TEST(side->count(Kind::stream_ended) == 1u);
    BOOST_TEST(side->count(Kind::stream_released) == 1u);
    BOOST_TEST(side->count(Kind::stream_reset) == 0u);
  }
  uint64_t drained = 0;
  for (const auto& seen : pair.dialer.seen_events) {
    if (seen.kind == Kind::stream_drained) drained += seen.count;
  }
  BOOST_TEST(drained == request.size());
  check_nothing_left(pair);
}

BOOST_AUTO_TEST_CASE(head_keeps_properties_and_fields_in_order) {
  MuxPair pair;
  pair.pump();
  StreamHead head{.to = "web", .content_type = "application/x"};
  head.application_properties = {{"method", "GET"}, {"path", "/a"}};
  head.fields = {{"b", "2"}, {"a", "1"}, {"a", std::string("\0x", 2)}, {"", ""}};
  static_cast<void>(*pair.dialer.mux.open_stream(head));
  pair.pump();
  const Seen* opened = pair.acceptor.find(Kind::stream_opened);
  BOOST_REQUIRE(opened);
  BOOST_TEST((opened->head.fields == head.fields));
  BOOST_TEST((opened->head.application_properties == head.application_properties));
  BOOST_TEST(opened->head.content_type == "application/x");
}

BOOST_AUTO_TEST_CASE(head_longer_than_a_frame_is_split) {
  auto small = acceptor_options();
  small.frame_bytes_max = 512;
  MuxPair pair(dialer_options(), small);
  pair.pump();
  StreamHead head{.to = "web"};
  head.fields = {{"long", octets(100'000)}};
  const auto id = *pair.dialer.mux.open_stream(head);
  pair.dialer.mux.write(id, io::Chain::copy_of("body"));
  pair.dialer.mux.finish(id);
  pair.pump();
  const Seen* opened = pair.acceptor.find(Kind::stream_opened);
  BOOST_REQUIRE(opened);
  BOOST_TEST((opened->head.fields == head.fields));
  BOOST_TEST(pair.acceptor.received(opened->stream) == "body");
  BOOST_TEST(pair.acceptor.count(Kind::stream_ended) == 1u);
}

BOOST_AUTO_TEST_CASE(server_may_speak_first) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();  // nothing was written
  pair.acceptor.mux.answer(there, {});
  pair.pump();
  BOOST_TEST((pair.dialer.find(Kind::stream_answered, here) != nullptr));
  pair.acceptor.mux.write(there, io::Chain::copy_of("220 ready"));
  pair.pump();
  BOOST_TEST(pair.dialer.received(here) == "220 ready");
}

BOOST_AUTO_TEST_CASE(half_close_keeps_the_other_direction_in_either_order) {
  for (const bool opener_first : {true, false}) {
    MuxPair pair;
    pair.pump();
    const auto ids = pair.open();
    MuxSide& first = opener_first ? pair.dialer : pair.acceptor;
    MuxSide& second = opener_first ? pair.acceptor : pair.dialer;
    const StreamId first_id = opener_first ? ids.first : ids.second;
    const StreamId second_id = opener_first ? ids.second : ids.first;
    first.mux.write(first_id, io::Chain::copy_of("last words"));
    first.mux.finish(first_id);
    pair.pump();
    BOOST_TEST((second.find(Kind::stream_ended, second_id) != nullptr));
    BOOST_TEST((first.find(Kind::stream_released) == nullptr));
    second.mux.write(second_id, io::Chain::copy_of("and mine"));
    pair.pump();
    BOOST_TEST(first.received(first_id) == "and mine");
    second.mux.finish(second_id);
    pair.pump();
    BOOST_TEST(second.received(second_id) == "last words");
    BOOST_TEST((first.find(Kind::stream_released) && second.find(Kind::stream_released)));
    check_nothing_left(pair);
  }
}

BOOST_AUTO_TEST_CASE(reset_arrives_with_its_reason_at_any_moment) {
  // 0: before any data; 1: request under way; 2: both under way; 3: request ended
  for (int moment = 0; moment < 4; ++moment) {
    for (const bool by_opener : {true, false}) {
      MuxPair pair;
      pair.pump();
      const auto [here, there] = pair.open();
      if (moment >= 1) pair.dialer.mux.write(here, io::Chain::copy_of("request"));
      if (moment >= 2) pair.acceptor.mux.write(there, io::Chain::copy_of("reply"));
      if (moment >= 3) pair.dialer.mux.finish(here);
      pair.pump();
      MuxSide& one = by_opener ? pair.dialer : pair.acceptor;
      MuxSide& other = by_opener ? pair.acceptor : pair.dialer;
      one.mux.reset(by_opener ? here : there, "backend reset");
      pair.pump();
      const Seen* reset = other.find(Kind::stream_reset, by_opener ? there : here);
      BOOST_REQUIRE(reset);
      BOOST_TEST(reset->text == "backend reset");
      BOOST_TEST(one.count(Kind::stream_reset) == 0u);
      BOOST_TEST(one.count(Kind::stream_released) == 1u);
      BOOST_TEST(other.count(Kind::stream_released) == 1u);
      check_nothing_left(pair);
      // The connection and its handles are good for another stream.
      const auto again = pair.open();
      pair.dialer.mux.write(again.first, io::Chain::copy_of("again"));
      pair.pump();
      BOOST_TEST(pair.acceptor.received(again.second) == "again");
    }
  }
}

BOOST_AUTO_TEST_CASE(reset_before_the_attach_is_answered_ends_both) {
  MuxPair pair;
  pair.pump();
  const auto id = *pair.dialer.mux.open_stream(head_to("echo"));
  pair.dialer.mux.reset(id, "client left");
  pair.pump();
  BOOST_TEST(pair.dialer.count(Kind::stream_released) == 1u);
  BOOST_TEST(pair.acceptor.count(Kind::stream_released) == 1u);
  BOOST_TEST(pair.acceptor.find(Kind::stream_reset)->text == "client left");
  check_nothing_left(pair);
}

BOOST_AUTO_TEST_CASE(both_sides_reset_at_once) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  pair.acceptor.mux.write(there, io::Chain::copy_of("reply"));
  pair.pump();
  pair.dialer.mux.reset(here, "a");
  pair.acceptor.mux.reset(there, "b");
  pair.pump();
  BOOST_TEST(pair.dialer.count(Kind::stream_reset) == 0u);
  BOOST_TEST(pair.acceptor.count(Kind::stream_reset) == 0u);
  BOOST_TEST((pair.dialer.find(Kind::closed) == nullptr));
  check_nothing_left(pair);
}

BOOST_AUTO_TEST_CASE(refused_stream_is_reset_with_condition_and_text) {
  MuxPair pair;
  pair.pump();
  const auto id = *pair.dialer.mux.open_stream(head_to("nowhere"));
  pair.pump();
  const Seen* reset = pair.dialer.find(Kind::stream_reset, id);
  BOOST_REQUIRE(reset);
  BOOST_TEST(reset->text == "amqp:not-found: no such key");
  BOOST_TEST((pair.dialer.find(Kind::stream_released, id) != nullptr));
  check_nothing_left(pair);
}

BOOST_AUTO_TEST_CASE(both_sides_open_streams) {
  MuxPair pair;
  pair.pump();
  const auto mine = *pair.dialer.mux.open_stream(head_to("a"));
  const auto theirs = *pair.acceptor.mux.open_stream(head_to("b"));
  pair.dialer.mux.write(mine, io::Chain::copy_of("to a"));
  pair.acceptor.mux.write(theirs, io::Chain::copy_of("to b"));
  pair.pump();
  BOOST_TEST(pair.acceptor.received(pair.acceptor.find(Kind::stream_opened)->stream) == "to a");
  BOOST_TEST(pair.dialer.received(pair.dialer.find(Kind::stream_opened)->stream) == "to b");
}

BOOST_AUTO_TEST_CASE(sender_stops_at_the_byte_limit_until_the_reader_grants) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  pair.acceptor.grants_at_once = false;
  const auto request = octets(1'000'000);
  pair.dialer.mux.write(here, io::Chain::copy_of(request));
  pair.pump();
  const uint64_t window = acceptor_options().window_bytes;
  BOOST_TEST(pair.acceptor.received(there).size() == window);
  BOOST_TEST(pair.dialer.mux.queued_bytes(here) == request.size() - window);
  BOOST_TEST(!pair.dialer.mux.has_data_ready());
  pair.acceptor.mux.grant(there, 1000);  // too little to say
  pair.pump();
  BOOST_TEST(pair.acceptor.received(there).size() == window);
  pair.acceptor.mux.grant(there, 15384);  // with that: a quantum, the sender starves
  pair.pump();
  BOOST_TEST(pair.acceptor.received(there).size() == window + 16384);
  // A stream that does not move holds back nobody else.
  const auto other = pair.open();
  pair.dialer.mux.write(other.first, io::Chain::copy_of("small"));
  pair.pump();
  BOOST_TEST(pair.acceptor.received(other.second) == "small");
}

BOOST_AUTO_TEST_CASE(sender_past_the_byte_limit_is_detached) {
  auto generous = acceptor_options();
  MuxPair pair(dialer_options(), generous);
  pair.pump();
  const auto [here, there] = pair.open();
  pair.acceptor.grants_at_once = false;
  // A dialer that was told of a higher limit than the acceptor ever granted.
  std::vector<uint8_t> frame;
  Flow flow{.incoming_window = 8192, .handle = 0, .byte_limit = 10'000'000};
  flow.next_incoming_id = 1;
  flow.delivery_count = 1;
  encode_frame(flow, frame);
  pair.dialer.feed(text_of(frame), pair.now);
  pair.dialer.mux.write(here, io::Chain::copy_of(octets(400'000)));
  pair.pump();
  const Seen* reset = pair.acceptor.find(Kind::stream_reset, there);
  BOOST_REQUIRE(reset);
  BOOST_TEST(pair.dialer.find(Kind::stream_reset, here)->text ==
             "istmo:limit-exceeded: more octets than were granted");
  BOOST_TEST((pair.acceptor.find(Kind::closed) == nullptr));
  BOOST_TEST(pair.acceptor.received(there).size() <= generous.window_bytes);
  check_nothing_left(pair);
}

BOOST_AUTO_TEST_CASE(data_frames_hold_one_section_and_at_most_16_kib) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  pair.dialer.mux.write(here, io::Chain::copy_of(octets(200'000)));
  std::string_view rest;
  const std::string wire = pair.dialer.output(pair.now);
  rest = wire;
  while (!rest.empty()) {
    const auto header = *read_frame_header(bytes_of(rest.substr(0, 8)));
    BOOST_TEST(header.size <= 16384u);
    const auto body = rest.substr(8, header.size - 8);
    const auto head = *read_performative_head(bytes_of(body));
    BOOST_REQUIRE(head.code == Transfer::kCode);
    Reader section(bytes_of(body.substr(head.size)));
    BOOST_TEST(read_described(section)->code == 0x75u);
    BOOST_TEST(section.empty());
    rest.remove_prefix(header.size);
  }
}

BOOST_AUTO_TEST_CASE(payload_is_shared_and_never_copied) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  io::Slice block = io::Slice::copy_of(octets(10'000));
  const uint8_t* storage = block.data();
  pair.dialer.mux.write(here, io::Chain(std::move(block)));
  io::Chain out;
  pair.dialer.mux.take_output(out, UINT64_MAX, pair.now);
  BOOST_REQUIRE(out.slice_count() == 2u);
  BOOST_TEST((out.slice(1).data() == storage));
  const uint8_t* header = out.slice(0).data();
  static_cast<void>(header);
  pair.acceptor.mux.feed(std::move(out), pair.now);
  LinkEvent event;
  BOOST_REQUIRE(pair.acceptor.mux.next_event(event));
  BOOST_TEST((event.bytes.slice(0).data() == storage));
}

BOOST_AUTO_TEST_CASE(small_write_overtakes_bulk_streams) {
  auto options = acceptor_options();
  options.window_bytes = 8 * 1024 * 1024;
  MuxPair pair(dialer_options(), options);
  pair.pump();
  std::vector<StreamId> bulk;
  for (int i = 0; i < 20; ++i) bulk.push_back(pair.open().first);
  const auto [small, small_there] = pair.open();
  for (auto id : bulk) pair.dialer.mux.write(id, io::Chain::copy_of(octets(2'000'000)));
  for (int round = 0; round < 100; ++round) {
    pair.acceptor.feed(pair.dialer.output(pair.now, 16 * 1024), pair.now);
    if (round % 5 != 4) continue;
    const size_t before = pair.acceptor.received(small_there).size();
    pair.dialer.mux.write(small, io::Chain::copy_of("ping"));
    pair.acceptor.feed(pair.dialer.output(pair.now, 1), pair.now);  // one frame
    BOOST_TEST(pair.acceptor.received(small_there).size() == before + 4);
  }
}

BOOST_AUTO_TEST_CASE(bulk_streams_share_alike_and_are_not_starved_by_sparse_ones) {
  auto options = acceptor_options();
  options.window_bytes = 16 * 1024 * 1024;
  MuxPair pair(dialer_options(), options);
  pair.pump();
  std::vector<std::pair<StreamId, StreamId>> bulk;
  for (int i = 0; i < 4; ++i) bulk.push_back(pair.open());
  std::vector<StreamId> sparse;
  for (int i = 0; i < 50; ++i) sparse.push_back(pair.open().first);
  for (auto id : bulk) pair.dialer.mux.write(id.first, io::Chain::copy_of(octets(3'000'000)));
  for (int round = 0; round < 40; ++round) {
    for (auto id : sparse) pair.dialer.mux.write(id, io::Chain::copy_of(octets(8'000)));
    pair.acceptor.feed(pair.dialer.output(pair.now, 256 * 1024), pair.now);
  }
  std::vector<size_t> sizes;
  for (auto id : bulk) sizes.push_back(pair.acceptor.received(id.second).size());
  const auto [least, most] = std::ranges::minmax(sizes);
  BOOST_TEST(least > 190'000u);  // 10 MB by 54: the others want more than an equal part too
  BOOST_TEST(most - least <= 2 * 16384u);
}

BOOST_AUTO_TEST_CASE(streams_max_refuses_at_both_sides) {
  auto west = dialer_options();
  auto east = acceptor_options();
  west.streams_max = 3;
  east.streams_max = 2;
  MuxPair pair(west, east);
  pair.pump();
  for (int i = 0; i < 3; ++i) BOOST_TEST(pair.dialer.mux.open_stream(head_to("a")).has_value());
  const auto fourth = pair.dialer.mux.open_stream(head_to("a"));
  BOOST_REQUIRE(!fourth);
  BOOST_TEST((fourth.error().error_class() == ErrorClass::limit));
  pair.pump();
  BOOST_TEST(pair.acceptor.count(Kind::stream_opened) == 2u);
  BOOST_TEST(pair.dialer.find(Kind::stream_reset)->text.starts_with("amqp:resource-limit"));
  BOOST_TEST(pair.dialer.mux.streams_open() == 2u);
}

BOOST_AUTO_TEST_CASE(handles_are_used_again) {
  MuxPair pair;
  pair.pump();
  for (int i = 0; i < 300; ++i) {
    const auto [here, there] = pair.open();
    pair.dialer.mux.finish(here);
    pair.acceptor.mux.finish(there);
    pair.pump();
  }
  check_nothing_left(pair);
  std::vector<uint8_t> frame;
  static_cast<void>(*pair.dialer.mux.open_stream(head_to("echo")));
  const std::string wire = pair.dialer.output(pair.now);
  const auto head = *read_performative_head(bytes_of(std::string_view(wire).substr(8)));
  Attach attach;
  BOOST_REQUIRE(decode(head.fields, attach));
  BOOST_TEST(attach.handle < 2u);
}

BOOST_AUTO_TEST_CASE(sequence_numbers_wrap) {
  auto west = dialer_options();
  auto east = acceptor_options();
  west.first_sequence_number = UINT32_MAX - 20;
  east.first_sequence_number = UINT32_MAX - 5;
  MuxPair pair(west, east);
  pair.pump();
  for (int i = 0; i < 30; ++i) {
    const auto [here, there] = pair.open();
    pair.dialer.mux.write(here, io::Chain::copy_of(octets(100'000)));
    pair.dialer.mux.finish(here);
    pair.acceptor.mux.write(there, io::Chain::copy_of(octets(100'000)));
    if (i % 3 == 0) {
      pair.acceptor.mux.reset(there, "over");
    } else {
      pair.acceptor.mux.finish(there);
    }
    pair.pump();
  }
  BOOST_TEST((pair.dialer.find(Kind::closed) == nullptr));
  BOOST_TEST(pair.dialer.count(Kind::stream_reset) == 10u);
  check_nothing_left(pair);
}

BOOST_AUTO_TEST_CASE(silence_ends_the_connection_and_heartbeats_keep_it) {
  MuxPair pair;
  pair.pump();
  for (int i = 0; i < 100; ++i) {
    pair.now = std::min(pair.dialer.mux.next_tick(), pair.acceptor.mux.next_tick());
    pair.dialer.mux.tick(pair.now);
    pair.acceptor.mux.tick(pair.now);
    pair.pump();
  }
  BOOST_TEST((pair.dialer.find(Kind::closed) == nullptr));
  BOOST_TEST((pair.now > Instant{1'000'000'000} + Duration::seconds(60)));
  // Now the acceptor is gone without a word.
  const Instant silent_since = pair.now;
  while (!pair.dialer.find(Kind::closed)) {
    pair.now = pair.dialer.mux.next_tick();
    BOOST_REQUIRE((pair.now <= silent_since + Duration::seconds(6)));
    pair.dialer.mux.tick(pair.now);
    pair.dialer.collect();
    pair.dialer.output(pair.now);
  }
  BOOST_TEST((pair.dialer.find(Kind::closed)->error_class == ErrorClass::timeout));
  BOOST_TEST((pair.dialer.mux.next_tick() == Instant::never()));
}

BOOST_AUTO_TEST_CASE(handshake_that_stalls_times_out) {
  LinkMux mux(acceptor_options(), Instant{0});
  BOOST_TEST((mux.next_tick() == Instant{0} + Duration::seconds(5)));
  mux.feed(io::Chain::copy_of("AMQ"), Instant{4'900'000'000});
  mux.tick(mux.next_tick());
  LinkEvent event;
  BOOST_REQUIRE(mux.next_event(event));
  BOOST_TEST((event.kind == Kind::closed && event.error.error_class() == ErrorClass::timeout));
}

BOOST_AUTO_TEST_CASE(close_tells_the_other_side_why) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  pair.dialer.mux.close("amqp:connection:forced", "site stops");
  BOOST_TEST(pair.dialer.mux.is_closing());
  BOOST_TEST(!pair.dialer.mux.open_stream(head_to("a")));
  pair.pump();
  BOOST_TEST(pair.acceptor.find(Kind::closed)->text == "amqp:connection:forced: site stops");
  BOOST_TEST((pair.dialer.find(Kind::closed)->error_class == ErrorClass::closed));
  pair.acceptor.mux.write(there, io::Chain::copy_of("late"));  // of no use, and harmless
  pair.acceptor.mux.finish(there);
  BOOST_TEST(pair.acceptor.mux.streams_open() == 0u);
  static_cast<void>(here);
}

// The link may take a while to end, and nothing more of it leaves.
BOOST_AUTO_TEST_CASE(close_drops_what_was_queued) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  pair.acceptor.grants_at_once = false;
  pair.dialer.mux.write(here, io::Chain::copy_of(octets(1'000'000)));
  pair.pump();
  BOOST_TEST(pair.dialer.mux.queued_bytes() == 1'000'000u - pair.acceptor.received(there).size());
  pair.dialer.mux.close("", "");
  BOOST_TEST(pair.dialer.mux.queued_bytes() == 0u);
}

BOOST_AUTO_TEST_CASE(transport_that_ends_is_an_event) {
  MuxPair pair;
  pair.pump();
  pair.dialer.mux.feed_end(pair.now);
  pair.dialer.collect();
  BOOST_TEST((pair.dialer.find(Kind::closed)->error_class == ErrorClass::closed));
  pair.dialer.mux.feed_end(pair.now);
  pair.dialer.collect();
  BOOST_TEST(pair.dialer.count(Kind::closed) == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
