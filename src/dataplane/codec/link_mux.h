// AMQP 1.0 (ISO/IEC 19464) as one connection between two sites sees it: SASL, open, begin, attach,
// flow, transfer, disposition, detach, end, close. Sans I/O: octets and time in, events and octets
// out; the same events for every split of the input. decision D9 in docs/architecture.md.
//
// One session per connection. A stream is one delivery per direction: the opener's on a sender
// link whose target is the routing key, the answer on a receiver link with a dynamic source, which
// the first message names as reply-to. Link pairs carry one stream at a time.
//
// Owned by a proxy::Link, on its worker. It ends when its owner destroys it; nothing is pending
// outside. After an error or a `closed` event only take_output() is useful (the close frame).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "dataplane/codec/amqp_message.h"
#include "dataplane/io/buffer.h"

namespace istmo::codec {

// Names one stream on one LinkMux; never reused on it.
using StreamId = Id<struct StreamIdTag, uint64_t>;

enum class LinkRole : uint8_t { dialer, acceptor };

struct LinkMuxOptions {
  LinkRole role = LinkRole::dialer;
  std::string container_id;  // the site's id
  std::string hostname;      // dialer: what was dialed; may be empty
  std::string site_name;     // open property `istmo:site`
  std::string replica;       // open property `istmo:replica`: which process of the site
  uint32_t workers = 1;      // open property `istmo:workers`
  uint32_t connection = 0;   // open property `istmo:connection`: this connection's index (dialer)
  uint32_t cost = 1;         // open property `istmo:cost` (dialer)
  uint32_t frame_bytes_max = 128 * 1024;
  uint32_t streams_max = 16 * 1024;          // more are refused: amqp:resource-limit-exceeded
  uint32_t window_bytes = 256 * 1024;        // byte credit that a new stream starts with
  uint64_t queued_bytes_max = 4096u * 1024;  // control octets waiting to be sent; above: error
  // Octets of message heads that are not complete, of all streams: byte credit does not count them.
  // Above: the stream is refused, amqp:resource-limit-exceeded.
  uint64_t head_bytes_max = 1024u * 1024;
  // Programs attach and send when they like: so many AMQP links of one without byte credit may
  // wait. Istmo sites send at once: their links wait `head_timeout` for a message, then they are
  // detached. Everybody's message has as long for its head, then it is rejected.
  uint32_t idle_links_max = 256;
  Duration head_timeout = Duration::seconds(10);
  // Sent as idle-time-out. Half of it without anything sent makes an empty frame; this long
  // without anything received ends the connection with Error::timeout.
  Duration idle_timeout = Duration::seconds(5);
  Duration handshake_timeout = Duration::seconds(5);  // until `opened`; and for the answer to close
  uint32_t first_sequence_number = 0;  // of transfers and deliveries; tests start near the wrap
};

// What was refused or ended here at a limit, ever.
struct LinkMuxRefusals {
  uint64_t heads_too_large = 0;  // head_bytes_max
  uint64_t links_too_many = 0;   // idle_links_max, streams_max
  uint64_t links_too_late = 0;   // head_timeout
};

// What the other side said in its open.
struct RemoteSite {
  std::string container_id;
  std::string site_name;
  std::string replica;   // at most 64 octets; empty: an older version, or not an Istmo site
  uint32_t workers = 0;  // at most kWorkersMax; 0: not an Istmo site
  uint32_t connection = 0;
  uint32_t cost = 1;
  bool has_byte_credit = false;
};

struct LinkEvent {
  enum class Kind : uint8_t {
    opened,            // remote: handshake done, streams may be opened
    stream_requested,  // stream, head.to = routing key: answer with admit() or refuse(), now
    stream_opened,     // stream, head: a message began (opened by the other side)
    stream_answered,   // stream, head: the answer to a stream of ours began
    stream_data,       // stream, bytes: at most the credit that was granted
    stream_ended,      // stream: the other side's direction ended normally
    stream_reset,      // stream, text = reason: both directions are over; nothing more comes
    stream_drained,    // stream, count: octets of ours left in frames
    stream_released,   // stream: both directions ended normally, or after a reset: id is gone
    closed,            // error: the other side closed, or broke the protocol, or fell silent
  };
  Kind kind;
  StreamId stream;
  StreamHead head;
  io::Chain bytes;
  uint64_t count = 0;
  std::string text;
  Error error{ErrorClass::closed, ""};
};

// What a stream may still carry, for reports and checkers. Less than no octets would be a broken
// promise, of ours or of the other side.
struct StreamCredit {
  StreamId stream;
  int64_t send_bytes = 0;               // that the other side announced and we have not sent
  int64_t receive_bytes = 0;            // that the owner granted and that have not come
  int64_t receive_announced_bytes = 0;  // those of them that the other side knows of
  // AMQP link credit: deliveries that may begin.
  uint32_t send_deliveries = 0;
  uint32_t receive_deliveries = 0;
  uint64_t queued_bytes = 0;  // written, not yet in frames
};

// What a LinkMux remembers, for checkers.
struct LinkMuxUse {
  uint32_t streams = 0;         // until their last event is taken
  uint32_t links = 0;           // of AMQP, attached by either side
  uint32_t handles = 0;         // that we gave to links
  uint32_t remote_handles = 0;  // that the other side gave to links
  uint32_t deliveries = 0;      // of ours, not settled
  friend bool operator==(const LinkMuxUse&, const LinkMuxUse&) = default;
};

class LinkMux {
 public:
  LinkMux(LinkMuxOptions options, Instant now);
  ~LinkMux();
  LinkMux(const LinkMux&) = delete;
  LinkMux& operator=(const LinkMux&) = delete;

  // --- input -------------------------------------------------------------------------------
  // Takes all of `bytes`. Events wait in next_event(). Call next_event() until false after each
  // feed and tick. A protocol error becomes the event `closed`, and a close frame in the output.
  void feed(io::Chain&& bytes, Instant now);
  // The transport ended: the event `closed` if nothing ended the connection before.
  void feed_end(Instant now);
  // Octets came at `at` that are no frames yet: the other side of an open link lives.
  void hear(Instant at);
  void tick(Instant now);
  Instant next_tick() const;  // when tick() is due
  bool next_event(LinkEvent& event);

  // --- output ------------------------------------------------------------------------------
  bool has_output() const;
  // Appends frames to `out`: control frames first (all of them), then data by deficit round robin
  // with a quantum of 16 KiB per stream until `out` holds `bytes_max` or more, or nothing may be
  // sent. A stream that was idle and has at most one quantum goes before streams that wait for a
  // further quantum. Each transfer frame is at most 16 KiB with its header and holds one whole
  // `data` section that references the slices that were written. Makes stream_drained events.
  void take_output(io::Chain& out, uint64_t bytes_max, Instant now);
  // Transfer octets are waiting in stream queues for the next take_output (with credit).
  bool has_data_ready() const;

  // --- streams -----------------------------------------------------------------------------
  // Opens a stream to a routing key. Error::limit when streams_max are open, Error::closed when
  // not open or closing. Octets may be written at once; they leave when attach and credit allow.
  Result<StreamId> open_stream(StreamHead head);
  void admit(StreamId stream);
  // Attach answered, then detached with `condition` ("amqp:not-found").
  void refuse(StreamId stream, std::string_view condition, std::string_view text);
  // Begins the answer to a stream that the other side opened; before the first write. `to` and
  // correlation_id are filled in.
  void answer(StreamId stream, StreamHead head);
  void write(StreamId stream, io::Chain&& bytes);
  void finish(StreamId stream);  // end of our direction, behind everything written
  void reset(StreamId stream, std::string_view reason);  // both directions, at once
  // The consumer drained `count` octets of stream_data: the other side may send as many more.
  void grant(StreamId stream, uint64_t count);
  // What the other side may send before the next grant. Programs without byte credit share a window
  // of frames, to which all that is drained must go back: far below zero.
  int64_t credit_bytes(StreamId stream) const;
  uint64_t queued_bytes(StreamId stream) const;
  // Both directions ended normally: what is missing until stream_released carries nothing more.
  bool has_ended(StreamId stream) const;
  std::vector<StreamCredit> credits() const;  // of all streams that are not over

  // --- connection --------------------------------------------------------------------------
  // Sends close with an error condition, or none if empty.
  void close(std::string_view condition, std::string_view text);
  bool is_open() const;
  bool is_closing() const;
  const RemoteSite& remote() const;
  uint32_t streams_open() const;
  uint64_t queued_bytes() const;     // of all streams
  uint64_t held_head_bytes() const;  // of message heads that are not complete
  const LinkMuxRefusals& refusals() const;
  LinkMuxUse use() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace istmo::codec
