// Programs that are no Istmo sites, and hostile ones, against an acceptor; frames by hand.
#include <boost/test/unit_test.hpp>

#include "link_mux_pair.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

// A program with its receiver on handle 1 and its sender to `echo` on handle 0.
struct Client : ForeignProgram {
  Client() {
    open();
    reply_to = attach_receiver(1);
    attach_sender(0, "echo");
    frames();
  }
  void send_message(uint32_t id, const std::string& payload, bool more = false) {
    Transfer transfer{.handle = 0, .more = more};
    transfer.delivery_id = id;
    const uint8_t tag = static_cast<uint8_t>(id);
    transfer.delivery_tag = Bytes(&tag, 1);
    send_transfer(transfer, payload);
  }
  std::string reply_to;
};

std::string description(const std::vector<SentFrame>& dispositions) {
  if (dispositions.size() != 1) return "not one disposition";
  return std::string(dispositions[0].as<Disposition>().state.error.description);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(link_mux_foreign)

BOOST_AUTO_TEST_CASE(plain_client_sends_several_messages_over_one_pair_of_links) {
  Client client;
  for (uint32_t i = 0; i < 3; ++i) {
    client.send_message(i, Client::head_section(client.reply_to) + Client::data_section("hello"));
    const StreamId id = client.site.seen_events.back().stream;
    BOOST_TEST(client.site.received(id) == "hello");
    BOOST_TEST(client.site.find(Kind::stream_opened, id)->head.to == "echo");
    auto sent = client.frames();
    const auto settled = only(sent, Disposition::kCode);
    BOOST_REQUIRE(settled.size() == 1u);
    BOOST_TEST((settled[0].as<Disposition>().state.kind == DeliveryState::Kind::accepted));
    BOOST_TEST(settled[0].as<Disposition>().settled);

    client.site.mux.write(id, io::Chain::copy_of("hello"));
    client.site.mux.finish(id);
    sent = client.frames();
    const auto transfers = only(sent, Transfer::kCode);
    BOOST_REQUIRE(transfers.size() == 1u);
    MessageReader reader;
    reader.begin();
    reader.feed(io::Chain::copy_of(transfers[0].payload));
    io::Chain data;
    BOOST_REQUIRE((*reader.next(data) == MessageReader::Part::head));
    const auto head = reader.take_head();
    BOOST_TEST(head->head.to == client.reply_to);
    // The type of a correlation-id is kept: 4711 was a ulong.
    BOOST_TEST((head->correlation_encoded == std::string("\x80\0\0\0\0\0\0\x12\x67", 9)));
    BOOST_REQUIRE((*reader.next(data) == MessageReader::Part::data));
    BOOST_TEST(data.to_string() == "hello");
    ++client.transfers_seen;
    // Credit for the next one, and nothing was detached.
    const auto flows = only(sent, Flow::kCode);
    BOOST_REQUIRE(!flows.empty());
    BOOST_TEST(flows.back().as<Flow>().link_credit == 1u);
    BOOST_TEST(only(sent, Detach::kCode).empty());
    BOOST_TEST(client.site.count(Kind::stream_released) == i + 1);
  }
  BOOST_TEST(client.site.count(Kind::stream_requested) == 3u);
  client.send(Detach{.handle = 0, .closed = true});
  client.send(Detach{.handle = 1, .closed = true});
  BOOST_TEST(only(client.frames(), Detach::kCode).size() == 2u);
  BOOST_TEST(client.site.mux.streams_open() == 0u);
  BOOST_TEST((client.site.find(Kind::closed) == nullptr));
}

BOOST_AUTO_TEST_CASE(sections_split_over_transfers_are_put_together) {
  Client client;
  const std::string message = Client::head_section(client.reply_to) + Client::data_section("abc") +
                              Client::data_section(std::string(300, 'x'));
  client.send_message(0, message.substr(0, 5), true);
  for (size_t at = 5; at < message.size(); at += 7) {
    client.frames();
    client.send_transfer({.handle = 0, .more = at + 7 < message.size()}, message.substr(at, 7));
  }
  const Seen* opened = client.site.find(Kind::stream_opened);
  BOOST_REQUIRE(opened);
  BOOST_TEST(client.site.received(opened->stream) == "abc" + std::string(300, 'x'));
  BOOST_TEST(client.site.count(Kind::stream_ended) == 1u);
}

BOOST_AUTO_TEST_CASE(bad_deliveries_are_rejected_and_the_links_stay) {
  struct Bad {
    std::string payload;
    const char* text;
  };
  Client client;
  const std::string head = Client::head_section(client.reply_to);
  const Bad bads[] = {
      {head + std::string("\0\x53\x77\x40", 4), "body is no data section"},
      {head + "x", "AMQP section does not begin with a descriptor"},
      {Client::head_section("istmo.reply.9.9") + Client::data_section("x"),
       "reply-to names no link of this connection"},
      {Client::head_section("") + Client::data_section("x"),
       "reply-to names no link of this connection"},
      {std::string("\0\x53\x75\xa0\x09", 5), "reply-to names no link of this connection"},
  };
  uint32_t id = 0;
  for (const auto& bad : bads) {
    client.send_message(id++, bad.payload);
    const auto sent = client.frames();
    BOOST_TEST(description(only(sent, Disposition::kCode)) == bad.text);
    BOOST_TEST(only(sent, Detach::kCode).empty());
    BOOST_TEST(only(sent, Flow::kCode).back().as<Flow>().link_credit == 1u);
  }
  client.send_message(id, head + Client::data_section("good"));
  BOOST_TEST(client.site.received(client.site.seen_events.back().stream) == "good");
  BOOST_TEST(client.site.mux.streams_open() == 1u);
}

BOOST_AUTO_TEST_CASE(refused_key_is_answered_and_detached) {
  ForeignProgram client;
  client.open();
  client.attach_sender(0, "nowhere");
  const auto sent = client.frames();
  BOOST_REQUIRE(sent.size() == 2u);
  BOOST_TEST((sent[0].as<Attach>().target.kind == Terminus::Kind::null));
  BOOST_TEST(sent[0].as<Attach>().name == "out");
  BOOST_TEST(sent[1].as<Detach>().error.condition == "amqp:not-found");
  BOOST_TEST(client.site.mux.streams_open() == 0u);
}

BOOST_AUTO_TEST_CASE(links_to_nothing_sensible_are_refused) {
  const auto answer_to = [](LinkEndRole role, Terminus source, Terminus target) {
    ForeignProgram client;
    client.open();
    Attach attach{.name = "l", .role = role, .source = source, .target = target};
    if (role == LinkEndRole::sender) attach.initial_delivery_count = 0;
    client.send(attach);
    const auto sent = client.frames();
    if (sent.size() != 2 || sent[0].code != Attach::kCode) return std::string("not refused");
    client.send(Detach{.handle = 0, .closed = true});
    if (!client.frames().empty()) return std::string("answered twice");
    return std::string(sent[1].as<Detach>().error.condition);
  };
  const Terminus node{.kind = Terminus::Kind::node};
  const Terminus key{.kind = Terminus::Kind::node, .address = "queue"};
  const Terminus none;
  const std::string long_name(513, 'k');
  const Terminus too_long{.kind = Terminus::Kind::node, .address = long_name};
  const Terminus transactions{.kind = Terminus::Kind::coordinator};
  BOOST_TEST(answer_to(LinkEndRole::sender, node, none) == "amqp:invalid-field");
  BOOST_TEST(answer_to(LinkEndRole::sender, node, too_long) == "amqp:invalid-field");
  BOOST_TEST(answer_to(LinkEndRole::sender, node, transactions) == "amqp:not-implemented");
  BOOST_TEST(answer_to(LinkEndRole::receiver, key, node) == "amqp:not-implemented");
  BOOST_TEST(answer_to(LinkEndRole::receiver, none, node) == "amqp:not-implemented");
}

BOOST_AUTO_TEST_CASE(window_follows_draining_and_a_sender_never_waits_for_received) {
  Client client;
  client.site.grants_at_once = false;
  const std::string data = Client::data_section(std::string(100, 'd'));
  client.send_message(0, Client::head_section(client.reply_to) + data, true);
  uint32_t window = UINT32_MAX;
  for (int i = 0; i < 40 && window > 0; ++i) {
    client.send_transfer({.handle = 0, .more = true}, data);
    for (const auto& frame : only(client.frames(), Flow::kCode)) {
      window = frame.as<Flow>().incoming_window;
    }
    if (i >= 30) break;
  }
  // 32 frames were sent and nothing was drained: no window is left.
  const StreamId id = client.site.find(Kind::stream_opened)->stream;
  client.site.mux.grant(id, 3200);
  const auto flows = only(client.frames(), Flow::kCode);
  BOOST_REQUIRE(flows.size() == 1u);
  BOOST_TEST(flows[0].as<Flow>().incoming_window == 32u);
  BOOST_TEST((client.site.find(Kind::closed) == nullptr));
}

BOOST_AUTO_TEST_CASE(transfer_past_the_window_closes_the_connection) {
  Client client;
  client.site.grants_at_once = false;
  const std::string data = Client::data_section("d");
  client.send_message(0, Client::head_section(client.reply_to) + data, true);
  for (int i = 0; i < 40; ++i) client.send_transfer({.handle = 0, .more = true}, data);
  BOOST_REQUIRE(client.site.find(Kind::closed));
  BOOST_TEST(client.site.find(Kind::closed)->text == "transfer past the session window");
  BOOST_TEST(client.site.count(Kind::stream_data) <= 32u);
}

BOOST_AUTO_TEST_CASE(answer_obeys_session_window_and_frame_size) {
  ForeignProgram client;
  client.open(600);
  const auto reply_to = client.attach_receiver(1, 0);
  client.attach_sender(0, "echo");
  client.frames();
  Transfer transfer{.handle = 0};
  transfer.delivery_id = 0;
  client.send_transfer(transfer, ForeignProgram::head_section(reply_to));
  const StreamId id = client.site.find(Kind::stream_opened)->stream;
  client.site.mux.write(id, io::Chain::copy_of(std::string(10'000, 'r')));
  BOOST_TEST(only(client.frames(), Transfer::kCode).empty());  // no link credit yet
  Flow flow{.incoming_window = 3, .handle = 1, .link_credit = 1};
  flow.next_incoming_id = 0;
  flow.delivery_count = 0;
  client.send(flow);
  auto sent = only(client.frames(), Transfer::kCode);
  BOOST_TEST(sent.size() == 3u);
  for (const auto& frame : sent) BOOST_TEST(frame.size <= 600u);
  flow.next_incoming_id = 2;  // one is still under way
  client.send(flow);
  BOOST_TEST(only(client.frames(), Transfer::kCode).size() == 2u);
}

BOOST_AUTO_TEST_CASE(drain_and_echo_are_answered) {
  Client client;
  Flow flow{.incoming_window = 100, .handle = 1, .link_credit = 10, .drain = true};
  flow.next_incoming_id = 0;
  flow.delivery_count = 0;
  client.send(flow);
  auto flows = only(client.frames(), Flow::kCode);
  BOOST_REQUIRE(flows.size() == 1u);
  BOOST_TEST(*flows[0].as<Flow>().delivery_count == 10u);
  BOOST_TEST(flows[0].as<Flow>().link_credit == 0u);
  BOOST_TEST(flows[0].as<Flow>().drain);
  client.send(Flow{.next_incoming_id = 0, .incoming_window = 5, .echo = true});
  flows = only(client.frames(), Flow::kCode);
  BOOST_REQUIRE(flows.size() == 1u);
  BOOST_TEST(!flows[0].as<Flow>().handle.has_value());
}

BOOST_AUTO_TEST_CASE(aborted_and_rejected_are_resets) {
  Client client;
  client.send_message(0, Client::head_section(client.reply_to) + Client::data_section("x"), true);
  client.frames();
  client.send_transfer({.handle = 0, .aborted = true}, "");
  BOOST_TEST(client.site.find(Kind::stream_reset)->text == "delivery was aborted");
  client.frames();

  Client second;
  second.send_message(0, Client::head_section(second.reply_to) + Client::data_section("x"), true);
  const StreamId id = second.site.find(Kind::stream_opened)->stream;
  second.site.mux.write(id, io::Chain::copy_of("y"));
  const auto transfers = only(second.frames(), Transfer::kCode);
  BOOST_REQUIRE(transfers.size() == 1u);
  Disposition rejected{.first = *transfers[0].as<Transfer>().delivery_id, .settled = true};
  rejected.state = {.kind = DeliveryState::Kind::rejected, .error = {"a:b", "not this"}};
  second.send(rejected);
  BOOST_TEST(second.site.find(Kind::stream_reset, id)->text == "a:b: not this");
  BOOST_TEST(second.site.count(Kind::stream_released) == 1u);
}

BOOST_AUTO_TEST_CASE(wrong_mechanism_gets_outcome_auth) {
  ForeignProgram client;
  client.site.feed(kSaslProtocolHeader, client.now);
  client.send(SaslInit{.mechanism = "PLAIN"});
  const auto sent = client.frames();
  BOOST_REQUIRE(sent.size() == 2u);
  BOOST_TEST(sent[0].as<SaslMechanisms>().mechanisms[0] == "EXTERNAL");
  BOOST_TEST(sent[1].as<SaslOutcome>().code == SaslOutcome::auth);
  BOOST_TEST((client.site.find(Kind::closed) != nullptr));
}

BOOST_AUTO_TEST_CASE(wrong_protocol_header_is_answered_with_the_right_one) {
  ForeignProgram client;
  client.site.feed("GET / HTTP/1.1\r\n", client.now);
  BOOST_TEST(client.site.output(client.now) == kSaslProtocolHeader);
  BOOST_TEST((client.site.find(Kind::closed)->error_class == ErrorClass::protocol));
}

BOOST_AUTO_TEST_CASE(broken_rules_close_the_connection_with_an_error) {
  using Action = void (*)(Client&);
  const std::pair<const char*, Action> actions[] = {
      {"second open or begin", [](Client& c) { c.send(Begin{}); }},
      {"link handle is in use", [](Client& c) { c.attach_sender(0, "echo"); }},
      {"link handle above handle-max", [](Client& c) { c.attach_sender(4'000'000, "echo"); }},
      {"flow on a handle that is not attached", [](Client& c) { c.send_credit(9, 0, 1); }},
      {"detach of a handle that is not attached", [](Client& c) { c.send(Detach{.handle = 9}); }},
      {"transfer on a handle that is not attached",
       [](Client& c) { c.send_transfer({.handle = 7}, ""); }},
      {"transfer against the direction", [](Client& c) { c.send_transfer({.handle = 1}, ""); }},
      {"first transfer without a delivery-id",
       [](Client& c) { c.send_transfer({.handle = 0}, ""); }},
      {"delivery-id out of sequence",
       [](Client& c) {
         c.send_message(5, Client::head_section(c.reply_to) + "x");
         c.send_message(7, "");
       }},
      {"delivery without credit",
       [](Client& c) {
         c.send_message(0, Client::head_section(c.reply_to));
         c.send_message(1, Client::head_section(c.reply_to));
       }},
      {"flow counts transfers that were not sent",
       [](Client& c) { c.send(Flow{.next_incoming_id = 50}); }},
      {"frame too long",
       [](Client& c) { c.site.feed(std::string_view("\x7f\0\0\0\2\0\0\0", 8), c.now); }},
      {"frame on a channel that is not open",
       [](Client& c) {
         c.site.feed(std::string_view("\0\0\0\x0c\2\0\0\1\0\x53\x17\x45", 12), c.now);
       }},
      {"unknown performative",
       [](Client& c) {
         c.site.feed(std::string_view("\0\0\0\x0c\2\0\0\0\0\x53\x19\x45", 12), c.now);
       }},
      {"frame of another type",
       [](Client& c) {
         c.site.feed(std::string_view("\0\0\0\x0c\2\1\0\0\0\x53\x17\x45", 12), c.now);
       }},
  };
  for (const auto& [text, act] : actions) {
    BOOST_TEST_CONTEXT(text) {
      Client client;
      act(client);
      BOOST_REQUIRE(client.site.find(Kind::closed));
      BOOST_TEST(client.site.find(Kind::closed)->text == text);
      const auto closes = only(client.frames(), Close::kCode);
      BOOST_REQUIRE(closes.size() == 1u);
      BOOST_TEST(closes[0].as<Close>().error.description == text);
      client.send(Detach{.handle = 0});  // nothing is read any more
      BOOST_TEST(client.frames().empty());
      BOOST_TEST(client.site.count(Kind::closed) == 1u);
    }
  }
}

BOOST_AUTO_TEST_CASE(flood_of_questions_does_not_grow_the_answers_without_bound) {
  auto options = acceptor_options();
  options.queued_bytes_max = 10'000;
  ForeignProgram client(options);
  client.open();
  for (int i = 0; i < 2000 && !client.site.find(Kind::closed); ++i) {
    client.send(Flow{.next_incoming_id = 0, .incoming_window = 5, .echo = true});
  }
  BOOST_REQUIRE(client.site.find(Kind::closed));
  BOOST_TEST((client.site.find(Kind::closed)->error_class == ErrorClass::limit));
  BOOST_TEST(client.site.output(client.now).size() < 11'000u);
}

BOOST_AUTO_TEST_CASE(links_are_counted) {
  auto options = acceptor_options();
  options.streams_max = 4;
  ForeignProgram client(options);
  client.open();
  uint32_t refused = 0;
  for (uint32_t i = 0; i < 12; ++i) {
    const std::string name = std::to_string(i);  // Attach only refers to it
    Attach attach{.name = name, .handle = i, .role = LinkEndRole::receiver};
    attach.source = {.kind = Terminus::Kind::node, .is_dynamic = true};
    client.send(attach);
    refused += static_cast<uint32_t>(only(client.frames(), Detach::kCode).size());
  }
  BOOST_TEST(refused == 4u);
  BOOST_TEST((client.site.find(Kind::closed) == nullptr));
}

BOOST_AUTO_TEST_CASE(detach_of_either_link_ends_the_stream) {
  for (uint32_t handle : {0u, 1u}) {
    Client client;
    client.send_message(0, Client::head_section(client.reply_to) + Client::data_section("x"), true);
    client.send(Detach{.handle = handle, .closed = true});
    BOOST_TEST(client.site.find(Kind::stream_reset)->text == "link was detached");
    BOOST_TEST(client.site.count(Kind::stream_released) == 1u);
    BOOST_TEST(client.site.mux.streams_open() == 0u);
    BOOST_TEST((client.site.find(Kind::closed) == nullptr));
  }
}

BOOST_AUTO_TEST_CASE(end_of_the_session_ends_the_connection) {
  Client client;
  client.send(End{});
  const auto sent = client.frames();
  BOOST_TEST(only(sent, End::kCode).size() == 1u);
  BOOST_TEST(only(sent, Close::kCode).size() == 1u);
  BOOST_TEST((client.site.find(Kind::closed)->error_class == ErrorClass::closed));
}

BOOST_AUTO_TEST_SUITE_END()
