// Streams: opening, answering, writing, ending, and the credit that they give.
#include <algorithm>
#include <utility>

#include "dataplane/codec/link_mux_state.h"

namespace istmo::codec {

// --- ids

StreamId LinkMux::State::id_of(MuxStream& stream) {
  const auto handle = streams_.handle_of(stream);
  return StreamId(uint64_t{handle.generation} << 32 | handle.slot);
}

MuxStream* LinkMux::State::find(StreamId id) {
  return streams_.get({.slot = static_cast<uint32_t>(id.number()),
                       .generation = static_cast<uint32_t>(id.number() >> 32)});
}

MuxStream* LinkMux::State::find_live(StreamId id) {
  if (phase_ != Phase::ready) return nullptr;
  MuxStream* stream = find(id);
  return stream && stream->phase < MuxStream::Phase::over ? stream : nullptr;
}

MuxStream& LinkMux::State::add_stream(MuxStream::Side side) {
  ++streams_open_;
  return streams_.emplace(side);
}

// --- verbs of the owner

Result<StreamId> LinkMux::State::open_stream(StreamHead head) {
  if (phase_ != Phase::ready) return Error::closed("the link is not open");
  if (streams_open_ >= options_.streams_max) return Error::limit("too many streams on a link");
  if (head.to.empty() || head.to.size() > kAddressBytesMax) {
    return Error::limit("routing key is empty or too long");
  }
  const uint64_t handles_after = by_handle_.size() + 2 - std::min<size_t>(free_handles_.size(), 2);
  if (handles_after > uint64_t{std::min(remote_handle_max_, handle_max_)} + 1) {
    return Error::limit("the other side accepts no more AMQP links");
  }
  MuxStream& stream = add_stream(MuxStream::Side::opener);
  stream.phase = MuxStream::Phase::admitted;
  stream.out = MuxStream::Out::head_waiting;
  stream.head = std::make_unique<StreamHead>(std::move(head));
  stream.sender = &attach_ours(LinkEndRole::sender, stream, stream.head->to);
  stream.receiver = &attach_ours(LinkEndRole::receiver, stream, {});
  return id_of(stream);
}

void LinkMux::State::admit(MuxStream& stream) {
  if (stream.phase != MuxStream::Phase::requested) return;
  stream.phase = MuxStream::Phase::admitted;
  LinkEnd& link = *stream.receiver;
  if (link.here != LinkEnd::Half::none) return;  // a further message: it has its credit
  answer_attach(link);
  give_credit(link);
}

void LinkMux::State::refuse(MuxStream& stream, std::string_view condition, std::string_view text) {
  end_abnormally(stream,
                 {.condition = condition, .text = text, .telling = MuxStream::Telling::nothing});
}

void LinkMux::State::answer(MuxStream& stream, StreamHead head) {
  ASSERT(stream.side == MuxStream::Side::acceptor);
  ASSERT(stream.out == MuxStream::Out::none);
  stream.head = std::make_unique<StreamHead>(std::move(head));
  stream.out = MuxStream::Out::head_waiting;
  update_ready(stream);
}

void LinkMux::State::write(MuxStream& stream, io::Chain&& bytes) {
  ASSERT(!stream.is_finish_asked);
  if (stream.out == MuxStream::Out::none) answer(stream, {});
  queued_bytes_ += bytes.size();
  // What is queued behind other octets waits for credit or for its turn.
  if (stream.queue.empty()) stream.queue.append(std::move(bytes));
  else stream.queue.append_compacted(std::move(bytes));
  update_ready(stream);
}

void LinkMux::State::finish(MuxStream& stream) {
  ASSERT(!stream.is_finish_asked);
  if (stream.out == MuxStream::Out::none) answer(stream, {});
  stream.is_finish_asked = true;
  update_ready(stream);
}

void LinkMux::State::reset(MuxStream& stream, std::string_view reason) {
  end_abnormally(
      stream,
      {.condition = kResetCondition, .text = reason, .telling = MuxStream::Telling::only_released});
}

void LinkMux::State::grant(MuxStream& stream, uint64_t count) {
  LinkEnd& link = *stream.receiver;
  if (!remote_.has_byte_credit) {
    // Frames are freed in proportion to the octets that were drained.
    const uint64_t drained = std::min(count, stream.undrained_bytes);
    if (drained == 0) return;
    const auto frames =
        static_cast<uint32_t>(stream.undrained_frames * drained / stream.undrained_bytes);
    stream.undrained_bytes -= drained;
    stream.undrained_frames -= frames;
    undrained_frames_ -= frames;
    return announce_window_if_due();
  }
  link.granted += count;
  ASSERT(link.granted <= link.octets + options_.window_bytes);  // granted more than was given
  if (stream.in == MuxStream::In::ended || link.here != LinkEnd::Half::attached) return;
  const uint64_t waiting = link.granted - link.limit;
  const uint64_t left = link.limit - link.octets;
  const bool is_half = waiting >= options_.window_bytes / 2 && waiting > 0;
  const bool is_starving = left < kQuantumBytes && waiting >= kQuantumBytes;
  if (!is_half && !is_starving) return;
  link.limit = link.granted;
  send_link_flow(link);
}

std::vector<StreamCredit> LinkMux::State::credits() {
  std::vector<StreamCredit> credits;
  streams_.for_each([&](MuxStream& stream) {
    if (stream.phase >= MuxStream::Phase::over) return;
    StreamCredit credit{.stream = id_of(stream), .queued_bytes = stream.queue.size()};
    if (const LinkEnd* sender = stream.sender) {
      credit.send_bytes = static_cast<int64_t>(sender->limit - sender->octets);
      credit.send_deliveries = sender->credit;
    }
    if (const LinkEnd* receiver = stream.receiver) {
      credit.receive_bytes = static_cast<int64_t>(receiver->granted - receiver->octets);
      credit.receive_announced_bytes = static_cast<int64_t>(receiver->limit - receiver->octets);
      credit.receive_deliveries = receiver->credit;
    }
    credits.push_back(credit);
  });
  return credits;
}

// --- what may be sent

uint64_t LinkMux::State::sendable_bytes(const MuxStream& stream) const {
  if (!remote_.has_byte_credit) return stream.queue.size();
  const LinkEnd& link = *stream.sender;
  return std::min(stream.queue.size(), link.limit > link.octets ? link.limit - link.octets : 0);
}

bool LinkMux::State::can_send(const MuxStream& stream) const {
  if (stream.phase != MuxStream::Phase::admitted) return false;
  if (!stream.sender || !stream.sender->is_attached()) return false;
  switch (stream.out) {
    case MuxStream::Out::none:
    case MuxStream::Out::ended: return false;
    case MuxStream::Out::head_split: return true;
    case MuxStream::Out::head_waiting:
      if (stream.sender->credit == 0) return false;
      if (stream.side == MuxStream::Side::acceptor) return true;
      // The head names the receiver's address.
      return stream.receiver && stream.receiver->is_attached() && !stream.receiver->address.empty();
    case MuxStream::Out::started:
      return sendable_bytes(stream) > 0 || (stream.is_finish_asked && stream.queue.empty());
  }
  return false;
}

void LinkMux::State::update_ready(MuxStream& stream) {
  if (can_send(stream)) {
    scheduler_.on_ready(stream, sendable_bytes(stream));
  } else if (stream.queue.empty()) {
    scheduler_.on_idle(stream);
  } else {
    scheduler_.on_blocked(stream);
  }
}

// --- ends

void LinkMux::State::complete_if_ended(MuxStream& stream) {
  if (stream.phase != MuxStream::Phase::admitted) return;
  if (stream.out != MuxStream::Out::ended || stream.in != MuxStream::In::ended) return;
  stream.phase = MuxStream::Phase::over;
  drop_queues(stream);
  LinkEnd* sender = stream.sender;
  LinkEnd* receiver = stream.receiver;
  outgoing_.erase(sender->delivery_id);
  if (stream.side == MuxStream::Side::opener) {
    detach(*sender, {});
    return detach(*receiver, {});  // stream_released when the other side has detached too
  }
  let_go_of_links(stream);
  release_if_over(stream);
  if (!has_too_many_idle_links()) return let_send_again(*receiver);
  ++refusals_.links_too_many;
  detach(*sender, {"amqp:resource-limit-exceeded", "too many links"});
  detach(*receiver, {"amqp:resource-limit-exceeded", "too many links"});
}

// Both directions are over, whatever they were doing; says so to the other side.
void LinkMux::State::end_abnormally(MuxStream& stream, Ending ending) {
  ASSERT(stream.phase < MuxStream::Phase::over);
  stream.phase = MuxStream::Phase::over;
  drop_queues(stream);
  stream.telling = ending.telling;
  if (ending.telling == MuxStream::Telling::all) {
    push_event(LinkEvent::Kind::stream_reset, id_of(stream)).text = ending.text;
  }
  const AmqpError error{ending.condition, ending.text};
  const bool is_opener = stream.side == MuxStream::Side::opener;
  const Told rejected = reject_receiver(stream, error);
  const Told aborted = abort_sender(stream, error);
  // Only programs that keep their links keep them here, and only if they learn of the end.
  const bool must_detach = is_opener || remote_.has_byte_credit || rejected == Told::unable ||
                           aborted == Told::unable ||
                           (rejected == Told::nothing && aborted == Told::nothing);
  LinkEnd* sender = stream.sender;
  LinkEnd* receiver = stream.receiver;
  if (!is_opener) {
    let_go_of_links(stream);
    release_if_over(stream);
  }
  if (!must_detach && !has_too_many_idle_links()) return let_send_again(*receiver);
  if (receiver) detach(*receiver, error);
  if (sender) detach(*sender, error);
}

LinkMux::State::Told LinkMux::State::reject_receiver(MuxStream& stream, const AmqpError& error) {
  LinkEnd* link = stream.receiver;
  if (!link || link->delivery != LinkEnd::Delivery::active) return Told::nothing;
  link->delivery = LinkEnd::Delivery::discarded;
  forget_head(*link);
  if (link->here != LinkEnd::Half::attached || link->is_settled) return Told::unable;
  send(Disposition{.role = LinkEndRole::receiver,
                   .first = static_cast<uint32_t>(link->delivery_id),
                   .settled = true,
                   .state = {.kind = DeliveryState::Kind::rejected, .error = error}});
  return Told::told;
}

LinkMux::State::Told LinkMux::State::abort_sender(MuxStream& stream, const AmqpError& error) {
  LinkEnd* link = stream.sender;
  if (!link) return Told::nothing;
  if (const auto found = outgoing_.find(link->delivery_id);
      found != outgoing_.end() && found->second == link) {
    outgoing_.erase(found);
  }
  if (link->delivery != LinkEnd::Delivery::active) return Told::nothing;
  link->delivery = LinkEnd::Delivery::none;
  if (link->here != LinkEnd::Half::attached || remote_window_ == 0) return Told::unable;
  send_aborted_transfer(*link, error);
  return Told::told;
}

void LinkMux::State::let_go_of_links(MuxStream& stream) {
  for (LinkEnd* link : {stream.sender, stream.receiver}) {
    if (!link) continue;
    link->stream = nullptr;
    const bool stays = link->origin == LinkEnd::Origin::theirs && link->is_attached();
    wait_for(*link, stays ? LinkEnd::Missing::message : LinkEnd::Missing::nothing);
  }
  stream.sender = stream.receiver = nullptr;
}

// The id is gone when its last event has been taken.
void LinkMux::State::release_if_over(MuxStream& stream) {
  if (stream.phase != MuxStream::Phase::over || stream.sender || stream.receiver) return;
  stream.phase = MuxStream::Phase::released;
  --streams_open_;
  if (stream.telling == MuxStream::Telling::nothing) return streams_.erase(stream);
  push_event(LinkEvent::Kind::stream_released, id_of(stream));
}

void LinkMux::State::drop_queues(MuxStream& stream) {
  scheduler_.on_idle(stream);
  queued_bytes_ -= stream.queue.size();
  stream.queue.clear();
  stream.head_rest.clear();
  stream.head.reset();
  undrained_frames_ -= stream.undrained_frames;
  stream.undrained_frames = 0;
  stream.undrained_bytes = 0;
}

void LinkMux::State::drop_all_queues() {
  streams_.for_each([this](MuxStream& stream) { drop_queues(stream); });
}

}  // namespace istmo::codec
