#include "dataplane/transport/tls_transport.h"

#include <algorithm>
#include <utility>

namespace istmo::transport {

TlsTransport::TlsTransport(io::Loop& loop, io::Fd fd, const TlsContext& context,
                           TransportSink& sink, codec::TlsEngineOptions options)
    : loop_(loop),
      sink_(sink),
      engine_(context.shared(), context.role(), std::move(options)),
      tcp_(loop, fd, *this) {}

TlsTransport::~TlsTransport() { ASSERT(state_ == State::closed); }

void TlsTransport::start_with(io::Chain&& received) {
  if (has_failed_or_closed()) return;
  ASSERT(state_ == State::created);
  state_ = State::handshaking;
  early_ = std::move(received);
  tcp_.start();
}

void TlsTransport::on_transport_open() {
  if (has_failed_or_closed()) return;
  Result<> result = engine_.start();
  if (!result) return fail(std::move(result).error());
  send_output();
  if (!early_.empty()) on_transport_data(std::move(early_));
}

void TlsTransport::send(io::Chain&& bytes) {
  if (has_failed_or_closed()) return;
  ASSERT(sending_ == Sending::open);  // nothing follows shutdown_send()
  queued_.append(std::move(bytes));
  loop_.defer(flush_);
}

void TlsTransport::shutdown_send() {
  if (has_failed_or_closed() || sending_ != Sending::open) return;
  sending_ = Sending::finishing;
  loop_.defer(flush_);
}

void TlsTransport::close(io::Loop::Ending ending, Error reason) {
  if (state_ == State::closed) return;
  if (!has_failed_or_closed()) reason_ = std::move(reason);
  state_ = State::closing;
  queued_.clear();
  linger_.unlink();
  tcp_.close(ending, *reason_);
}

void TlsTransport::on_transport_data(io::Chain&& ciphertext) {
  if (has_failed_or_closed()) return;
  received_at_ = loop_.now();
  const bool was_open = engine_.is_open();
  io::Chain plaintext;
  Result<> result = engine_.decrypt(std::move(ciphertext), plaintext);
  if (result) send_output();  // else fail() does
  tell(was_open, std::move(plaintext), std::move(result));
}

// Each call to the sink may close us.
void TlsTransport::tell(bool was_open, io::Chain&& plaintext, Result<> result) {
  if (!was_open && engine_.is_open()) {
    state_ = State::open;
    loop_.defer(flush_);
    sink_.on_transport_open();
    if (has_failed_or_closed()) return;
  }
  if (!plaintext.empty()) {
    sink_.on_transport_data(std::move(plaintext));
    if (has_failed_or_closed()) return;
  }
  if (!result) return fail(std::move(result).error());
  if (engine_.has_ended() && !end_is_told_) {
    end_is_told_ = true;
    sink_.on_transport_end();
  }
}

void TlsTransport::on_transport_end() {
  if (state_ == State::lingering) return stop_lingering();
  if (has_failed_or_closed()) return;
  Result<> result = engine_.check_end();
  if (!result) return fail(std::move(result).error());
}

void TlsTransport::on_transport_drained(uint64_t ciphertext_count) {
  if (has_failed_or_closed()) return;
  // Records and the octets in them leave at the same rate; the last record takes the exact rest.
  const uint64_t before = tcp_.pending_bytes() + ciphertext_count;
  const uint64_t count =
      tcp_.pending_bytes() == 0 ? plaintext_in_tcp_ : plaintext_in_tcp_ * ciphertext_count / before;
  plaintext_in_tcp_ -= count;
  if (!queued_.empty()) loop_.defer(flush_);
  const bool is_done = sending_ == Sending::finished && tcp_.pending_bytes() == 0;
  if (count > 0 || is_done) sink_.on_transport_drained(count);
}

void TlsTransport::on_transport_closed(const Error& error) {
  const Error reason = reason_ ? *std::move(reason_) : error;
  state_ = State::closed;
  linger_.unlink();
  flush_.unlink();
  queued_.clear();
  sink_.on_transport_closed(reason);  // may destroy this object
}

void TlsTransport::flush() {
  if (state_ != State::open) return;
  Result<> result = encrypt_queued();
  if (!result) return fail(std::move(result).error());
  if (sending_ != Sending::finishing || !queued_.empty()) return;
  result = engine_.shutdown();
  if (!result) return fail(std::move(result).error());
  send_output();
  sending_ = Sending::finished;
  tcp_.shutdown_send();
}

Result<> TlsTransport::encrypt_queued() {
  const uint64_t ahead = tcp_.pending_bytes();
  if (queued_.empty() || ahead >= kCiphertextBytesMax) return {};
  // Whole records while more waits, so that the last of them is not a crumb.
  constexpr uint64_t kRecord = codec::kTlsRecordBytesMax;
  const uint64_t room = (kCiphertextBytesMax - ahead + kRecord - 1) / kRecord * kRecord;
  const uint64_t before = queued_.size();
  TRY(engine_.encrypt(queued_, room));
  plaintext_in_tcp_ += before - queued_.size();
  send_output();
  return {};
}

void TlsTransport::send_output() {
  io::Chain output = engine_.take_output();
  // Behind close_notify and FIN only an answer to the other side's key update could come: dropped.
  if (sending_ != Sending::finished && !output.empty()) tcp_.send(std::move(output));
}

void TlsTransport::fail(Error error) {
  ASSERT(!has_failed_or_closed());
  queued_.clear();
  reason_ = std::move(error);
  io::Chain alert = engine_.take_output();
  if (alert.empty() || sending_ == Sending::finished || tcp_.is_closed()) {
    state_ = State::closing;
    return tcp_.close(io::Loop::Ending::abort, *reason_);
  }
  state_ = State::lingering;
  tcp_.send(std::move(alert));
  tcp_.shutdown_send();
  // What is left unread would make the kernel reset the connection, and the alert with it.
  tcp_.resume_receive();
  loop_.timers().arm(linger_, loop_.now() + kLinger);
}

void TlsTransport::stop_lingering() {
  state_ = State::closing;
  linger_.unlink();
  tcp_.close(io::Loop::Ending::orderly, *reason_);
}

}  // namespace istmo::transport
