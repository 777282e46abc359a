// Linked sites that mean harm, and programs that leave things lying about: what they make us hold
// is bounded, counted, and ends in time. Frames by hand, against an acceptor.
#include <boost/test/unit_test.hpp>

#include "link_mux_pair.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

constexpr uint32_t kHeldBytesMax = 1024 * 1024;

// A site that says all that Istmo sites say.
struct HostileSite : ForeignProgram {
  explicit HostileSite(LinkMuxOptions options = acceptor_options())
      : ForeignProgram(std::move(options)) {
    open(65536, {kByteCreditCapability});
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
  HostileSite hostile(options);
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

BOOST_AUTO_TEST_SUITE_END()
