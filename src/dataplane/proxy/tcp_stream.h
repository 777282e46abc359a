// A Stream on a TCP connection: a client that was accepted or a backend that was connected.
//
// Owned by its Worker's slab. Back-pressure: it delivers at most its window of octets that were
// not granted back, then pauses receiving; one completion in flight may overshoot. Ends by itself
// when both directions have ended and everything has left.
#pragma once

#include "dataplane/proxy/stream.h"
#include "dataplane/transport/tcp_transport.h"

namespace istmo::proxy {

class Worker;

class TcpStream final : public Stream, private transport::TransportSink {
 public:
  // Takes over the connected socket. `window_bytes` is the credit that it starts with.
  TcpStream(Worker& worker, io::Fd fd, StreamSink& sink, uint32_t window_bytes);
  void start() { transport_.start(); }

  void send(io::Chain&& bytes) override;
  void finish() override;
  void reset(CloseReason reason) override;
  void grant(uint64_t count) override;
  int64_t credit_bytes() const override { return credit_; }
  void accept() override {}
  std::string remote_name() const override;
  // The kernel may still hold what was being sent.
  bool is_closing() const { return transport_.is_closed(); }

 private:
  void on_transport_open() override {}
  void on_transport_data(io::Chain&& bytes) override;
  void on_transport_end() override;
  void on_transport_drained(uint64_t count) override;
  void on_transport_closed(const Error& error) override;
  void close_if_complete();

  Worker& worker_;
  StreamSink& sink_;
  int64_t credit_;  // octets that may still be delivered; below zero after an overshoot
  uint32_t window_bytes_;
  CloseReason reason_ = CloseReason::finished;
  bool has_received_end_ = false;
  bool has_finished_ = false;
  bool is_paused_ = false;
  bool is_reset_by_us_ = false;
  transport::TcpTransport transport_;
};

static_assert(sizeof(TcpStream) <= 448);

}  // namespace istmo::proxy
