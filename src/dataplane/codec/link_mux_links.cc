// Links: attach, detach, flow, disposition; handles, names and dynamic addresses.
#include <algorithm>
#include <charconv>
#include <utility>

#include "dataplane/codec/link_mux_state.h"

namespace istmo::codec {
namespace {

constexpr std::string_view kReplyPrefix = "istmo.reply.";

// Texts from outside end up in events and in errors of ours: bounded.
std::string bounded(std::string_view text) { return std::string(text.substr(0, 512)); }

std::string reason_of(const AmqpError& error, std::string_view otherwise) {
  if (error.condition.empty()) return std::string(otherwise);
  if (error.condition == kResetCondition) return bounded(error.description);
  if (error.description.empty()) return bounded(error.condition);
  return bounded(error.condition) + ": " + bounded(error.description);
}

void append_hex(std::string& text, uint32_t number) {
  std::array<char, 8> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
  text.append(digits.data(), end);
}

}  // namespace

// --- names

std::string LinkMux::State::link_name(LinkEnd& link) {
  const auto handle = links_.handle_of(link);
  std::string name(options_.role == LinkRole::dialer ? "istmo.d." : "istmo.a.");
  append_hex(name, handle.slot);
  name += '.';
  append_hex(name, handle.generation);
  return name;
}

std::string LinkMux::State::dynamic_address(LinkEnd& link) {
  const auto handle = links_.handle_of(link);
  std::string address(kReplyPrefix);
  append_hex(address, handle.slot);
  address += '.';
  append_hex(address, handle.generation);
  return address;
}

// The link end that a name or address of ours names: prefix, slot, dot, generation.
LinkEnd* LinkMux::State::find_link(std::string_view prefix, std::string_view text) {
  if (!text.starts_with(prefix)) return nullptr;
  text.remove_prefix(prefix.size());
  Handle<LinkEnd> handle;
  const char* end = text.data() + text.size();
  const auto slot = std::from_chars(text.data(), end, handle.slot, 16);
  if (slot.ec != std::errc() || slot.ptr == end || *slot.ptr != '.') return nullptr;
  const auto generation = std::from_chars(slot.ptr + 1, end, handle.generation, 16);
  if (generation.ec != std::errc() || generation.ptr != end) return nullptr;
  return links_.get(handle);
}

LinkEnd* LinkMux::State::find_by_remote_handle(uint32_t handle) {
  return handle < by_remote_handle_.size() ? by_remote_handle_[handle] : nullptr;
}

// kNoHandle when the other side accepts no more.
uint32_t LinkMux::State::allocate_handle() {
  if (!free_handles_.empty()) {
    const uint32_t handle = free_handles_.back();
    free_handles_.pop_back();
    return handle;
  }
  const auto handle = static_cast<uint32_t>(by_handle_.size());
  if (handle > remote_handle_max_ || handle > handle_max_) return kNoHandle;
  by_handle_.push_back(nullptr);
  return handle;
}

// --- waiting for the other side

void LinkMux::State::wait_for(LinkEnd& link, LinkEnd::Missing what) {
  idle_links_ -= link.missing == LinkEnd::Missing::message;
  idle_links_ += what == LinkEnd::Missing::message;
  link.missing = what;
  link.unlink();
  const bool may_take_long = what == LinkEnd::Missing::message && !remote_.has_byte_credit;
  if (what == LinkEnd::Missing::nothing || may_take_long) return;
  link.missing_since = now_;
  late_next_.push_back(link);
}

bool LinkMux::State::has_too_many_idle_links() const {
  return !remote_.has_byte_credit && idle_links_ > options_.idle_links_max;
}

void LinkMux::State::end_what_is_late() {
  while (LinkEnd* link = late_next_.first()) {
    if (now_ < link->missing_since + options_.head_timeout) return;
    const bool is_head = link->missing == LinkEnd::Missing::head;
    const std::string_view text =
        is_head ? "the head of a message did not come in time" : "no message came in time";
    ++refusals_.links_too_late;
    wait_for(*link, LinkEnd::Missing::nothing);
    if (link->stream) {
      end_abnormally(*link->stream, {.condition = "amqp:link:detach-forced",
                                     .text = text,
                                     .telling = MuxStream::Telling::all});
    } else {
      detach(*link, {"amqp:link:detach-forced", text});
    }
  }
}

LinkMuxUse LinkMux::State::use() const {
  const auto is_used = [](const LinkEnd* link) { return link != nullptr; };
  return {
      .streams = streams_.size(),
      .links = links_.size(),
      .handles = static_cast<uint32_t>(std::ranges::count_if(by_handle_, is_used)),
      .remote_handles = static_cast<uint32_t>(std::ranges::count_if(by_remote_handle_, is_used)),
      .deliveries = static_cast<uint32_t>(outgoing_.size())};
}

// --- attach

// The first half of a stream's link; the other side's attach makes the other half.
LinkEnd& LinkMux::State::attach_ours(LinkEndRole role, MuxStream& stream,
                                     std::string_view address) {
  LinkEnd& link = links_.emplace();
  link.role = role;
  link.here = LinkEnd::Half::attached;
  link.stream = &stream;
  link.handle = allocate_handle();
  by_handle_[link.handle] = &link;
  const std::string name = link_name(link);
  Attach attach{.name = name, .handle = link.handle, .role = role};
  attach.source.kind = attach.target.kind = Terminus::Kind::node;
  if (role == LinkEndRole::sender) {
    attach.target.address = address;
    attach.initial_delivery_count = 0;
  } else {
    attach.source.is_dynamic = true;
    link.limit = link.granted = options_.window_bytes;
    if (remote_.has_byte_credit) attach.byte_limit = link.limit;
  }
  send(attach);
  if (role == LinkEndRole::receiver) give_credit(link);
  return link;
}

Result<> LinkMux::State::on_attach(const Attach& attach) {
  if (attach.handle > handle_max_) return Error::protocol("link handle above handle-max");
  if (find_by_remote_handle(attach.handle)) return Error::protocol("link handle is in use");
  if (attach.name.size() > kLinkNameBytesMax) return Error::protocol("link name too long");
  if (attach.handle >= by_remote_handle_.size()) by_remote_handle_.resize(attach.handle + 1);
  const bool is_dialer = options_.role == LinkRole::dialer;
  LinkEnd* link = find_link(is_dialer ? "istmo.d." : "istmo.a.", attach.name);
  if (link && link->origin == LinkEnd::Origin::ours && link->there == LinkEnd::Half::none &&
      link->role != attach.role) {
    return on_attach_answer(*link, attach);
  }
  return on_attach_request(attach);
}

Result<> LinkMux::State::on_attach_answer(LinkEnd& link, const Attach& attach) {
  link.there = LinkEnd::Half::attached;
  link.remote_handle = attach.handle;
  by_remote_handle_[attach.handle] = &link;
  MuxStream* stream = link.stream;
  if (link.here != LinkEnd::Half::attached || !stream) return {};
  if (link.role == LinkEndRole::sender) {
    // A null target: refused; the detach that follows tells why (2.6.3).
    if (attach.target.kind == Terminus::Kind::null) link.credit = 0;
    link.limit = std::max(link.limit, attach.byte_limit.value_or(0));
  } else {
    link.delivery_count = attach.initial_delivery_count.value_or(0);
    const auto address = attach.source.address.value_or("");
    if (attach.source.kind == Terminus::Kind::null) return {};
    if (address.empty() || address.size() > kAddressBytesMax) {
      end_abnormally(*stream, {.condition = "amqp:invalid-field",
                               .text = "dynamic source without an address",
                               .telling = MuxStream::Telling::all});
      return {};
    }
    link.address = address;
  }
  update_ready(*stream);
  return {};
}

Result<> LinkMux::State::on_attach_request(const Attach& attach) {
  LinkEnd& link = links_.emplace();
  link.origin = LinkEnd::Origin::theirs;
  link.role = attach.role == LinkEndRole::sender ? LinkEndRole::receiver : LinkEndRole::sender;
  link.there = LinkEnd::Half::attached;
  link.remote_handle = attach.handle;
  link.name = attach.name;
  by_remote_handle_[attach.handle] = &link;
  ++links_of_theirs_;
  link.handle = allocate_handle();
  if (link.handle == kNoHandle) return Error::limit("no link handle is left for an answer");
  by_handle_[link.handle] = &link;
  wait_for(link, LinkEnd::Missing::message);
  if (links_of_theirs_ > uint64_t{options_.streams_max} * 2 || has_too_many_idle_links()) {
    ++refusals_.links_too_many;
    refuse_attach(link, {"amqp:resource-limit-exceeded", "too many links"});
  } else if (link.role == LinkEndRole::receiver) {
    on_sender_request(link, attach);
  } else {
    on_receiver_request(link, attach);
  }
  return {};
}

// A sender of theirs: its target is a routing key. The owner decides.
void LinkMux::State::on_sender_request(LinkEnd& link, const Attach& attach) {
  const auto address = attach.target.address.value_or("");
  if (attach.target.kind == Terminus::Kind::coordinator) {
    return refuse_attach(link, {"amqp:not-implemented", "no transactions here"});
  }
  if (address.empty() || address.size() > kAddressBytesMax || attach.target.is_dynamic) {
    return refuse_attach(link, {"amqp:invalid-field", "the target must name a routing key"});
  }
  if (streams_open_ >= options_.streams_max) {
    ++refusals_.links_too_many;
    return refuse_attach(link, {"amqp:resource-limit-exceeded", "too many streams"});
  }
  link.address = address;
  link.delivery_count = attach.initial_delivery_count.value_or(0);
  link.limit = link.granted = options_.window_bytes;
  MuxStream& stream = add_stream(MuxStream::Side::acceptor);
  stream.receiver = &link;
  link.stream = &stream;
  Waiting& event = push_event(LinkEvent::Kind::stream_requested, id_of(stream));
  event.head = std::make_unique<StreamHead>();
  event.head->to = link.address;
}

// A receiver of theirs: gets an address, which a message may name as reply-to.
void LinkMux::State::on_receiver_request(LinkEnd& link, const Attach& attach) {
  if (attach.source.kind != Terminus::Kind::node || !attach.source.is_dynamic) {
    return refuse_attach(link, {"amqp:not-implemented", "the source must be dynamic"});
  }
  link.limit = attach.byte_limit.value_or(0);
  link.address = dynamic_address(link);
  answer_attach(link);
}

void LinkMux::State::answer_attach(LinkEnd& link) {
  ASSERT(link.here == LinkEnd::Half::none);
  link.here = LinkEnd::Half::attached;
  Attach attach{.name = link.name, .handle = link.handle, .role = link.role};
  attach.source.kind = attach.target.kind = Terminus::Kind::node;
  if (link.role == LinkEndRole::sender) {
    attach.initial_delivery_count = 0;
    attach.source.address = link.address;
    attach.source.is_dynamic = true;
  } else {
    attach.target.address = link.address;
    if (remote_.has_byte_credit) attach.byte_limit = link.limit;
  }
  send(attach);
  link.name = std::string();
}

// 2.6.3: an attach is refused by an answer without source or target, and a detach behind it.
void LinkMux::State::refuse_attach(LinkEnd& link, AmqpError error) {
  ASSERT(link.here == LinkEnd::Half::none);
  Attach attach{.name = link.name, .handle = link.handle, .role = link.role};
  if (link.role == LinkEndRole::sender) {
    attach.initial_delivery_count = 0;
    attach.target.kind = Terminus::Kind::node;
  } else {
    attach.source.kind = Terminus::Kind::node;
  }
  send(attach);
  link.here = LinkEnd::Half::attached;
  link.name = std::string();
  detach(link, error);
}

// --- detach

// Ends our half, if it has not ended. The link may be gone afterwards.
void LinkMux::State::detach(LinkEnd& link, AmqpError error) {
  if (link.here == LinkEnd::Half::none) return refuse_attach(link, error);
  if (link.here == LinkEnd::Half::attached) {
    send(Detach{.handle = link.handle, .closed = true, .error = error});
    link.here = LinkEnd::Half::detached;
    link.address = std::string();
    wait_for(link, LinkEnd::Missing::nothing);
  }
  erase_link_if_gone(link);
}

void LinkMux::State::erase_link_if_gone(LinkEnd& link) {
  if (link.here != LinkEnd::Half::detached || link.there != LinkEnd::Half::detached) return;
  MuxStream* stream = link.stream;
  if (stream) {
    if (stream->sender == &link) stream->sender = nullptr;
    if (stream->receiver == &link) stream->receiver = nullptr;
  }
  by_handle_[link.handle] = nullptr;
  free_handles_.push_back(link.handle);
  if (link.origin == LinkEnd::Origin::theirs) --links_of_theirs_;
  forget_head(link);
  links_.erase(link);
  if (stream) release_if_over(*stream);
}

Result<> LinkMux::State::on_detach(const Detach& frame) {
  LinkEnd* link = find_by_remote_handle(frame.handle);
  if (!link) return Error::protocol("detach of a handle that is not attached");
  by_remote_handle_[frame.handle] = nullptr;
  link->there = LinkEnd::Half::detached;
  MuxStream* stream = link->stream;
  const bool is_in_use = stream && stream->phase < MuxStream::Phase::over;
  if (is_in_use) {
    const std::string reason = reason_of(frame.error, "link was detached");
    const auto handle = links_.handle_of(*link);
    end_abnormally(
        *stream,
        {.condition = kResetCondition, .text = reason, .telling = MuxStream::Telling::all});
    link = links_.get(handle);
    if (!link) return {};
  }
  detach(*link, {});
  return {};
}

// --- flow

Flow LinkMux::State::session_flow() {
  window_left_ = free_window_frames();
  return Flow{.next_incoming_id = next_incoming_id_,
              .incoming_window = window_left_,
              .next_outgoing_id = next_outgoing_id_,
              .outgoing_window = kOutgoingWindowFrames};
}

void LinkMux::State::send_session_flow() { send(session_flow()); }

void LinkMux::State::send_link_flow(LinkEnd& link) {
  Flow flow = session_flow();
  flow.handle = link.handle;
  flow.link_credit = link.credit;
  // 2.7.4: a receiver does not know the count before the sender's attach.
  if (link.there != LinkEnd::Half::none) flow.delivery_count = link.delivery_count;
  if (link.role == LinkEndRole::receiver && remote_.has_byte_credit) flow.byte_limit = link.limit;
  if (link.role == LinkEndRole::sender) flow.drain = link.is_draining;
  send(flow);
}

void LinkMux::State::give_credit(LinkEnd& link) {
  link.credit = 1;
  send_link_flow(link);
}

Result<> LinkMux::State::on_flow(const Flow& flow) {
  // 2.5.6: what is under way is not yet counted by the other side.
  const uint32_t seen = flow.next_incoming_id.value_or(options_.first_sequence_number);
  const auto under_way = static_cast<int32_t>(next_outgoing_id_ - seen);
  if (under_way < 0) return Error::protocol("flow counts transfers that were not sent");
  const auto sent = static_cast<uint32_t>(under_way);
  remote_window_ = flow.incoming_window > sent ? flow.incoming_window - sent : 0;
  if (!flow.handle) {
    if (flow.echo) send_session_flow();
    return {};
  }
  LinkEnd* link = find_by_remote_handle(*flow.handle);
  if (!link) return Error::protocol("flow on a handle that is not attached");
  if (link->here == LinkEnd::Half::attached) on_link_flow(*link, flow);
  return {};
}

void LinkMux::State::on_link_flow(LinkEnd& link, const Flow& flow) {
  if (link.role == LinkEndRole::receiver) {
    // A sender may use up credit without deliveries.
    if (flow.delivery_count && link.delivery == LinkEnd::Delivery::none) {
      const uint32_t used = *flow.delivery_count - link.delivery_count;
      if (used > 0 && used <= link.credit) {
        link.credit -= used;
        link.delivery_count += used;
      }
    }
    if (flow.echo) send_link_flow(link);
    return;
  }
  const auto credit = static_cast<int32_t>(flow.delivery_count.value_or(0) + flow.link_credit -
                                           link.delivery_count);
  link.credit = credit > 0 ? static_cast<uint32_t>(credit) : 0;
  link.is_draining = flow.drain;
  if (flow.byte_limit) link.limit = std::max(link.limit, *flow.byte_limit);
  if (link.stream) update_ready(*link.stream);
  const bool is_about_to_begin =
      link.stream && link.stream->out == MuxStream::Out::head_waiting && can_send(*link.stream);
  if (link.is_draining && !is_about_to_begin) return drain_credit(link);
  if (flow.echo) send_link_flow(link);
}

// 2.6.7: what is not used at once is given back.
void LinkMux::State::drain_credit(LinkEnd& link) {
  link.delivery_count += link.credit;
  link.credit = 0;
  send_link_flow(link);
  link.is_draining = false;
}

// --- disposition

Result<> LinkMux::State::on_disposition(const Disposition& disposition) {
  if (disposition.role == LinkEndRole::sender) return {};  // we settle at the end of a delivery
  if (!disposition.settled && !disposition.state.is_outcome()) return {};
  // The distance from the next id tells which of the wrapped ids is meant.
  const auto next = static_cast<uint32_t>(next_delivery_);
  const uint32_t last = disposition.last.value_or(disposition.first);
  const auto span = static_cast<int32_t>(last - disposition.first);
  if (span < 0) return Error::protocol("disposition ends before its first delivery");
  const uint32_t distance = next - disposition.first;
  if (distance == 0 || distance > INT32_MAX) return {};
  const uint64_t first = next_delivery_ - distance;
  const uint64_t behind = first + static_cast<uint32_t>(span) + 1;
  std::string reason;
  if (disposition.state.kind == DeliveryState::Kind::rejected) {
    reason = reason_of(disposition.state.error, "delivery was rejected");
  } else if (disposition.state.kind == DeliveryState::Kind::released ||
             disposition.state.kind == DeliveryState::Kind::modified) {
    reason = "delivery was released";
  }
  while (true) {
    const auto found = outgoing_.lower_bound(first);
    if (found == outgoing_.end() || found->first >= behind) break;
    const uint64_t id = found->first;
    LinkEnd& link = *found->second;
    outgoing_.erase(found);
    if (!disposition.settled) {
      send(Disposition{.role = LinkEndRole::sender,
                       .first = static_cast<uint32_t>(id),
                       .settled = true,
                       .state = {.kind = DeliveryState::Kind::accepted}});
    }
    if (reason.empty() || !link.stream) continue;
    end_abnormally(
        *link.stream,
        {.condition = kResetCondition, .text = reason, .telling = MuxStream::Telling::all});
  }
  return {};
}

}  // namespace istmo::codec
