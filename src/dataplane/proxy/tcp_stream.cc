#include "dataplane/proxy/tcp_stream.h"

#include "dataplane/proxy/worker.h"

namespace istmo::proxy {

TcpStream::TcpStream(Worker& worker, io::Fd fd, StreamSink& sink, uint32_t window_bytes)
    : worker_(worker),
      sink_(sink),
      credit_(window_bytes),
      window_bytes_(window_bytes),
      transport_(worker.loop(), fd, *this) {}

void TcpStream::send(io::Chain&& bytes) {
  ASSERT(!has_finished_);
  transport_.send(std::move(bytes));
}

void TcpStream::finish() {
  if (has_finished_ || is_reset_by_us_) return;
  has_finished_ = true;
  transport_.shutdown_send();
  close_if_complete();
}

void TcpStream::reset(CloseReason reason) {
  if (is_reset_by_us_ || transport_.is_closed()) return;
  is_reset_by_us_ = true;
  reason_ = reason;
  transport_.close(io::Loop::Ending::abort, Error::reset("reset by us"));
}

void TcpStream::grant(uint64_t count) {
  credit_ += static_cast<int64_t>(count);
  if (!is_paused_) return;
  // Half a window of hysteresis: a pause costs a cancel and a new receive. Grants are small while
  // memory is tight.
  if (credit_ < (worker_.memory().is_tight() ? 1 : window_bytes_ / 2)) return;
  is_paused_ = false;
  if (!has_received_end_) transport_.resume_receive();
}

std::string TcpStream::remote_name() const {
  const auto address = worker_.loop().remote_address(transport_.fd());
  return address ? address->to_string() : "unknown";
}

void TcpStream::on_transport_data(io::Chain&& bytes) {
  credit_ -= static_cast<int64_t>(bytes.size());
  if (credit_ <= 0 && !is_paused_) {
    is_paused_ = true;
    transport_.pause_receive();
  }
  sink_.on_stream_data(*this, std::move(bytes));  // last: may reset us
}

void TcpStream::on_transport_end() {
  has_received_end_ = true;
  sink_.on_stream_end(*this);
  close_if_complete();
}

void TcpStream::on_transport_drained(uint64_t count) {
  close_if_complete();
  sink_.on_stream_drained(*this, count);  // last: may reset us
}

void TcpStream::on_transport_closed(const Error& error) {
  CloseReason reason = reason_;
  if (!is_reset_by_us_ && error.error_class() != ErrorClass::closed) {
    reason = CloseReason::client_reset;  // the tunnel knows which side we are
  }
  sink_.on_stream_closed(*this, reason);
  worker_.release(*this);  // last: destroys us
}

void TcpStream::close_if_complete() {
  if (!has_received_end_ || !has_finished_ || transport_.is_closed()) return;
  if (transport_.pending_bytes() > 0) return;
  transport_.close(io::Loop::Ending::orderly, Error::closed("finished"));
}

}  // namespace istmo::proxy
