// Every performative and SASL frame there and back; sections of messages at every split.
#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

#include "dataplane/codec/amqp_frame.h"
#include "dataplane/codec/amqp_message.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

// Encodes, decodes, encodes again: nothing may be lost. Also: each cut of the body is an error.
template <class T>
T there_and_back(const T& performative) {
  static std::vector<std::vector<uint8_t>> kept;  // what the result borrows from
  auto& first = kept.emplace_back();
  encode_frame(performative, first);
  const auto header = read_frame_header(first);
  BOOST_REQUIRE(header.has_value());
  BOOST_TEST(header->size == first.size());
  const Bytes body = Bytes(first).subspan(header->body_offset());
  const auto head = read_performative_head(body);
  BOOST_REQUIRE(head.has_value());
  BOOST_TEST(head->code == T::kCode);
  BOOST_TEST(head->size == body.size());
  BOOST_TEST(performative_bytes(body.first(std::min<size_t>(16, body.size()))) == body.size());
  T decoded;
  BOOST_REQUIRE(decode(head->fields, decoded).has_value());
  std::vector<uint8_t> second;
  encode_frame(decoded, second);
  BOOST_TEST(first == second);
  for (size_t size = 0; size < body.size(); ++size) {
    BOOST_TEST(!read_performative_head(body.first(size)).has_value());
  }
  return decoded;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(amqp_frame)

BOOST_AUTO_TEST_CASE(open_and_begin) {
  Open open{.container_id = "c", .hostname = "h", .max_frame_size = 1000, .channel_max = 3};
  open.idle_timeout_ms = 2500;
  open.offered_capabilities = {"a", "b"};
  open.desired_capabilities = {kByteCreditCapability};
  open.properties = {{"product", std::string_view("istmo")}, {"istmo:workers", uint64_t{300}}};
  const Open read = there_and_back(open);
  BOOST_TEST(read.container_id == "c");
  BOOST_TEST(read.max_frame_size == 1000u);
  BOOST_TEST(read.offered_capabilities.size() == 2u);
  BOOST_TEST(std::get<uint64_t>(read.properties[1].value) == 300u);
  BOOST_TEST(there_and_back(Open{}).max_frame_size == UINT32_MAX);

  const Begin begin = there_and_back(Begin{.remote_channel = 0,
                                           .next_outgoing_id = UINT32_MAX,
                                           .incoming_window = 7,
                                           .outgoing_window = 8,
                                           .handle_max = 9});
  BOOST_TEST(*begin.remote_channel == 0u);
  BOOST_TEST(begin.handle_max == 9u);
  BOOST_TEST(!there_and_back(Begin{}).remote_channel.has_value());
}

BOOST_AUTO_TEST_CASE(attach_with_every_terminus) {
  Attach attach{.name = "n", .handle = 70'000, .role = LinkEndRole::receiver};
  attach.source = {.kind = Terminus::Kind::node, .is_dynamic = true, .address = "a"};
  attach.target = {.kind = Terminus::Kind::coordinator};
  attach.initial_delivery_count = UINT32_MAX;
  attach.byte_limit = 1ull << 40;
  const Attach read = there_and_back(attach);
  BOOST_TEST((read.role == LinkEndRole::receiver));
  BOOST_TEST(read.source.is_dynamic);
  BOOST_TEST(*read.source.address == "a");
  BOOST_TEST((read.target.kind == Terminus::Kind::coordinator));
  BOOST_TEST(*read.byte_limit == 1ull << 40);
  BOOST_TEST((there_and_back(Attach{}).source.kind == Terminus::Kind::null));
}

BOOST_AUTO_TEST_CASE(flow_transfer_disposition_detach) {
  Flow flow{.incoming_window = 1, .next_outgoing_id = 2, .outgoing_window = 3};
  flow.next_incoming_id = 4;
  flow.handle = 5;
  flow.delivery_count = 6;
  flow.link_credit = 7;
  flow.drain = flow.echo = true;
  flow.byte_limit = 8;
  const Flow read = there_and_back(flow);
  BOOST_TEST(*read.handle == 5u);
  BOOST_TEST((read.drain && read.echo));
  BOOST_TEST(*read.byte_limit == 8u);

  const std::vector<uint8_t> tag{1, 2};
  Transfer transfer{.handle = 1, .more = true, .aborted = true};
  transfer.delivery_id = 9;
  transfer.delivery_tag = Bytes(tag);
  transfer.message_format = 0;
  transfer.settled = false;
  transfer.state = {.kind = DeliveryState::Kind::rejected, .error = {kResetCondition, "why"}};
  const Transfer back = there_and_back(transfer);
  BOOST_TEST(back.state.error.description == "why");
  BOOST_TEST((back.more && back.aborted && !*back.settled));

  using enum DeliveryState::Kind;
  for (auto kind : {none, received, accepted, rejected, released, modified}) {
    const auto disposition = there_and_back(
        Disposition{.first = 3, .last = 4, .settled = true, .state = {.kind = kind}});
    BOOST_TEST((disposition.state.kind == kind));
  }
  const auto detach = there_and_back(
      Detach{.handle = 2, .closed = true, .error = {"amqp:not-found", "no such key"}});
  BOOST_TEST(detach.error.condition == "amqp:not-found");
  BOOST_TEST(there_and_back(End{}).error.condition.empty());
  BOOST_TEST(there_and_back(Close{.error = {"c", ""}}).error.condition == "c");
}

BOOST_AUTO_TEST_CASE(sasl) {
  BOOST_TEST(there_and_back(SaslMechanisms{.mechanisms = {"PLAIN", "EXTERNAL"}}).mechanisms[1] ==
             "EXTERNAL");
  const auto init = there_and_back(
      SaslInit{.mechanism = "EXTERNAL", .initial_response = Bytes(), .hostname = "h"});
  BOOST_TEST(init.hostname == "h");
  BOOST_TEST(there_and_back(SaslOutcome{.code = SaslOutcome::auth}).code == 1u);
  SaslMechanisms one;
  const std::vector<uint8_t> single{0xc0, 4, 1, 0xa3, 1, 'X'};  // a symbol where an array may be
  Reader in(single);
  BOOST_REQUIRE(decode(*read_value(in), one).has_value());
  BOOST_TEST(one.mechanisms[0] == "X");
}

BOOST_AUTO_TEST_CASE(wrong_field_types_are_errors) {
  const std::vector<uint8_t> text_for_handle{0xc0, 4, 1, 0xa1, 1, 'x'};
  Reader in(text_for_handle);
  const Value list = *read_value(in);
  Transfer transfer;
  Detach detach;
  Flow flow;
  BOOST_TEST(!decode(list, transfer).has_value());
  BOOST_TEST(!decode(list, detach).has_value());
  BOOST_TEST(!decode(list, flow).has_value());
}

BOOST_AUTO_TEST_CASE(frame_headers_are_checked) {
  const auto read = [](std::vector<uint8_t> bytes) { return read_frame_header(bytes).has_value(); };
  BOOST_TEST(read({0, 0, 0, 8, 2, 0, 0, 0}));
  BOOST_TEST(!read({0, 0, 0, 7, 2, 0, 0, 0}));
  BOOST_TEST(!read({0, 0, 0, 8, 1, 0, 0, 0}));
  BOOST_TEST(!read({0, 0, 0, 8, 3, 0, 0, 0}));
  BOOST_TEST(!read({0, 0, 0, 8, 2, 2, 0, 0}));
  BOOST_TEST(!read({0, 0, 0, 8, 2, 0, 0}));
}

BOOST_AUTO_TEST_CASE(message_survives_every_split_into_transfers) {
  StreamHead head{.to = "k", .correlation_id = "7"};
  head.fields = {{"n", std::string(300, 'v')}, {"n", "2"}};
  head.application_properties = {{"method", "GET"}};
  std::vector<uint8_t> message;
  AmqpWriter out(message);
  out.descriptor(0x70);  // header
  out.raw(std::vector<uint8_t>{0x45});
  encode_head(head, {.to = "k", .reply_to = "r"}, out);
  for (uint32_t size : {3u, 0u, 500u}) {
    encode_data_section(size, out);
    out.raw(std::vector<uint8_t>(size, 'd'));
  }
  for (size_t cut = 0; cut <= message.size(); ++cut) {
    MessageReader reader;
    reader.begin();
    std::unique_ptr<MessageHead> read;
    uint64_t octets = 0;
    const auto drain = [&] {
      while (true) {
        io::Chain data;
        const auto part = reader.next(data);
        BOOST_REQUIRE(part.has_value());
        if (*part == MessageReader::Part::nothing) break;
        if (*part == MessageReader::Part::head) read = reader.take_head();
        octets += data.size();
      }
    };
    reader.feed(io::Chain(io::Slice::copy_of(Bytes(message).first(cut))));
    drain();
    reader.feed(io::Chain(io::Slice::copy_of(Bytes(message).subspan(cut))));
    reader.finish();
    drain();
    BOOST_REQUIRE(read);
    BOOST_TEST(read->reply_to == "r");
    BOOST_TEST((read->head.fields == head.fields));
    BOOST_TEST((read->head.application_properties == head.application_properties));
    BOOST_TEST(read->head.correlation_id == "7");
    BOOST_TEST(octets == 503u);
  }
}

// A receive block of 8 KiB for each octet of it would be a pool's end.
BOOST_AUTO_TEST_CASE(section_that_waits_for_its_rest_pins_no_block_of_others) {
  std::vector<uint8_t> message;
  AmqpWriter out(message);
  out.descriptor(0x72);
  const auto map = out.begin_compound();
  out.symbol("x");
  out.binary(std::vector<uint8_t>(2000, 'x'));
  out.end_map(map, 2);
  encode_head({.to = "k"}, {.to = "k"}, out);
  MessageReader reader;
  reader.begin();
  struct Pool final : io::BlockOwner {
    void release(io::Block&) override {}
  };
  Pool pool;
  const auto size = static_cast<uint32_t>(message.size());
  io::Block block{.data = message.data(), .size = size, .references = 1, .owner = &pool};
  const io::Slice all(block, 0, size);
  for (uint32_t i = 0; i < 1900; ++i) {
    reader.feed(io::Chain(all.share(i, 1)));
    io::Chain data;
    BOOST_REQUIRE((*reader.next(data) == MessageReader::Part::nothing));
    BOOST_REQUIRE(block.references == 1u);
    BOOST_REQUIRE(reader.held_bytes() >= i + 1);
    BOOST_REQUIRE(reader.held_bytes() <= i + 1 + 1024 + 66 * 64);
  }
  reader.feed(io::Chain(all.share(1900, size - 1900)));
  io::Chain data;
  BOOST_REQUIRE((*reader.next(data) == MessageReader::Part::head));
  BOOST_TEST(reader.take_head()->head.to == "k");
  BOOST_TEST(reader.held_bytes() == 0u);
}

BOOST_AUTO_TEST_CASE(messages_out_of_order_or_cut_are_errors) {
  const auto error_of = [](std::vector<uint8_t> message) {
    MessageReader reader;
    reader.begin();
    reader.feed(io::Chain(io::Slice::copy_of(message)));
    reader.finish();
    while (true) {
      io::Chain data;
      const auto part = reader.next(data);
      if (!part) return std::string(to_string(part.error().error_class()));
      if (*part == MessageReader::Part::nothing) return std::string();
    }
  };
  BOOST_TEST(error_of({}) == "");
  BOOST_TEST(error_of({0, 0x53, 0x73, 0x45}) == "");
  BOOST_TEST(error_of({0, 0x53, 0x73, 0x45, 0, 0x53, 0x73, 0x45}) == "protocol");  // twice
  BOOST_TEST(error_of({0, 0x53, 0x75, 0xa0, 0, 0, 0x53, 0x73, 0x45}) == "protocol");
  BOOST_TEST(error_of({0, 0x53, 0x75, 0xa0, 2, 1}) == "protocol");  // cut
  BOOST_TEST(error_of({0, 0x53, 0x75}) == "protocol");
  BOOST_TEST(error_of({1}) == "protocol");
  BOOST_TEST(error_of({0, 0x53, 0x7f, 0x45}) == "protocol");
  BOOST_TEST(error_of({0, 0x53, 0x73, 0xd0, 0xff, 0xff, 0xff, 0xff}) == "protocol");
  BOOST_TEST(error_of({0, 0x53, 0x77, 0x40}) == "refused");  // amqp-value
  BOOST_TEST(error_of({0, 0x53, 0x76, 0x45}) == "refused");  // amqp-sequence
  BOOST_TEST(error_of({0, 0x53, 0x74, 0xc1, 6, 2, 0xa1, 1, 'V', 0x52, 2}) == "refused");
}

BOOST_AUTO_TEST_SUITE_END()
