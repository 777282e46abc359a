#include "dataplane/codec/link_mux.h"

#include <utility>

#include "dataplane/codec/link_mux_state.h"

namespace istmo::codec {

LinkMux::LinkMux(LinkMuxOptions options, Instant now)
    : state_(std::make_unique<State>(std::move(options), now)) {}
LinkMux::~LinkMux() = default;

void LinkMux::feed(io::Chain&& bytes, Instant now) { state_->feed(std::move(bytes), now); }
void LinkMux::feed_end(Instant) { state_->feed_end(); }
void LinkMux::hear(Instant at) { state_->hear(at); }
void LinkMux::tick(Instant now) { state_->tick(now); }
Instant LinkMux::next_tick() const { return state_->next_tick(); }
bool LinkMux::next_event(LinkEvent& event) { return state_->next_event(event); }

bool LinkMux::has_output() const { return state_->has_output(); }
void LinkMux::take_output(io::Chain& out, uint64_t bytes_max, Instant now) {
  state_->take_output(out, bytes_max, now);
}
bool LinkMux::has_data_ready() const { return state_->has_data_ready(); }

Result<StreamId> LinkMux::open_stream(StreamHead head) {
  return state_->open_stream(std::move(head));
}

void LinkMux::admit(StreamId id) {
  if (MuxStream* stream = state_->find_live(id)) state_->admit(*stream);
}

void LinkMux::refuse(StreamId id, std::string_view condition, std::string_view text) {
  if (MuxStream* stream = state_->find_live(id)) state_->refuse(*stream, condition, text);
}

void LinkMux::answer(StreamId id, StreamHead head) {
  if (MuxStream* stream = state_->find_live(id)) state_->answer(*stream, std::move(head));
}

void LinkMux::write(StreamId id, io::Chain&& bytes) {
  if (MuxStream* stream = state_->find_live(id)) state_->write(*stream, std::move(bytes));
}

void LinkMux::finish(StreamId id) {
  if (MuxStream* stream = state_->find_live(id)) state_->finish(*stream);
}

void LinkMux::reset(StreamId id, std::string_view reason) {
  if (MuxStream* stream = state_->find_live(id)) state_->reset(*stream, reason);
}

void LinkMux::grant(StreamId id, uint64_t count) {
  if (MuxStream* stream = state_->find_live(id)) state_->grant(*stream, count);
}

int64_t LinkMux::credit_bytes(StreamId id) const {
  const MuxStream* stream = state_->find_live(id);
  if (!stream || !stream->receiver || !state_->remote().has_byte_credit) return INT64_MIN / 2;
  return static_cast<int64_t>(stream->receiver->granted - stream->receiver->octets);
}

uint64_t LinkMux::queued_bytes(StreamId id) const {
  MuxStream* stream = state_->find(id);
  return stream ? stream->queue.size() : 0;
}

bool LinkMux::has_ended(StreamId id) const {
  const MuxStream* stream = state_->find(id);
  return stream && stream->out == MuxStream::Out::ended && stream->in == MuxStream::In::ended;
}

std::vector<StreamCredit> LinkMux::credits() const { return state_->credits(); }

void LinkMux::close(std::string_view condition, std::string_view text) {
  state_->close(condition, text);
}
bool LinkMux::is_open() const { return state_->is_open(); }
bool LinkMux::is_closing() const { return state_->is_closing(); }
const RemoteSite& LinkMux::remote() const { return state_->remote(); }
uint32_t LinkMux::streams_open() const { return state_->streams_open(); }
uint64_t LinkMux::queued_bytes() const { return state_->queued_bytes(); }
uint64_t LinkMux::held_head_bytes() const { return state_->held_head_bytes(); }
const LinkMuxRefusals& LinkMux::refusals() const { return state_->refusals(); }
LinkMuxUse LinkMux::use() const { return state_->use(); }

}  // namespace istmo::codec
