// The way of octets to frames, and of frames to their handlers; time; the queue of events.
#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/codec/link_mux_state.h"

namespace istmo::codec {
namespace {

// Slices that an incomplete frame may consist of before they are joined, so that a sender of tiny
// pieces does not pin a block for each.
constexpr uint32_t kInputSlicesMax = 64;
constexpr size_t kPeekBytes = 32;

}  // namespace

LinkMux::State::State(LinkMuxOptions options, Instant now)
    : options_(std::move(options)),
      handshake_deadline_(now + options_.handshake_timeout),
      last_received_(now),
      heartbeat_interval_(options_.idle_timeout / 2),
      now_(now),
      next_outgoing_id_(options_.first_sequence_number),
      handle_max_(options_.streams_max * 4 + 3),
      next_delivery_(options_.first_sequence_number) {
  options_.frame_bytes_max = std::max(options_.frame_bytes_max, kFrameBytesMin);
  if (options_.role == LinkRole::dialer) control_.append(bytes_of(kSaslProtocolHeader));
}

void LinkMux::State::feed(io::Chain&& bytes, Instant now) {
  now_ = now;
  if (phase_ == Phase::closed || bytes.empty()) return;
  last_received_ = now;
  input_.append(std::move(bytes));
  while (phase_ != Phase::closed && read_one()) {
    if (control_.size() > options_.queued_bytes_max) {
      fail(Error::limit("too many control frames wait to be sent"), "amqp:resource-limit-exceeded");
    }
  }
  if (phase_ == Phase::closed) return wipe_input();
  announce_window_if_due();
  if (input_.slice_count() > kInputSlicesMax) {
    static_cast<void>(input_.make_contiguous(static_cast<uint32_t>(input_.size())));
  }
}

void LinkMux::State::feed_end() {
  if (phase_ != Phase::closed) end_connection(ErrorClass::closed, "connection ended");
}

bool LinkMux::State::read_one() {
  const bool is_header = phase_ == Phase::sasl_header || phase_ == Phase::amqp_header;
  if (input_.size() < kFrameHeaderBytes) return false;  // a protocol header has 8 octets too
  return is_header ? read_protocol_header() : read_frame();
}

bool LinkMux::State::read_protocol_header() {
  const bool is_sasl = phase_ == Phase::sasl_header;
  const bool is_dialer = options_.role == LinkRole::dialer;
  const auto expected = is_sasl ? kSaslProtocolHeader : kAmqpProtocolHeader;
  const bool is_right = text_of(input_.make_contiguous(kFrameHeaderBytes)) == expected;
  if (is_right) input_.drop_front(kFrameHeaderBytes);
  if (!is_dialer) control_.append(bytes_of(expected));  // 2.2: also when it was a wrong one
  if (!is_right) {
    end_connection(ErrorClass::protocol, "not the protocol header of AMQP 1.0");
    return false;
  }
  if (!is_sasl) {
    if (is_dialer) {
      send_open();
      send_begin();
    }
    phase_ = Phase::open;
  } else if (is_dialer) {
    phase_ = Phase::mechanisms;
  } else {
    send(SaslMechanisms{.mechanisms = {"EXTERNAL"}});
    phase_ = Phase::init;
  }
  return true;
}

uint32_t LinkMux::State::frame_bytes_max() const {
  // 2.3.1: before max-frame-size is known, frames have at most 512 octets.
  return phase_ < Phase::begin ? kFrameBytesMin : options_.frame_bytes_max;
}

bool LinkMux::State::read_frame() {
  std::array<uint8_t, kFrameHeaderBytes> first;
  input_.copy_out(0, first);
  const auto header = read_frame_header(first);
  if (!header) {
    fail(header.error(), "amqp:connection:framing-error");
    return false;
  }
  if (header->size > frame_bytes_max()) {
    fail(Error::protocol("frame too long"), "amqp:connection:framing-error");
    return false;
  }
  if (input_.size() < header->size) return false;
  io::Chain frame = input_.take_front(header->size);
  frame.drop_front(header->body_offset());
  const auto result = on_frame(*header, std::move(frame));
  if (!result) fail(result.error(), "amqp:decode-error");
  return phase_ != Phase::closed;
}

// `frame` is the body: performative and payload.
Result<> LinkMux::State::on_frame(FrameHeader header, io::Chain&& frame) {
  const bool is_sasl = phase_ <= Phase::outcome;
  if (is_sasl != (header.type == FrameType::sasl)) return Error::protocol("frame of another type");
  if (frame.empty()) {
    if (is_sasl) return Error::protocol("empty SASL frame");
    return {};  // a heartbeat (2.4.5)
  }
  if (!is_sasl && header.channel != 0)
    return Error::protocol("frame on a channel that is not open");
  // Only the performative must be contiguous; the payload of a transfer stays as it came.
  std::array<uint8_t, kPeekBytes> first;
  const size_t peeked = frame.copy_out(0, first);
  const size_t told = performative_bytes(Bytes(first).first(peeked));
  const auto joined = told > 0 && told < frame.size() ? told : frame.size();
  const Bytes body = frame.make_contiguous(static_cast<uint32_t>(joined));
  const PerformativeHead head = TRY(read_performative_head(body));
  if (is_sasl) return on_sasl(head);
  switch (phase_) {
    case Phase::open:
      if (head.code == Close::kCode) return on_close(head.fields), Result<>();
      if (head.code != Open::kCode) return Error::protocol("first frame is no open");
      return on_open(head.fields);
    case Phase::begin:
      if (head.code == Close::kCode) return on_close(head.fields), Result<>();
      if (head.code != Begin::kCode) return Error::protocol("frame before begin");
      return on_begin(head.fields);
    case Phase::closing:
      if (head.code == Close::kCode) on_close(head.fields);
      return {};
    default: break;
  }
  // The performative borrows from `frame`: its first octets stay until the handler is done.
  io::Chain payload;
  if (head.code == Transfer::kCode) {
    io::Chain performative = frame.take_front(head.size);
    payload = std::move(frame);
    return on_ready_frame(head, std::move(payload));
  }
  return on_ready_frame(head, std::move(payload));
}

Result<> LinkMux::State::on_ready_frame(const PerformativeHead& head, io::Chain&& payload) {
  switch (head.code) {
    case Transfer::kCode: {
      Transfer transfer;
      TRY(decode(head.fields, transfer));
      return on_transfer(transfer, std::move(payload));
    }
    case Flow::kCode: {
      Flow flow;
      TRY(decode(head.fields, flow));
      return on_flow(flow);
    }
    case Disposition::kCode: {
      Disposition disposition;
      TRY(decode(head.fields, disposition));
      return on_disposition(disposition);
    }
    case Attach::kCode: {
      Attach attach;
      TRY(decode(head.fields, attach));
      return on_attach(attach);
    }
    case Detach::kCode: {
      Detach detach;
      TRY(decode(head.fields, detach));
      return on_detach(detach);
    }
    case End::kCode: return on_end(), Result<>();
    case Close::kCode: return on_close(head.fields), Result<>();
    case Open::kCode:
    case Begin::kCode: return Error::protocol("second open or begin");
    default: return Error::protocol("unknown performative");
  }
}

void LinkMux::State::hear(Instant at) {
  if (phase_ == Phase::ready) last_received_ = std::max(last_received_, at);
}

void LinkMux::State::tick(Instant now) {
  now_ = now;
  if (phase_ == Phase::closed) return;
  if (phase_ != Phase::ready && now >= handshake_deadline_) {
    return fail(Error::timeout("no answer in the handshake"), "amqp:connection:forced");
  }
  if (now >= last_received_ + options_.idle_timeout) {
    return fail(Error::timeout("nothing was received for too long"),
                "amqp:resource-limit-exceeded");
  }
  if (phase_ == Phase::ready) end_what_is_late();
  if (now < heartbeat_at_) return;
  heartbeat_at_ = now + heartbeat_interval_;
  if (phase_ != Phase::ready || has_output()) return;
  begin_frame(scratch_);
  end_frame(scratch_, FrameType::amqp);
  control_.append(scratch_);
}

Instant LinkMux::State::next_tick() const {
  if (phase_ == Phase::closed) return Instant::never();
  Instant next = last_received_ + options_.idle_timeout;
  if (phase_ != Phase::ready) next = std::min(next, handshake_deadline_);
  if (!late_next_.empty()) {
    next = std::min(next, late_next_.front().missing_since + options_.head_timeout);
  }
  return std::min(next, heartbeat_at_);
}

void LinkMux::State::close(std::string_view condition, std::string_view text) {
  if (is_closing()) return;
  if (!is_open_sent()) {
    return end_connection(ErrorClass::closed, "closed before it was open");
  }
  send(Close{.error = {condition, text}});
  phase_ = Phase::closing;
  drop_all_queues();
  handshake_deadline_ = now_ + options_.handshake_timeout;
}

bool LinkMux::State::is_open_sent() const {
  return phase_ >= Phase::begin || (phase_ == Phase::open && options_.role == LinkRole::dialer);
}

// The input broke the protocol, or time ran out.
void LinkMux::State::fail(const Error& error, std::string_view condition) {
  if (phase_ == Phase::closed) return;
  if (control_.size() > options_.queued_bytes_max) control_.clear();
  if (is_open_sent() && phase_ != Phase::closing) {
    if (error.error_class() == ErrorClass::limit) condition = "amqp:resource-limit-exceeded";
    send(Close{.error = {condition, error.text()}});
  }
  end_connection(error.error_class(), error.text());
}

void LinkMux::State::end_connection(ErrorClass error_class, std::string text) {
  ASSERT(phase_ != Phase::closed);
  phase_ = Phase::closed;
  drop_all_queues();
  Waiting& event = push_event(LinkEvent::Kind::closed);
  event.error_class = error_class;
  event.text = std::move(text);
}

// Not while a frame is being read: performatives borrow from the input.
void LinkMux::State::wipe_input() { input_.clear(); }

LinkMux::State::Waiting& LinkMux::State::push_event(LinkEvent::Kind kind, StreamId stream) {
  return events_.emplace_back(Waiting{.kind = kind, .stream = stream});
}

bool LinkMux::State::next_event(LinkEvent& event) {
  while (events_taken_ < events_.size()) {
    Waiting& waiting = events_[events_taken_++];
    const bool wanted = is_wanted(waiting);
    if (waiting.kind == LinkEvent::Kind::stream_released) {
      if (MuxStream* stream = find(waiting.stream)) streams_.erase(*stream);
    }
    if (!wanted) {
      waiting.bytes.clear();
      continue;
    }
    event.kind = waiting.kind;
    event.stream = waiting.stream;
    if (waiting.head) event.head = std::move(*waiting.head);
    event.bytes = std::move(waiting.bytes);
    event.count = waiting.count;
    event.text = std::move(waiting.text);
    if (waiting.kind == LinkEvent::Kind::closed) {
      event.error = Error(waiting.error_class, event.text);
    }
    return true;
  }
  events_.clear();
  events_taken_ = 0;
  return false;
}

// After reset() or refuse() by the owner, what had come before is no news any more.
bool LinkMux::State::is_wanted(const Waiting& event) {
  if (event.kind == LinkEvent::Kind::opened || event.kind == LinkEvent::Kind::closed) return true;
  const MuxStream* stream = find(event.stream);
  if (!stream) return false;
  switch (stream->telling) {
    case MuxStream::Telling::all: return true;
    case MuxStream::Telling::only_released: return event.kind == LinkEvent::Kind::stream_released;
    case MuxStream::Telling::nothing: return false;
  }
  return false;
}

}  // namespace istmo::codec
