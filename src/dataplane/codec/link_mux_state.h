// What a LinkMux remembers. Private to link_mux*.cc; link_mux.h is the interface.
//
// A Link end is what AMQP calls a link, seen from here; it has an end of its own on the other side.
// A Stream uses two of them. Ends and streams live in slabs, so a StreamId, a link name of ours and
// a reply address all lead to their object in one step.
#pragma once

#include <memory>
#include <map>
#include <string>
#include <vector>

#include "base/list.h"
#include "base/slab.h"
#include "dataplane/codec/amqp_frame.h"
#include "dataplane/codec/amqp_message.h"
#include "dataplane/codec/link_mux.h"
#include "dataplane/codec/link_scheduler.h"

namespace istmo::codec {

constexpr uint32_t kNoHandle = UINT32_MAX;
constexpr uint32_t kLinkNameBytesMax = 256;
constexpr uint32_t kCapableWindowFrames = 8192;  // incoming-window towards Istmo sites
constexpr uint32_t kForeignWindowFrames = 32;    // towards others: all that may wait undrained
constexpr uint32_t kOutgoingWindowFrames = 0x7fffffff;

struct MuxStream;

struct LinkEnd : ListNode<LinkEnd> {
  enum class Origin : uint8_t { ours, theirs };  // who attached first
  enum class Half : uint8_t { none, attached, detached };
  // beginning: a sender has given it an id, no frame was sent. discarded: what comes is dropped.
  enum class Delivery : uint8_t { none, beginning, active, discarded };
  // What the other side has not done. message: no message uses the link, which is theirs. head: the
  // head of a message that began is not complete.
  enum class Missing : uint8_t { nothing, message, head };

  LinkEndRole role = LinkEndRole::sender;
  Origin origin = Origin::ours;
  Half here = Half::none;   // what we said
  Half there = Half::none;  // what the other side said
  Delivery delivery = Delivery::none;
  Missing missing = Missing::nothing;
  bool is_settled = false;  // the delivery, by its sender
  bool is_draining = false;
  uint32_t handle = kNoHandle;         // in what we send
  uint32_t remote_handle = kNoHandle;  // in what we receive
  uint64_t delivery_id = 0;            // of a sender's: does not wrap, the low half is on the wire
  uint32_t delivery_count = 0;
  uint32_t credit = 0;  // deliveries that the sender may begin
  // Byte credit over the life of the link. Receiver: octets <= limit (announced) <= granted.
  uint64_t octets = 0;
  uint64_t limit = 0;
  uint64_t granted = 0;
  Instant missing_since;
  MuxStream* stream = nullptr;  // that uses it now
  std::string name;             // theirs: until the attach is answered
  // Our receiver on their sender: the routing key. A sender of ours on their dynamic receiver, and
  // the receiver of a stream that we opened: the dynamic address.
  std::string address;
  MessageReader reader;
  uint64_t held_head_bytes = 0;  // by `reader`, as counted in the total

  bool is_attached() const { return here == Half::attached && there == Half::attached; }
};

struct MuxStream : ScheduledStream {
  enum class Side : uint8_t { opener, acceptor };
  // over: ended or reset, links may still be detaching. released: only its last events wait.
  enum class Phase : uint8_t { requested, admitted, over, released };
  enum class Out : uint8_t { none, head_waiting, head_split, started, ended };
  enum class In : uint8_t { none, started, ended };
  enum class Telling : uint8_t { all, only_released, nothing };

  explicit MuxStream(Side stream_side) : side(stream_side) {}

  Side side;
  Phase phase = Phase::requested;
  Out out = Out::none;
  In in = In::none;
  Telling telling = Telling::all;  // which of its waiting events are still wanted
  bool is_finish_asked = false;
  LinkEnd* sender = nullptr;
  LinkEnd* receiver = nullptr;
  io::Chain queue;      // written, not yet in frames
  io::Chain head_rest;  // of a head that is longer than a frame
  std::unique_ptr<StreamHead> head;
  std::string correlation_encoded;  // acceptor: of the request
  uint64_t undrained_bytes = 0;     // foreign senders: given to the owner, not granted again
  uint32_t undrained_frames = 0;
};

// Frames on their way out: small headers packed into shared blocks.
class FrameBuffer {
 public:
  // Copies `bytes` behind what waits already.
  void append(Bytes bytes);
  // Copies `bytes` and gives them as one slice, past everything that waits (nothing may wait).
  io::Slice place(Bytes bytes);
  void take(io::Chain& out);
  void clear();
  uint64_t size() const { return full_.size() + end_ - start_; }
  bool empty() const { return size() == 0; }

 private:
  void make_room(uint32_t bytes);
  io::Slice block_;
  uint32_t start_ = 0;
  uint32_t end_ = 0;
  io::Chain full_;
};

class LinkMux::State {
 public:
  State(LinkMuxOptions options, Instant now);

  // --- link_mux_input.cc: octets to frames, handshake
  void feed(io::Chain&& bytes, Instant now);
  void feed_end();
  void hear(Instant at);
  void tick(Instant now);
  Instant next_tick() const;
  bool next_event(LinkEvent& event);
  void close(std::string_view condition, std::string_view text);

  // --- link_mux_output.cc
  bool has_output() const { return !control_.empty() || has_data_ready(); }
  bool has_data_ready() const;
  void take_output(io::Chain& out, uint64_t bytes_max, Instant now);

  // --- link_mux_stream.cc: streams and their credit
  Result<StreamId> open_stream(StreamHead head);
  void admit(MuxStream& stream);
  void refuse(MuxStream& stream, std::string_view condition, std::string_view text);
  void answer(MuxStream& stream, StreamHead head);
  void write(MuxStream& stream, io::Chain&& bytes);
  void finish(MuxStream& stream);
  void reset(MuxStream& stream, std::string_view reason);
  void grant(MuxStream& stream, uint64_t count);
  std::vector<StreamCredit> credits();

  // The stream if it may still be used; nullptr when it is over or the connection is.
  MuxStream* find_live(StreamId id);
  MuxStream* find(StreamId id);
  bool is_open() const { return phase_ == Phase::ready; }
  bool is_closing() const { return phase_ == Phase::closing || phase_ == Phase::closed; }
  const RemoteSite& remote() const { return remote_; }
  uint32_t streams_open() const { return phase_ == Phase::closed ? 0 : streams_open_; }
  uint64_t queued_bytes() const { return queued_bytes_; }
  uint64_t held_head_bytes() const { return phase_ == Phase::closed ? 0 : held_head_bytes_; }
  const LinkMuxRefusals& refusals() const { return refusals_; }
  LinkMuxUse use() const;

 private:
  // What is awaited. Dialer: sasl_header, mechanisms, outcome, amqp_header, open, begin, ready.
  // Acceptor: sasl_header, init, amqp_header, open, begin, ready.
  enum class Phase : uint8_t {
    sasl_header,
    mechanisms,
    init,
    outcome,
    amqp_header,
    open,
    begin,
    ready,
    closing,
    closed
  };
  // An event as it waits: smaller than a LinkEvent.
  struct Waiting {
    LinkEvent::Kind kind;
    StreamId stream;
    std::unique_ptr<StreamHead> head;
    io::Chain bytes;
    uint64_t count = 0;
    std::string text;
    ErrorClass error_class = ErrorClass::closed;
  };
  // What ends a stream, as it is told to the other side.
  struct Ending {
    std::string_view condition;
    std::string_view text;
    MuxStream::Telling telling;
  };
  // Whether a delivery under way let the other side be told of an ending.
  enum class Told : uint8_t { nothing, told, unable };

  // --- link_mux_input.cc
  bool read_one();
  bool read_protocol_header();
  bool read_frame();
  uint32_t frame_bytes_max() const;
  Result<> on_frame(FrameHeader header, io::Chain&& frame);
  Result<> on_sasl(const PerformativeHead& head);
  Result<> on_open(const Value& fields);
  Result<> take_workers(uint64_t number);
  Result<> on_begin(const Value& fields);
  Result<> on_ready_frame(const PerformativeHead& head, io::Chain&& payload);
  void on_end();
  void on_close(const Value& fields);
  void send_open();
  void send_begin();
  bool is_open_sent() const;
  void fail(const Error& error, std::string_view condition);
  void end_connection(ErrorClass error_class, std::string text);
  void wipe_input();
  Waiting& push_event(LinkEvent::Kind kind, StreamId stream = {});
  bool is_wanted(const Waiting& event);

  // --- link_mux_links.cc: attach, detach, flow, disposition
  Result<> on_attach(const Attach& attach);
  Result<> on_attach_answer(LinkEnd& link, const Attach& attach);
  Result<> on_attach_request(const Attach& attach);
  void on_sender_request(LinkEnd& link, const Attach& attach);
  void on_receiver_request(LinkEnd& link, const Attach& attach);
  Result<> on_detach(const Detach& detach);
  Result<> on_flow(const Flow& flow);
  void on_link_flow(LinkEnd& link, const Flow& flow);
  Result<> on_disposition(const Disposition& disposition);
  void wait_for(LinkEnd& link, LinkEnd::Missing what);
  bool has_too_many_idle_links() const;
  void end_what_is_late();
  LinkEnd& attach_ours(LinkEndRole role, MuxStream& stream, std::string_view address);
  void answer_attach(LinkEnd& link);
  void refuse_attach(LinkEnd& link, AmqpError error);
  void detach(LinkEnd& link, AmqpError error);
  void erase_link_if_gone(LinkEnd& link);
  LinkEnd* find_by_remote_handle(uint32_t handle);
  uint32_t allocate_handle();
  std::string link_name(LinkEnd& link);
  std::string dynamic_address(LinkEnd& link);
  LinkEnd* find_link(std::string_view prefix, std::string_view text);
  void send_link_flow(LinkEnd& link);
  void send_session_flow();
  Flow session_flow();
  void give_credit(LinkEnd& link);
  void drain_credit(LinkEnd& link);

  // --- link_mux_delivery.cc: incoming transfers
  Result<> on_transfer(const Transfer& transfer, io::Chain&& payload);
  Result<> begin_delivery(LinkEnd& link, const Transfer& transfer);
  void on_parts(LinkEnd& link);
  void on_message_head(LinkEnd& link);
  void on_message_data(LinkEnd& link, io::Chain&& data);
  void count_head(LinkEnd& link);
  void forget_head(LinkEnd& link);
  void on_delivery_end(LinkEnd& link);
  void on_aborted(LinkEnd& link, const Transfer& transfer);
  void reject_delivery(LinkEnd& link, std::string_view condition, std::string_view text);
  void let_send_again(LinkEnd& link);
  void announce_window_if_due();
  uint32_t free_window_frames() const;

  // --- link_mux_stream.cc
  StreamId id_of(MuxStream& stream);
  MuxStream& add_stream(MuxStream::Side side);
  void complete_if_ended(MuxStream& stream);
  void end_abnormally(MuxStream& stream, Ending ending);
  Told abort_sender(MuxStream& stream, const AmqpError& error);
  Told reject_receiver(MuxStream& stream, const AmqpError& error);
  void let_go_of_links(MuxStream& stream);
  void release_if_over(MuxStream& stream);
  void drop_queues(MuxStream& stream);
  void drop_all_queues();  // nothing of the streams leaves any more
  void update_ready(MuxStream& stream);
  bool can_send(const MuxStream& stream) const;
  uint64_t sendable_bytes(const MuxStream& stream) const;

  // --- link_mux_output.cc
  template <class Performative>
  void send(const Performative& performative) {
    encode_frame(performative, scratch_);
    control_.append(scratch_);
  }
  uint64_t send_data_frame(MuxStream& stream, io::Chain& out);
  uint64_t put_frame(MuxStream& stream, io::Chain&& payload, uint32_t data_bytes, io::Chain& out);
  void begin_answer_or_request(MuxStream& stream);
  void send_aborted_transfer(LinkEnd& link, const AmqpError& error);
  uint32_t data_frame_bytes_max() const;

  LinkMuxOptions options_;
  RemoteSite remote_;
  Phase phase_ = Phase::sasl_header;

  // Times.
  Instant handshake_deadline_;
  Instant last_received_;
  Instant heartbeat_at_ = Instant::never();
  Duration heartbeat_interval_;
  Instant now_;

  // Input.
  io::Chain input_;
  std::vector<Waiting> events_;
  size_t events_taken_ = 0;

  // Output.
  FrameBuffer control_;  // control frames that wait; also makes the headers of data frames
  std::vector<uint8_t> scratch_;
  std::vector<uint8_t> head_scratch_;
  LinkScheduler scheduler_;
  uint64_t queued_bytes_ = 0;
  uint32_t remote_frame_bytes_max_ = kFrameBytesMin;

  // Session (2.5.6).
  uint32_t next_outgoing_id_;
  uint32_t remote_window_ = 0;  // transfers that we may send
  uint32_t next_incoming_id_ = 0;
  uint32_t window_left_ = 0;       // transfers that the other side may send
  uint32_t undrained_frames_ = 0;  // of all streams
  uint32_t handle_max_;            // that we accept
  uint32_t remote_handle_max_ = 0;
  uint32_t incoming_delivery_id_ = 0;  // of the next delivery, once has_incoming_delivery_
  bool has_incoming_delivery_ = false;
  uint64_t held_head_bytes_ = 0;  // of all links
  LinkMuxRefusals refusals_;

  // Links and streams.
  Slab<LinkEnd> links_;
  Slab<MuxStream> streams_;
  std::vector<LinkEnd*> by_handle_;
  std::vector<LinkEnd*> by_remote_handle_;
  std::vector<uint32_t> free_handles_;
  // Unsettled deliveries of ours that are under way, by an id that does not wrap.
  std::map<uint64_t, LinkEnd*> outgoing_;
  uint64_t next_delivery_;   // on the wire: its low half
  List<LinkEnd> late_next_;  // those that must not wait long, first the one that waits longest
  uint32_t links_of_theirs_ = 0;
  uint32_t idle_links_ = 0;  // of theirs, without a message
  uint32_t streams_open_ = 0;
};

}  // namespace istmo::codec
