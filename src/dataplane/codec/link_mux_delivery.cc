// Incoming transfers: deliveries, their messages, the windows that they use.
#include <algorithm>
#include <utility>

#include "dataplane/codec/link_mux_state.h"

namespace istmo::codec {

Result<> LinkMux::State::on_transfer(const Transfer& transfer, io::Chain&& payload) {
  if (window_left_ == 0) return Error::protocol("transfer past the session window");
  --window_left_;
  ++next_incoming_id_;
  LinkEnd* link = find_by_remote_handle(transfer.handle);
  if (!link) return Error::protocol("transfer on a handle that is not attached");
  if (link->role != LinkEndRole::receiver) return Error::protocol("transfer against the direction");
  if (link->delivery == LinkEnd::Delivery::none) {
    TRY(begin_delivery(*link, transfer));
  } else if (transfer.delivery_id && *transfer.delivery_id != link->delivery_id) {
    return Error::protocol("transfer of another delivery before the end of the last");
  }
  if (transfer.settled.value_or(false)) link->is_settled = true;
  // The link stays, whatever becomes of its stream: the other side has not detached it.
  if (transfer.aborted) {
    on_aborted(*link, transfer);
    return {};
  }
  if (link->delivery == LinkEnd::Delivery::active) {
    link->reader.feed(std::move(payload));
    on_parts(*link);
    count_head(*link);
  }
  if (!transfer.more) on_delivery_end(*link);
  return {};
}

Result<> LinkMux::State::begin_delivery(LinkEnd& link, const Transfer& transfer) {
  if (!transfer.delivery_id) return Error::protocol("first transfer without a delivery-id");
  // 2.8.7: ids of deliveries are a sequence of the session.
  if (has_incoming_delivery_ && *transfer.delivery_id != incoming_delivery_id_) {
    return Error::protocol("delivery-id out of sequence");
  }
  if (transfer.delivery_tag && transfer.delivery_tag->size() > 32) {
    return Error::protocol("delivery-tag too long");
  }
  has_incoming_delivery_ = true;
  incoming_delivery_id_ = *transfer.delivery_id + 1;
  link.delivery_id = *transfer.delivery_id;
  link.is_settled = false;
  link.delivery = LinkEnd::Delivery::discarded;
  if (!link.is_attached()) return {};  // it was under way when we detached
  if (link.credit == 0) return Error::protocol("delivery without credit");
  link.delivery = LinkEnd::Delivery::active;
  --link.credit;
  ++link.delivery_count;
  if (!link.stream && streams_open_ >= options_.streams_max) {
    ++refusals_.links_too_many;
    reject_delivery(link, "amqp:resource-limit-exceeded", "too many streams");
    return {};
  }
  if (!link.stream) {  // a further message on a link of a program that keeps its links
    MuxStream& stream = add_stream(MuxStream::Side::acceptor);
    stream.receiver = &link;
    link.stream = &stream;
    Waiting& event = push_event(LinkEvent::Kind::stream_requested, id_of(stream));
    event.head = std::make_unique<StreamHead>();
    event.head->to = link.address;
  }
  link.stream->in = MuxStream::In::started;
  link.reader.begin();
  wait_for(link, LinkEnd::Missing::head);
  if (transfer.message_format.value_or(0) != 0) {
    reject_delivery(link, "amqp:not-implemented", "another message-format than 0");
  }
  return {};
}

// Gives on what the message reader has. The delivery may be rejected by that.
void LinkMux::State::on_parts(LinkEnd& link) {
  while (link.delivery == LinkEnd::Delivery::active) {
    io::Chain data;
    const auto part = link.reader.next(data);
    if (!part) {
      const bool is_unsupported = part.error().error_class() == ErrorClass::refused;
      return reject_delivery(link, is_unsupported ? "amqp:not-implemented" : "amqp:decode-error",
                             part.error().text());
    }
    switch (*part) {
      case MessageReader::Part::nothing: return;
      case MessageReader::Part::head: on_message_head(link); break;
      case MessageReader::Part::data: on_message_data(link, std::move(data)); break;
    }
  }
}

// Byte credit counts data only: what waits of heads has a bound of its own.
void LinkMux::State::count_head(LinkEnd& link) {
  held_head_bytes_ -= link.held_head_bytes;
  link.held_head_bytes = link.reader.held_bytes();
  held_head_bytes_ += link.held_head_bytes;
  if (held_head_bytes_ <= options_.head_bytes_max || link.held_head_bytes == 0) return;
  ++refusals_.heads_too_large;
  reject_delivery(link, "amqp:resource-limit-exceeded", "too much of message heads is incomplete");
}

// What was read of a head is of no use any more.
void LinkMux::State::forget_head(LinkEnd& link) {
  link.reader.clear();
  held_head_bytes_ -= link.held_head_bytes;
  link.held_head_bytes = 0;
}

void LinkMux::State::on_message_head(LinkEnd& link) {
  MuxStream& stream = *link.stream;
  auto message = link.reader.take_head();
  wait_for(link, LinkEnd::Missing::nothing);
  if (stream.side == MuxStream::Side::opener) {
    Waiting& event = push_event(LinkEvent::Kind::stream_answered, id_of(stream));
    event.head = std::make_unique<StreamHead>(std::move(message->head));
    return;
  }
  LinkEnd* answer = find_link("istmo.reply.", message->reply_to);
  if (!answer || answer->origin != LinkEnd::Origin::theirs || answer->role != LinkEndRole::sender ||
      !answer->is_attached()) {
    return reject_delivery(link, "amqp:not-found", "reply-to names no link of this connection");
  }
  if (answer->stream) {
    return reject_delivery(link, "amqp:resource-locked", "reply-to is in use");
  }
  wait_for(*answer, LinkEnd::Missing::nothing);
  answer->stream = &stream;
  stream.sender = answer;
  stream.correlation_encoded = std::move(message->correlation_encoded);
  Waiting& event = push_event(LinkEvent::Kind::stream_opened, id_of(stream));
  event.head = std::make_unique<StreamHead>(std::move(message->head));
  event.head->to = link.address;
  update_ready(stream);
}

void LinkMux::State::on_message_data(LinkEnd& link, io::Chain&& data) {
  MuxStream& stream = *link.stream;
  link.octets += data.size();
  if (remote_.has_byte_credit) {
    if (link.octets > link.limit) {
      end_abnormally(stream, {.condition = "istmo:limit-exceeded",
                              .text = "more octets than were granted",
                              .telling = MuxStream::Telling::all});
      return;
    }
  } else {
    stream.undrained_bytes += data.size();
    ++stream.undrained_frames;
    ++undrained_frames_;
  }
  push_event(LinkEvent::Kind::stream_data, id_of(stream)).bytes = std::move(data);
}

void LinkMux::State::on_delivery_end(LinkEnd& link) {
  if (link.delivery == LinkEnd::Delivery::active) {
    link.reader.finish();
    on_parts(link);
  }
  const bool is_whole = link.delivery == LinkEnd::Delivery::active;
  link.delivery = LinkEnd::Delivery::none;
  forget_head(link);
  if (is_whole) {
    if (!link.is_settled) {
      send(Disposition{.role = LinkEndRole::receiver,
                       .first = static_cast<uint32_t>(link.delivery_id),
                       .settled = true,
                       .state = {.kind = DeliveryState::Kind::accepted}});
    }
    MuxStream& stream = *link.stream;
    stream.in = MuxStream::In::ended;
    push_event(LinkEvent::Kind::stream_ended, id_of(stream));
    return complete_if_ended(stream);
  }
  let_send_again(link);
}

void LinkMux::State::on_aborted(LinkEnd& link, const Transfer& transfer) {
  const bool is_news = link.delivery == LinkEnd::Delivery::active;
  link.delivery = LinkEnd::Delivery::none;  // 2.7.5: aborted means settled
  forget_head(link);
  if (is_news && link.stream) {
    const AmqpError& error = transfer.state.error;
    const std::string reason(error.description.empty() ? "delivery was aborted"
                                                       : error.description.substr(0, 512));
    end_abnormally(
        *link.stream,
        {.condition = kResetCondition, .text = reason, .telling = MuxStream::Telling::all});
  }
  let_send_again(link);
}

// A program that keeps its links gets credit for one message after the other.
void LinkMux::State::let_send_again(LinkEnd& link) {
  if (remote_.has_byte_credit || link.origin == LinkEnd::Origin::ours) return;
  if (!link.is_attached() || link.stream || link.credit > 0) return;
  if (link.delivery == LinkEnd::Delivery::none) give_credit(link);
}

// Ends a delivery that makes no stream, or the stream that it is.
void LinkMux::State::reject_delivery(LinkEnd& link, std::string_view condition,
                                     std::string_view text) {
  if (link.stream) {
    end_abnormally(*link.stream,
                   {.condition = condition, .text = text, .telling = MuxStream::Telling::all});
    return;
  }
  link.delivery = LinkEnd::Delivery::discarded;
  if (link.is_settled) return;
  send(Disposition{.role = LinkEndRole::receiver,
                   .first = static_cast<uint32_t>(link.delivery_id),
                   .settled = true,
                   .state = {.kind = DeliveryState::Kind::rejected, .error = {condition, text}}});
}

// --- the session's window

// Transfers that the other side may send from now on. Towards Istmo sites byte credit bounds
// memory; others are held back by what their streams have not drained.
uint32_t LinkMux::State::free_window_frames() const {
  if (remote_.has_byte_credit) return kCapableWindowFrames;
  return kForeignWindowFrames - std::min(undrained_frames_, kForeignWindowFrames);
}

void LinkMux::State::announce_window_if_due() {
  if (phase_ != Phase::ready) return;
  const uint32_t free = free_window_frames();
  const uint32_t whole = remote_.has_byte_credit ? kCapableWindowFrames : kForeignWindowFrames;
  if (free <= window_left_) return;
  if (free - window_left_ >= whole / 2 || window_left_ <= whole / 4) send_session_flow();
}

}  // namespace istmo::codec
