#include "dataplane/proxy/mesh_channel.h"

#include <utility>

#include "base/log.h"
#include "dataplane/proxy/link.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {

void MeshChannel::start(LinkStream& stream) {
  stream_ = &stream;
  stream.set_sink(*this);
}

void MeshChannel::send(std::string_view message) {
  if (!stream_) return;
  unsent_ = message;
  send_newest();
}

// One message is on its way at a time, so that a newer one can take the place of one that waits.
void MeshChannel::send_newest() {
  if (!stream_ || unsent_.empty() || link_.mux().queued_bytes(stream_->id()) > 0) return;
  const std::string message = std::exchange(unsent_, {});
  stream_->send(io::Chain(codec::encode_mesh_message(message)));
}

void MeshChannel::end() {
  stream_ = nullptr;
  unsent_ = {};
  worker_.loop().timers().cancel(pause_timer_);
  if (!is_announced_) return;
  is_announced_ = false;
  worker_.on_mesh_channel_closed(link_.replica());
}

void MeshChannel::announce() {
  is_announced_ = true;
  worker_.on_mesh_channel_opened(link_.replica());
}

void MeshChannel::on_stream_open(Stream&) { announce(); }

void MeshChannel::on_stream_data(Stream&, io::Chain&& bytes) {
  hand_over(reader_.feed(std::move(bytes)));
}

void MeshChannel::hand_over(const Result<>& result) {
  if (!result) return refuse(result.error());
  if (const uint64_t drained = reader_.take_drained(); drained > 0) stream_->grant(drained);
  if (!reader_.has_message()) return;
  std::string message = reader_.take_message();
  pause_ = kPause * static_cast<int64_t>(1 + message.size() / kBytesPerPause);
  worker_.sink().on_mesh_message(link_.id(), link_.replica(), std::move(message));
}

void MeshChannel::on_message_read(std::string_view refusal) {
  if (!stream_) return;
  if (!refusal.empty()) return refuse(Error::protocol(std::string(refusal)));
  worker_.loop().timers().arm(pause_timer_, worker_.loop().now() + pause_);
}

// What comes next is not read: the link ends.
void MeshChannel::refuse(const Error& error) {
  LOG_WARNING("mesh message refused", "site", link_.site_label(), "reason", error.text());
  const bool is_limit = error.error_class() == ErrorClass::limit;
  link_.close(is_limit ? "amqp:resource-limit-exceeded" : "amqp:decode-error", error.text());
}

// One direction alone is of no use, and nothing may be sent behind the end of ours.
void MeshChannel::on_stream_end(Stream& stream) {
  end();
  stream.finish();
}

void MeshChannel::on_stream_closed(Stream&, CloseReason) { end(); }

}  // namespace istmo::proxy
