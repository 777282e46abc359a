#include "dataplane/proxy/mesh_channel.h"

#include "base/bytes.h"
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
  io::Slice slice = io::Slice::allocate(static_cast<uint32_t>(4 + message.size()));
  store_big_endian<uint32_t>(slice.mutable_data(), static_cast<uint32_t>(message.size()));
  std::memcpy(slice.mutable_data() + 4, message.data(), message.size());
  stream_->send(io::Chain(std::move(slice)));
}

void MeshChannel::end() {
  stream_ = nullptr;
  if (!is_announced_) return;
  is_announced_ = false;
  worker_.on_mesh_channel_closed(link_.site_id());
}

void MeshChannel::announce() {
  is_announced_ = true;
  worker_.on_mesh_channel_opened(link_.site_id());
}

void MeshChannel::on_stream_open(Stream&) { announce(); }

void MeshChannel::on_stream_data(Stream& stream, io::Chain&& bytes) {
  const uint64_t count = bytes.size();
  received_.append(std::move(bytes));
  stream.grant(count);
  while (received_.size() >= 4) {
    const uint32_t length = load_big_endian<uint32_t>(received_.make_contiguous(4).data());
    if (length > Worker::kMeshBytesMax) {
      LOG_ERROR("mesh message too long", "site", link_.site_label(), "bytes", length);
      return link_.close("amqp:resource-limit-exceeded", "mesh message too long");
    }
    if (received_.size() < 4 + length) return;
    received_.drop_front(4);
    worker_.sink().on_mesh_message(link_.site_id(), received_.take_front(length).to_string());
  }
}

void MeshChannel::on_stream_end(Stream& stream) { stream.finish(); }

void MeshChannel::on_stream_closed(Stream&, CloseReason) { end(); }

}  // namespace istmo::proxy
