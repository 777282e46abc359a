// The way of frames out: control frames first, then data frames as the scheduler says.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "dataplane/codec/link_mux_state.h"

namespace istmo::codec {
namespace {

constexpr uint32_t kHeaderBlockBytes = 4096;
constexpr uint32_t kDataFrameBytesMax = 16 * 1024;  // one TLS record
// Frame header, the longest transfer that send_data_frame() makes, header of the data section.
constexpr uint32_t kTransferBytesMax = 64;

}  // namespace

void FrameBuffer::make_room(uint32_t bytes) {
  if (!block_.empty() && block_.size() - end_ >= bytes) return;
  if (end_ > start_) full_.append(block_.share(start_, end_ - start_));
  block_ = io::Slice::allocate(std::max(kHeaderBlockBytes, bytes));
  start_ = end_ = 0;
}

void FrameBuffer::append(Bytes bytes) {
  make_room(static_cast<uint32_t>(bytes.size()));
  std::memcpy(block_.mutable_data() + end_, bytes.data(), bytes.size());
  end_ += static_cast<uint32_t>(bytes.size());
}

io::Slice FrameBuffer::place(Bytes bytes) {
  ASSERT(empty());
  append(bytes);
  const uint32_t at = start_;
  start_ = end_;
  return block_.share(at, end_ - at);
}

void FrameBuffer::take(io::Chain& out) {
  out.append(std::move(full_));
  if (end_ > start_) out.append(block_.share(start_, end_ - start_));
  start_ = end_;
}

void FrameBuffer::clear() {
  full_.clear();
  start_ = end_;
}

bool LinkMux::State::has_data_ready() const {
  return phase_ == Phase::ready && remote_window_ > 0 && !scheduler_.empty();
}

void LinkMux::State::take_output(io::Chain& out, uint64_t bytes_max, Instant now) {
  now_ = now;
  const uint64_t before = out.size();
  control_.take(out);
  while (out.size() < bytes_max && has_data_ready()) {
    auto& stream = static_cast<MuxStream&>(scheduler_.pick());
    const uint64_t frame_bytes = send_data_frame(stream, out);
    scheduler_.on_sent(stream, frame_bytes);
    update_ready(stream);
    complete_if_ended(stream);
    control_.take(out);  // a detach goes behind the last transfer
  }
  if (out.size() > before && heartbeat_at_ != Instant::never()) {
    heartbeat_at_ = now + heartbeat_interval_;
  }
}

uint32_t LinkMux::State::data_frame_bytes_max() const {
  return std::min(kDataFrameBytesMax, remote_frame_bytes_max_);
}

// One transfer: the head if it is due, then as much data as fits.
uint64_t LinkMux::State::send_data_frame(MuxStream& stream, io::Chain& out) {
  ASSERT(can_send(stream));
  if (stream.out == MuxStream::Out::head_waiting) begin_answer_or_request(stream);
  if (stream.out == MuxStream::Out::head_split) {
    const uint32_t room = remote_frame_bytes_max_ - kTransferBytesMax;
    const uint64_t piece = std::min<uint64_t>(
        stream.head_rest.size(), std::min(room, options_.frame_bytes_max - kTransferBytesMax));
    return put_frame(stream, stream.head_rest.take_front(piece), 0, out);
  }
  const uint32_t room = data_frame_bytes_max() - kTransferBytesMax;
  const auto head_bytes = static_cast<uint32_t>(head_scratch_.size());
  const uint64_t data_bytes =
      std::min<uint64_t>(sendable_bytes(stream), head_bytes < room ? room - head_bytes : 0);
  io::Chain data;
  if (data_bytes > 0) data = stream.queue.take_front(data_bytes);
  return put_frame(stream, std::move(data), static_cast<uint32_t>(data_bytes), out);
}

// Encodes the head. One that is longer than a frame may be is sent in pieces before the data.
void LinkMux::State::begin_answer_or_request(MuxStream& stream) {
  LinkEnd& link = *stream.sender;
  const bool is_opener = stream.side == MuxStream::Side::opener;
  HeadRouting routing{.to = is_opener ? std::string_view(stream.head->to) : link.address,
                      .reply_to = is_opener ? std::string_view(stream.receiver->address) : "",
                      .correlation_encoded = bytes_of(stream.correlation_encoded)};
  head_scratch_.clear();
  AmqpWriter out(head_scratch_);
  encode_head(*stream.head, routing, out);
  stream.head.reset();
  ASSERT(link.credit > 0 && link.delivery == LinkEnd::Delivery::none);
  --link.credit;
  ++link.delivery_count;
  link.delivery = LinkEnd::Delivery::beginning;
  link.delivery_id = next_delivery_++;
  outgoing_.emplace(link.delivery_id, &link);
  stream.out = MuxStream::Out::started;
  if (head_scratch_.size() + kTransferBytesMax > remote_frame_bytes_max_ ||
      head_scratch_.size() + kTransferBytesMax > options_.frame_bytes_max) {
    stream.out = MuxStream::Out::head_split;
    stream.head_rest.append(io::Slice::copy_of(head_scratch_));
    head_scratch_.clear();
  }
}

// `payload`: data_bytes octets of data, or else a piece of the head. A head that fits is in
// head_scratch_ and goes first.
uint64_t LinkMux::State::put_frame(MuxStream& stream, io::Chain&& payload, uint32_t data_bytes,
                                   io::Chain& out) {
  LinkEnd& link = *stream.sender;
  const bool is_first = link.delivery == LinkEnd::Delivery::beginning;
  link.delivery = LinkEnd::Delivery::active;
  link.octets += data_bytes;
  queued_bytes_ -= data_bytes;
  if (stream.head_rest.empty()) stream.out = MuxStream::Out::started;
  const bool is_last = stream.is_finish_asked && stream.queue.empty() && stream.head_rest.empty();
  Transfer transfer{.handle = link.handle, .more = !is_last};
  std::array<uint8_t, 4> tag;
  if (is_first) {
    transfer.delivery_id = static_cast<uint32_t>(link.delivery_id);
    store_big_endian(tag.data(), *transfer.delivery_id);
    transfer.delivery_tag = Bytes(tag);
    transfer.message_format = 0;
  }
  begin_frame(scratch_);
  AmqpWriter writer(scratch_);
  encode(transfer, writer);
  writer.raw(head_scratch_);
  head_scratch_.clear();
  if (data_bytes > 0) encode_data_section(data_bytes, writer);
  const auto payload_bytes = static_cast<uint32_t>(payload.size());
  end_frame(scratch_, FrameType::amqp, payload_bytes);
  const uint64_t frame_bytes = scratch_.size() + payload_bytes;
  out.append(control_.place(scratch_));
  out.append(std::move(payload));
  ++next_outgoing_id_;
  --remote_window_;
  if (is_last) {
    stream.out = MuxStream::Out::ended;
    link.delivery = LinkEnd::Delivery::none;
  }
  if (data_bytes > 0) push_event(LinkEvent::Kind::stream_drained, id_of(stream)).count = data_bytes;
  if (is_first && link.is_draining) drain_credit(link);
  return frame_bytes;
}

// The reason travels as the delivery's state: an aborted transfer has no other place for it.
void LinkMux::State::send_aborted_transfer(LinkEnd& link, const AmqpError& error) {
  send(Transfer{.handle = link.handle,
                .state = {.kind = DeliveryState::Kind::rejected, .error = error},
                .aborted = true});
  ++next_outgoing_id_;
  --remote_window_;
}

}  // namespace istmo::codec
