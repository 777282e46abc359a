#include "dataplane/transport/tcp_transport.h"

#include <utility>

namespace istmo::transport {
namespace {

Error error_of(const io::Completion& done, std::string_view doing) {
  return Error::from_errno(-done.result, doing);
}

}  // namespace

TcpTransport::TcpTransport(io::Loop& loop, io::Fd fd, TransportSink& sink)
    : loop_(loop), sink_(sink), fd_(fd) {}

TcpTransport::~TcpTransport() { ASSERT(state_ == State::closed); }

void TcpTransport::start() {
  ASSERT(opening_ == Opening::created);
  opening_ = Opening::starting;
  if (state_ != State::open) return;
  receive_or_watch();
  loop_.defer(flush_);
}

void TcpTransport::send(io::Chain&& bytes) {
  if (state_ != State::open || sending_ == Sending::failed) return;
  ASSERT(sending_ == Sending::open);  // nothing follows shutdown_send()
  const bool has_to_wait = !send_op_.is_idle() || pending_.size() >= io::Loop::kSendBytesMax;
  // 100 octets behind a slow reader would pin 8 KiB of a pool that all connections share.
  if (has_to_wait) pending_.append_compacted(std::move(bytes));
  else pending_.append(std::move(bytes));
  loop_.defer(flush_);
}

void TcpTransport::pause_receive() {
  wants_receive_ = false;
  // A failed send waits for the receive side to end, which it will not do now.
  if (state_ == State::open && sending_ == Sending::failed) return fail(std::move(reason_));
  if (state_ != State::open || receiving_ != Receiving::on) return;
  receiving_ = Receiving::pausing;
  loop_.cancel(receive_op_);
}

void TcpTransport::resume_receive() {
  wants_receive_ = true;
  receive_or_watch();
}

void TcpTransport::shutdown_send() {
  if (state_ != State::open || sending_ != Sending::open) return;
  sending_ = Sending::finishing;
  loop_.defer(flush_);
}

void TcpTransport::close(io::Loop::Ending ending, Error reason) {
  if (state_ == State::open) return begin_closing(ending, std::move(reason));
  if (ending == io::Loop::Ending::abort) ending_ = ending;  // an abort while closing counts
}

// For an open transport that was started: one of both ops is busy.
void TcpTransport::receive_or_watch() {
  if (state_ != State::open || opening_ == Opening::created || !receive_op_.is_idle()) return;
  if (wants_receive_ && receiving_ == Receiving::off) {
    receiving_ = Receiving::on;
    loop_.unwatch(watch_op_);
    return loop_.receive(receive_op_, fd_);
  }
  if (watch_op_.is_idle()) loop_.watch(watch_op_, fd_);
}

void TcpTransport::on_received(io::Completion&& done) {
  if (state_ == State::closing) {
    if (is_idle()) finish_closing();  // ends this object
    return;
  }
  if (done.is_last) receiving_ = Receiving::off;
  const bool is_end = done.is_last && done.result == 0;
  if (!done.bytes.empty()) {
    sink_.on_transport_data(std::move(done.bytes));
    if (state_ != State::open) return;  // the sink closed us
  }
  if (!done.is_last) return;
  if (is_end) return on_receive_ended();
  if (done.failed() && !done.is_cancelled()) return fail(error_of(done, "receive"));
  receive_or_watch();  // paused, and perhaps resumed meanwhile
}

void TcpTransport::on_receive_ended() {
  receiving_ = Receiving::ended;
  // A reset shows once, to whichever of send and receive asks first; the other one of them then
  // sees an end (Linux clears sk_err). The failed send may be reported after this, or be hidden
  // behind the octets that it sent before, so the socket is asked: as long as we sent no FIN it
  // has a remote address after an end, and none after a reset.
  if (sending_ == Sending::failed) return fail(std::move(reason_));
  if (sending_ != Sending::finished && !loop_.remote_address(fd_)) {
    return fail(Error::reset("receive: connection reset"));
  }
  sink_.on_transport_end();
  receive_or_watch();  // unless the sink closed us
}

void TcpTransport::on_broken(io::Completion&& done) {
  ASSERT(state_ == State::open);
  if (sending_ == Sending::failed) return fail(std::move(reason_));
  fail(error_of(done, "connection"));
}

void TcpTransport::on_sent(io::Completion&& done) {
  if (done.result > 0) pending_.drop_front(static_cast<uint64_t>(done.result));
  if (state_ == State::closing) {
    if (is_idle()) finish_closing();  // ends this object
    return;
  }
  if (done.failed()) return on_send_failed(error_of(done, "send"));
  // The next send starts at the end of the turn, so that what the sink writes now goes with it.
  if (!pending_.empty() || sending_ == Sending::finishing) loop_.defer(flush_);
  sink_.on_transport_drained(static_cast<uint64_t>(done.result));
}

void TcpTransport::on_send_failed(Error error) {
  pending_.clear();
  const bool may_receive =
      opening_ != Opening::created && receiving_ != Receiving::ended && wants_receive_;
  // After a reset the receive side certainly ends; after other errors it might not.
  if (error.error_class() != ErrorClass::reset || !may_receive) return fail(std::move(error));
  sending_ = Sending::failed;
  reason_ = std::move(error);
}

void TcpTransport::flush() {
  if (state_ == State::closing) return finish_closing();  // ends this object
  if (opening_ == Opening::starting) {
    opening_ = Opening::told;
    sink_.on_transport_open();
    if (state_ != State::open) return;  // the sink closed us, which deferred this again
  }
  if (!send_op_.is_idle()) return;
  if (!pending_.empty()) return loop_.send(send_op_, fd_, pending_);
  if (sending_ == Sending::finishing) {
    sending_ = Sending::finished;
    loop_.shutdown_send(fd_);
  }
}

void TcpTransport::fail(Error error) { begin_closing(io::Loop::Ending::abort, std::move(error)); }

void TcpTransport::begin_closing(io::Loop::Ending ending, Error reason) {
  ASSERT(state_ == State::open);
  state_ = State::closing;
  ending_ = ending;
  reason_ = std::move(reason);
  loop_.unwatch(watch_op_);
  loop_.cancel(receive_op_);
  loop_.cancel(send_op_);
  if (is_idle()) loop_.defer(flush_);  // else the last completion goes on
}

void TcpTransport::finish_closing() {
  ASSERT(state_ == State::closing);
  if (!is_idle()) return;
  state_ = State::closed;
  flush_.unlink();  // deferred before the last completion came
  pending_.clear();
  loop_.close(std::exchange(fd_, io::Fd()), ending_);
  const Error reason = std::move(reason_);
  sink_.on_transport_closed(reason);  // may destroy this object
}

}  // namespace istmo::transport
