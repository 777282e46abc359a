// A Stream on a link: one exchange with a server, or a client, at a neighbour site.
//
// Owned by its Link's slab. reset() takes effect at once on the wire; on_stream_closed comes when
// the link is done with the stream, or when the link itself ends.
#pragma once

#include <string>

#include "dataplane/codec/link_mux.h"
#include "dataplane/proxy/stream.h"

namespace istmo::proxy {

class Link;

class LinkStream final : public Stream {
 public:
  LinkStream(Link& link, codec::StreamId id) : link_(link), id_(id) {}

  codec::StreamId id() const { return id_; }
  void set_sink(StreamSink& sink) { sink_ = &sink; }
  StreamSink* sink() { return sink_; }

  void send(io::Chain&& bytes) override;
  void finish() override;
  void reset(CloseReason reason) override;
  void grant(uint64_t count) override;
  int64_t credit_bytes() const override;
  void accept() override;
  std::string remote_name() const override;

  // By the Link: why the stream ended, if we reset it.
  bool is_reset_by_us() const { return is_reset_by_us_; }
  CloseReason reason() const { return reason_; }
  void mark_opened_by_remote() { is_opened_by_remote_ = true; }

 private:
  Link& link_;
  codec::StreamId id_;
  StreamSink* sink_ = nullptr;
  CloseReason reason_ = CloseReason::finished;
  bool is_reset_by_us_ = false;
  bool is_opened_by_remote_ = false;
};

}  // namespace istmo::proxy
