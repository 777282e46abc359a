// Linked sites that mean harm, and programs that leave things lying about: what they make us hold
// is bounded, counted, and ends in time. Frames by hand, against an acceptor.
#include <boost/test/unit_test.hpp>

#include "link_mux_pair.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

constexpr uint32_t kHeldBytesMax = 1024 * 1024;

enum class Says : uint8_t { byte_credit, nothing };

// A site that says what Istmo sites say, or a program that does not.
struct HostileSite : ForeignProgram {
  explicit HostileSite(Says says = Says::byte_credit, LinkMuxOptions options = acceptor_options())
      : ForeignProgram(std::move(options)) {
    if (says == Says::byte_credit) open(65536, {kByteCreditCapability});
    else open();
  }
  // Time passes, with nothing but heartbeats.
  void wait(Duration time) {
    for (const Instant until = now + time; now < until;) {
      now = std::min(until, now + Duration::seconds(1));
      site.feed(std::string_view("\0\0\0\x08\2\0\0\0", 8), now);
      site.mux.tick(now);
      site.collect();
    }
  }
  void send_message(uint32_t handle, const std::string& payload, bool more) {
    Transfer transfer{.handle = handle, .more = more};
    transfer.delivery_id = next_delivery_++;
    send_transfer(transfer, payload);
  }
  // The conditions of the detaches since the last call.
  std::vector<std::string> detaches() {
    std::vector<std::string> conditions;
    for (const auto& frame : only(frames(), Detach::kCode)) {
      conditions.emplace_back(frame.as<Detach>().error.condition);
    }
    return conditions;
  }

 private:
  uint32_t next_delivery_ = 0;
};

// message-annotations that go on for `size` octets, with one `x-` of `size` octets in it.
std::string annotations(uint32_t size) {
  std::vector<uint8_t> bytes;
  AmqpWriter out(bytes);
  out.descriptor(0x72);
  const auto map = out.begin_compound();
  out.symbol("x-");
  out.binary(std::vector<uint8_t>(size, 'x'));
  out.end_map(map, 2);
  return std::string(text_of(bytes));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(link_mux_hostile)

BOOST_AUTO_TEST_CASE(incomplete_heads_are_bounded_together_and_the_link_stays) {
  HostileSite hostile;
  const std::string reply_to = hostile.attach_receiver(0);
  const std::string whole = annotations(100'000);
  uint32_t refused = 0;
  for (uint32_t handle = 1; handle <= 300; ++handle) {
    hostile.attach_sender(handle, "echo");
    hostile.send_message(handle, whole.substr(0, 99'000), true);
    for (const auto& condition : hostile.detaches()) {
      BOOST_TEST(condition == "amqp:resource-limit-exceeded");
      ++refused;
    }
    BOOST_TEST(hostile.site.mux.held_head_bytes() <= kHeldBytesMax);
  }
  BOOST_TEST(refused == 290u);
  BOOST_TEST(hostile.site.mux.refusals().heads_too_large == refused);
  BOOST_TEST((hostile.site.find(Kind::closed) == nullptr));
  // The first ten may still become streams, and give back what they held.
  const uint64_t before = hostile.site.mux.held_head_bytes();
  hostile.send_transfer(
      {.handle = 1, .more = true},
      whole.substr(99'000) + HostileSite::head_section(reply_to) + HostileSite::data_section("x"));
  BOOST_TEST((hostile.site.find(Kind::stream_opened) != nullptr));
  BOOST_TEST(hostile.site.mux.held_head_bytes() < before - 99'000);
  for (uint32_t handle = 1; handle <= 10; ++handle) hostile.send(Detach{.handle = handle});
  BOOST_TEST(hostile.site.mux.held_head_bytes() == 0u);
  BOOST_TEST(hostile.site.mux.streams_open() == 0u);
}

// What is small in frames may be large in memory.
BOOST_AUTO_TEST_CASE(many_small_incomplete_heads_cost_more_than_their_octets) {
  HostileSite hostile;
  for (uint32_t handle = 0; handle < 3000; ++handle) {
    hostile.attach_sender(handle, "echo");
    hostile.send_message(handle, handle % 2 == 0 ? std::string() : std::string(1, '\0'), true);
  }
  BOOST_TEST(hostile.site.mux.held_head_bytes() <= kHeldBytesMax);
  BOOST_TEST(hostile.site.mux.streams_open() <= 1024u);
  BOOST_TEST(hostile.site.mux.refusals().heads_too_large >= 3000u - 1024u);
}

BOOST_AUTO_TEST_CASE(incomplete_footer_is_held_against_the_same_bound) {
  auto options = acceptor_options();
  options.head_bytes_max = 50'000;
  HostileSite hostile(Says::byte_credit, options);
  const std::string reply_to = hostile.attach_receiver(0);
  hostile.attach_sender(1, "echo");
  hostile.send_message(1, HostileSite::head_section(reply_to) + HostileSite::data_section("x"),
                       true);
  BOOST_TEST(hostile.site.mux.held_head_bytes() == 0u);
  std::string footer = annotations(60'000);
  footer[2] = 0x78;
  hostile.send_transfer({.handle = 1, .more = true}, footer.substr(0, 40'000));
  BOOST_TEST(hostile.site.mux.held_head_bytes() >= 40'000u);
  hostile.send_transfer({.handle = 1, .more = true}, footer.substr(40'000, 15'000));
  BOOST_TEST(hostile.site.count(Kind::stream_reset) == 1u);
  BOOST_TEST(hostile.site.mux.held_head_bytes() == 0u);
}

BOOST_AUTO_TEST_CASE(links_of_a_site_that_carry_no_message_are_detached_in_time) {
  HostileSite hostile;
  for (uint32_t handle = 0; handle < 200; ++handle) {
    if (handle % 2 == 0) hostile.attach_sender(handle, "echo");
    else hostile.attach_receiver(handle);
  }
  hostile.frames();
  BOOST_TEST(hostile.site.mux.streams_open() == 100u);
  hostile.wait(Duration::milliseconds(9'900));
  BOOST_TEST(hostile.detaches().empty());
  hostile.wait(Duration::milliseconds(100));
  const auto conditions = hostile.detaches();
  BOOST_TEST(conditions.size() == 200u);
  BOOST_TEST(conditions.front() == "amqp:link:detach-forced");
  BOOST_TEST(hostile.site.mux.refusals().links_too_late == 200u);
  BOOST_TEST(hostile.site.mux.streams_open() == 0u);
  BOOST_TEST((hostile.site.find(Kind::closed) == nullptr));
}

BOOST_AUTO_TEST_CASE(links_that_a_site_keeps_after_its_stream_are_detached_in_time) {
  HostileSite hostile;
  const std::string reply_to = hostile.attach_receiver(0);
  hostile.attach_sender(1, "echo");
  hostile.send_message(1, HostileSite::head_section(reply_to), false);
  hostile.site.mux.finish(hostile.site.find(Kind::stream_opened)->stream);
  hostile.frames();
  BOOST_TEST(hostile.site.mux.streams_open() == 0u);
  hostile.wait(Duration::seconds(9));
  BOOST_TEST(hostile.detaches().empty());
  hostile.wait(Duration::seconds(1));
  BOOST_TEST(hostile.detaches().size() == 2u);
}

BOOST_AUTO_TEST_CASE(head_that_is_not_complete_in_time_is_rejected) {
  for (const auto says : {Says::byte_credit, Says::nothing}) {
    HostileSite hostile(says);
    const std::string reply_to = hostile.attach_receiver(0);
    hostile.attach_sender(1, "echo");
    hostile.wait(Duration::seconds(5));
    hostile.send_message(1, annotations(5000).substr(0, 3000), true);
    hostile.wait(Duration::milliseconds(9'900));
    BOOST_TEST(hostile.site.count(Kind::stream_reset) == 0u);
    hostile.frames();
    hostile.wait(Duration::milliseconds(100));
    BOOST_REQUIRE(hostile.site.find(Kind::stream_reset));
    BOOST_TEST(hostile.site.find(Kind::stream_reset)->text ==
               "the head of a message did not come in time");
    BOOST_TEST(hostile.site.mux.held_head_bytes() == 0u);
    BOOST_TEST(hostile.site.mux.streams_open() == 0u);
    BOOST_TEST(only(hostile.frames(), Disposition::kCode).size() == 1u);
    if (says == Says::byte_credit) continue;
    // A program's link stays, for its next message.
    hostile.send_transfer({.handle = 1, .aborted = true}, "");
    hostile.send_message(1, HostileSite::head_section(reply_to), false);
    BOOST_TEST((hostile.site.find(Kind::stream_opened) != nullptr));
  }
}

BOOST_AUTO_TEST_CASE(stream_that_began_may_be_silent_for_ever) {
  MuxPair pair;
  pair.pump();
  const auto [here, there] = pair.open();
  pair.acceptor.mux.answer(there, {});
  for (int second = 0; second < 100; ++second) {
    pair.now = pair.now + Duration::seconds(1);
    pair.dialer.mux.tick(pair.now);
    pair.acceptor.mux.tick(pair.now);
    pair.pump();
  }
  pair.dialer.mux.write(here, io::Chain::copy_of("at last"));
  pair.pump();
  BOOST_TEST(pair.acceptor.received(there) == "at last");
}

BOOST_AUTO_TEST_CASE(program_may_wait_before_it_sends_but_not_with_many_links) {
  HostileSite program(Says::nothing);
  const std::string reply_to = program.attach_receiver(0);
  for (uint32_t handle = 1; handle < 256; ++handle) program.attach_sender(handle, "echo");
  BOOST_TEST(program.detaches().empty());
  program.attach_sender(256, "echo");
  const auto conditions = program.detaches();
  BOOST_REQUIRE(conditions.size() == 1u);
  BOOST_TEST(conditions[0] == "amqp:resource-limit-exceeded");
  BOOST_TEST(program.site.mux.refusals().links_too_many == 1u);
  program.wait(Duration::seconds(60));
  BOOST_TEST(program.detaches().empty());
  program.send_message(1, HostileSite::head_section(reply_to), false);
  BOOST_TEST((program.site.find(Kind::stream_opened) != nullptr));
  // Two links are in use now: there is room for as many.
  program.send(Detach{.handle = 256});
  for (uint32_t handle = 256; handle < 259; ++handle) program.attach_sender(handle, "echo");
  BOOST_TEST(program.detaches().size() == 1u);
}

BOOST_AUTO_TEST_CASE(attaches_in_one_piece_are_counted_like_others) {
  HostileSite program(Says::nothing);
  std::string attaches;
  for (uint32_t handle = 0; handle < 300; ++handle) {
    Attach attach{.name = "l", .handle = handle, .role = LinkEndRole::sender};
    attach.source.kind = attach.target.kind = Terminus::Kind::node;
    attach.target.address = "echo";
    attach.initial_delivery_count = 0;
    std::vector<uint8_t> frame;
    encode_frame(attach, frame);
    attaches += text_of(frame);
  }
  program.site.feed(attaches, program.now);
  BOOST_TEST(program.detaches().size() == 44u);
}

BOOST_AUTO_TEST_CASE(links_that_a_program_keeps_after_many_streams_are_counted_too) {
  auto options = acceptor_options();
  options.idle_links_max = 4;
  HostileSite program(Says::nothing, options);
  for (uint32_t handle = 0; handle < 12; handle += 2) {  // six streams at once
    const std::string reply_to = program.attach_receiver(handle);
    program.attach_sender(handle + 1, "echo");
    program.send_message(handle + 1, HostileSite::head_section(reply_to), false);
  }
  program.frames();
  BOOST_TEST(program.site.mux.streams_open() == 6u);
  for (const auto& seen : program.site.seen_events) {
    if (seen.kind == Kind::stream_opened) program.site.mux.finish(seen.stream);
  }
  BOOST_TEST(program.detaches().size() == 8u);
  BOOST_TEST(program.site.mux.streams_open() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
