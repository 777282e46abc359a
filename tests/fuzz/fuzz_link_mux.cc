// Any octets as what the other side of a link says.
//
// The input: one octet of options (role, limits), then pieces: an octet that chooses what the owner
// does and how long the piece is, then the piece. With bit 7 of the first octet unset the handshake
// is played first, so that the fuzzer starts at attach. Checked: no crash, byte credit is never
// passed, events make sense, one `closed` at most, bounded output.
#include <map>
#include <vector>

#include "dataplane/codec/amqp_frame.h"
#include "dataplane/codec/link_mux.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

class Owner {
 public:
  explicit Owner(uint8_t choice) : choice_(choice), mux_(options(), now_) {
    if ((choice & 0x80) == 0) play_handshake();
  }

  void feed(Bytes piece) {
    mux_.feed(io::Chain(io::Slice::copy_of(piece)), now_);
    ASSERT(mux_.held_head_bytes() <= kHeadBytesHeldMax);
    on_events();
  }

  void act(uint8_t action) {
    switch (action % 8) {
      case 0: break;
      case 1: open_stream(); break;
      case 2: for_one([&](StreamId id) { write(id, 100); }); break;
      case 3: for_one([&](StreamId id) { write(id, 70'000); }); break;
      case 4: for_one([&](StreamId id) { finish(id); }); break;
      case 5: for_one([&](StreamId id) { reset(id); }); break;
      case 6: for_one([&](StreamId id) { grant(id); }); break;
      case 7:
        now_ = now_ + Duration::milliseconds(700);
        mux_.tick(now_);
        break;
    }
    on_events();
  }

  void take_output() {
    io::Chain out;
    mux_.take_output(out, 64 * 1024, now_);
    ASSERT(out.size() < 64 * 1024 + 128 * 1024 + kQueuedBytesMax * 2);
    on_events();
  }

  void end() {
    mux_.feed_end(now_);
    on_events();
    ASSERT(is_closed_);
    ASSERT(mux_.streams_open() == 0 && mux_.queued_bytes() == 0);
    ASSERT(mux_.held_head_bytes() == 0);
  }

 private:
  static constexpr uint32_t kWindowBytes = 40'000;
  static constexpr uint64_t kQueuedBytesMax = 64 * 1024;
  static constexpr uint64_t kHeadBytesHeldMax = 20'000;
  struct Stream {
    uint64_t received = 0;
    uint64_t granted = kWindowBytes;
    bool is_ours = false;
    bool is_admitted = false;
    bool is_open = false;
    bool is_finished = false;
    bool is_reset = false;
  };

  LinkMuxOptions options() const {
    LinkMuxOptions options;
    options.role = choice_ & 1 ? LinkRole::dialer : LinkRole::acceptor;
    options.container_id = "fuzz";
    options.streams_max = 8;
    options.window_bytes = kWindowBytes;
    options.queued_bytes_max = kQueuedBytesMax;
    options.head_bytes_max = kHeadBytesHeldMax;
    options.frame_bytes_max = choice_ & 4 ? 4096 : 128 * 1024;
    return options;
  }

  template <class Performative>
  void feed_frame(const Performative& performative) {
    std::vector<uint8_t> frame;
    encode_frame(performative, frame);
    feed(frame);
  }

  void play_handshake() {
    const bool is_dialer = choice_ & 1;
    feed(bytes_of(kSaslProtocolHeader));
    if (is_dialer) {
      feed_frame(SaslMechanisms{.mechanisms = {"EXTERNAL"}});
      feed_frame(SaslOutcome{});
    } else {
      feed_frame(SaslInit{.mechanism = "EXTERNAL"});
    }
    feed(bytes_of(kAmqpProtocolHeader));
    Open open{.container_id = "x", .max_frame_size = choice_ & 8 ? 512u : 65536u};
    if (choice_ & 2) open.offered_capabilities = {kByteCreditCapability};
    feed_frame(open);
    Begin begin{.incoming_window = 50, .outgoing_window = 50};
    if (is_dialer) begin.remote_channel = 0;
    feed_frame(begin);
    ASSERT(mux_.is_open());
  }

  void on_events() {
    LinkEvent event;
    while (mux_.next_event(event)) {
      ASSERT(!is_closed_);
      on_event(event);
    }
  }

  void on_event(LinkEvent& event) {
    using enum LinkEvent::Kind;
    if (event.kind == opened) return;
    if (event.kind == closed) {
      is_closed_ = true;
      return;
    }
    if (event.kind == stream_requested) {
      ASSERT(!streams_.contains(event.stream));
      if (event.head.to.starts_with("no")) return mux_.refuse(event.stream, "amqp:not-found", "");
      mux_.admit(event.stream);
      streams_[event.stream].is_admitted = true;
      return;
    }
    ASSERT(streams_.contains(event.stream));
    Stream& stream = streams_[event.stream];
    ASSERT(!stream.is_reset || event.kind == stream_released);
    switch (event.kind) {
      case stream_opened:
      case stream_answered:
        ASSERT(!stream.is_open && stream.is_ours == (event.kind == stream_answered));
        stream.is_open = true;
        break;
      case stream_data:
        ASSERT(stream.is_open && !event.bytes.empty());
        stream.received += event.bytes.size();
        if (choice_ & 2) ASSERT(stream.received <= stream.granted);
        break;
      case stream_reset: stream.is_reset = true; break;
      case stream_released: streams_.erase(event.stream); break;
      default: break;
    }
  }

  void open_stream() {
    const auto id = mux_.open_stream({.to = "key"});
    if (id) streams_[*id] = {.is_ours = true, .is_admitted = true};
  }
  void write(StreamId id, uint32_t count) {
    if (!can_write(id)) return;
    mux_.write(id, io::Chain(io::Slice::allocate(count)));
  }
  void finish(StreamId id) {
    if (!can_write(id)) return;
    streams_[id].is_finished = true;
    mux_.finish(id);
  }
  bool can_write(StreamId id) {
    const Stream& stream = streams_[id];
    return !stream.is_finished && !stream.is_reset && (stream.is_ours || stream.is_open) &&
           mux_.queued_bytes() < 1'000'000;
  }
  void reset(StreamId id) {
    if (streams_[id].is_reset) return;
    streams_[id].is_reset = true;
    mux_.reset(id, "fuzz");
  }
  void grant(StreamId id) {
    Stream& stream = streams_[id];
    const uint64_t count = stream.received + kWindowBytes - stream.granted;
    stream.granted += count;
    mux_.grant(id, count);
  }

  template <class Action>
  void for_one(Action&& action) {
    if (streams_.empty()) return;
    auto place = streams_.upper_bound(last_);
    if (place == streams_.end()) place = streams_.begin();
    last_ = place->first;
    action(last_);
  }

  uint8_t choice_;
  Instant now_{1};
  LinkMux mux_;
  std::map<StreamId, Stream> streams_;
  StreamId last_;
  bool is_closed_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  Owner owner(data[0]);
  Bytes rest(data + 1, size - 1);
  while (!rest.empty()) {
    const uint8_t step = rest[0];
    rest = rest.subspan(1);
    // 5 bits: 0 to 30 groups of 8 octets, 31: everything that is left.
    const size_t groups = step >> 3;
    const size_t length = groups == 31 ? rest.size() : std::min(rest.size(), groups * 8);
    owner.feed(rest.first(length));
    rest = rest.subspan(length);
    owner.act(step);
    if (step & 1) owner.take_output();
  }
  owner.take_output();
  owner.end();
  return 0;
}
