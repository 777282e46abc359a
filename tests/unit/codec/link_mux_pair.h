// Two LinkMux joined by pipes that a test controls, and a foreign program made of hand-written
// frames.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "dataplane/codec/amqp_frame.h"
#include "dataplane/codec/link_mux.h"

namespace istmo::codec {

using Kind = LinkEvent::Kind;

inline std::string octets(size_t count, uint64_t seed = 1) {
  Rng rng(seed);
  std::string text(count, '\0');
  for (auto& c : text) c = static_cast<char>(rng.next());
  return text;
}

// One event, copied.
struct Seen {
  Kind kind;
  StreamId stream;
  StreamHead head;
  std::string bytes;
  uint64_t count = 0;
  std::string text;
  ErrorClass error_class = ErrorClass::internal;
  friend bool operator==(const Seen& a, const Seen& b) {
    return a.kind == b.kind && a.stream == b.stream && a.head.to == b.head.to &&
           a.head.correlation_id == b.head.correlation_id &&
           a.head.application_properties == b.head.application_properties &&
           a.head.fields == b.head.fields && a.bytes == b.bytes && a.count == b.count &&
           a.text == b.text && a.error_class == b.error_class;
  }
};

// A LinkMux and what it said. Streams that are asked for are admitted, except to `nowhere`.
class MuxSide {
 public:
  MuxSide(LinkMuxOptions options, Instant now) : mux(std::move(options), now) {}

  void collect() {
    LinkEvent event;
    while (mux.next_event(event)) {
      Seen seen{.kind = event.kind, .stream = event.stream};
      seen.bytes = event.bytes.to_string();
      seen.count = event.count;
      seen.text = event.text;
      if (event.kind == Kind::closed) seen.error_class = event.error.error_class();
      if (event.kind == Kind::stream_requested || event.kind == Kind::stream_opened ||
          event.kind == Kind::stream_answered) {
        seen.head = event.head;
      }
      if (event.kind == Kind::stream_requested) {
        if (event.head.to == "nowhere") mux.refuse(event.stream, "amqp:not-found", "no such key");
        else mux.admit(event.stream);
      }
      if (grants_at_once && event.kind == Kind::stream_data) {
        mux.grant(event.stream, seen.bytes.size());
      }
      seen_events.push_back(std::move(seen));
    }
  }

  const Seen* find(Kind kind, StreamId stream = {}) const {
    for (const auto& seen : seen_events) {
      if (seen.kind == kind && (stream == StreamId() || seen.stream == stream)) return &seen;
    }
    return nullptr;
  }
  size_t count(Kind kind) const {
    return static_cast<size_t>(std::ranges::count(seen_events, kind, &Seen::kind));
  }
  // The data of a stream so far.
  std::string received(StreamId stream) const {
    std::string all;
    for (const auto& seen : seen_events) {
      if (seen.kind == Kind::stream_data && seen.stream == stream) all += seen.bytes;
    }
    return all;
  }
  std::string output(Instant now, uint64_t bytes_max = UINT64_MAX) {
    io::Chain out;
    mux.take_output(out, bytes_max, now);
    return out.to_string();
  }
  void feed(std::string_view bytes, Instant now) {
    mux.feed(io::Chain::copy_of(bytes), now);
    collect();
  }

  LinkMux mux;
  std::vector<Seen> seen_events;
  bool grants_at_once = true;
};

inline LinkMuxOptions dialer_options() {
  LinkMuxOptions options;
  options.role = LinkRole::dialer;
  options.container_id = "west-id";
  options.hostname = "east.example";
  options.site_name = "west";
  options.workers = 2;
  options.connection = 1;
  options.cost = 7;
  return options;
}

inline LinkMuxOptions acceptor_options() {
  LinkMuxOptions options;
  options.role = LinkRole::acceptor;
  options.container_id = "east-id";
  options.site_name = "east";
  options.workers = 3;
  return options;
}

inline StreamHead head_to(std::string key) {
  return {.to = std::move(key), .correlation_id = "c1"};
}

class MuxPair {
 public:
  explicit MuxPair(LinkMuxOptions west = dialer_options(), LinkMuxOptions east = acceptor_options())
      : dialer(std::move(west), now), acceptor(std::move(east), now) {}

  // Carries octets until nothing is left to say.
  void pump() {
    while (true) {
      const std::string east_bound = dialer.output(now);
      const std::string west_bound = acceptor.output(now);
      if (east_bound.empty() && west_bound.empty()) break;
      if (!east_bound.empty()) wire_east.push_back(east_bound);
      if (!west_bound.empty()) wire_west.push_back(west_bound);
      acceptor.feed(east_bound, now);
      dialer.feed(west_bound, now);
      dialer.collect();
      acceptor.collect();
    }
    dialer.collect();
    acceptor.collect();
  }

  // A stream that the dialer opened: its id here and there.
  std::pair<StreamId, StreamId> open(const std::string& key = "echo") {
    const StreamId here = *dialer.mux.open_stream(head_to(key));
    pump();
    StreamId there;
    for (const auto& seen : acceptor.seen_events) {
      if (seen.kind == Kind::stream_opened) there = seen.stream;
    }
    return {here, there};
  }

  Instant now{1'000'000'000};
  MuxSide dialer;
  MuxSide acceptor;
  std::vector<std::string> wire_east;  // what went from the dialer to the acceptor, step by step
  std::vector<std::string> wire_west;  // and back
};

// A frame that the mux under test sent.
struct SentFrame {
  uint64_t code = 0;
  std::string body;  // performative
  std::string payload;
  size_t size = 0;
  template <class T>
  T as() const {  // borrows from this frame
    T performative;
    const auto head = read_performative_head(bytes_of(body));
    if (!head || !decode(head->fields, performative)) std::abort();
    return performative;
  }
};

// A program that is no Istmo site, at the other end of an acceptor.
class ForeignProgram {
 public:
  explicit ForeignProgram(LinkMuxOptions options = acceptor_options())
      : site(std::move(options), now) {}

  template <class T>
  void send(const T& performative) {
    std::vector<uint8_t> frame;
    encode_frame(performative, frame);
    site.feed(text_of(frame), now);
  }
  void send_transfer(const Transfer& transfer, std::string_view payload) {
    std::vector<uint8_t> frame;
    begin_frame(frame);
    AmqpWriter out(frame);
    encode(transfer, out);
    end_frame(frame, FrameType::amqp, static_cast<uint32_t>(payload.size()));
    site.feed(std::string(text_of(frame)) + std::string(payload), now);
  }
  // What the site said since the last call, protocol headers left out.
  std::vector<SentFrame> frames() {
    site.collect();
    std::string out = site.output(now);
    site.collect();
    std::vector<SentFrame> result;
    std::string_view rest(out);
    while (!rest.empty()) {
      if (rest.starts_with("AMQP")) {
        rest.remove_prefix(8);
        continue;
      }
      const auto header = *read_frame_header(bytes_of(rest.substr(0, 8)));
      std::string_view body = rest.substr(8, header.size - 8);
      SentFrame frame{.size = header.size};
      if (!body.empty()) {
        const auto head = *read_performative_head(bytes_of(body));
        frame.code = head.code;
        frame.body = body.substr(0, head.size);
        frame.payload = body.substr(head.size);
      }
      result.push_back(std::move(frame));
      rest.remove_prefix(header.size);
    }
    return result;
  }
  void open(uint32_t max_frame_size = 65536,
            const std::vector<std::string_view>& capabilities = {}) {
    site.feed(kSaslProtocolHeader, now);
    send(SaslInit{.mechanism = "EXTERNAL"});
    site.feed(kAmqpProtocolHeader, now);
    send(Open{.container_id = "foreign",
              .max_frame_size = max_frame_size,
              .offered_capabilities = capabilities});
    send(Begin{.incoming_window = 100, .outgoing_window = 100});
    frames();
  }
  void attach_sender(uint32_t handle, std::string_view key) {
    Attach attach{.name = "out", .handle = handle, .role = LinkEndRole::sender};
    attach.source.kind = attach.target.kind = Terminus::Kind::node;
    attach.target.address = key;
    attach.initial_delivery_count = 0;
    send(attach);
  }
  // Returns the dynamic address.
  std::string attach_receiver(uint32_t handle, uint32_t credit = 10) {
    Attach attach{.name = "in", .handle = handle, .role = LinkEndRole::receiver};
    attach.source.kind = attach.target.kind = Terminus::Kind::node;
    attach.source.is_dynamic = true;
    send(attach);
    std::string address;
    for (const auto& frame : frames()) {
      if (frame.code != Attach::kCode) continue;
      const auto answer = frame.as<Attach>();
      if (answer.role == LinkEndRole::sender) address = answer.source.address.value_or("");
    }
    send_credit(handle, 0, credit);
    return address;
  }
  void send_credit(uint32_t handle, uint32_t delivery_count, uint32_t credit) {
    Flow flow{.incoming_window = 1000, .handle = handle};
    flow.next_incoming_id = transfers_seen;
    flow.delivery_count = delivery_count;
    flow.link_credit = credit;
    send(flow);
  }
  // properties with `to` and reply-to; no application-properties, as plain libraries send it.
  static std::string head_section(std::string_view reply_to) {
    std::vector<uint8_t> bytes;
    AmqpWriter out(bytes);
    out.descriptor(0x73);
    {
      FieldWriter fields(out);
      fields.null();
      fields.null();
      fields.field().string("echo");
      fields.null();
      if (reply_to.empty()) fields.null();
      else fields.field().string(reply_to);
      fields.field().u64(4711);
    }
    return std::string(text_of(bytes));
  }
  static std::string data_section(std::string_view data) {
    std::vector<uint8_t> bytes;
    AmqpWriter out(bytes);
    out.descriptor(0x75);
    out.binary(bytes_of(data));
    return std::string(text_of(bytes));
  }

  Instant now{1'000'000'000};
  MuxSide site;
  uint32_t transfers_seen = 0;
};

// The frames of one kind among those that were sent.
inline std::vector<SentFrame> only(std::vector<SentFrame> frames, uint64_t code) {
  std::erase_if(frames, [code](const SentFrame& frame) { return frame.code != code; });
  return frames;
}

}  // namespace istmo::codec
