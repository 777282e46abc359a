// Transport with TLS over a TCP transport of its own.
//
// Owned by a stream or a link, on its loop's thread. Plaintext queues here and becomes records at
// the end of the turn, at most kCiphertextBytesMax ahead of the socket, so that what the owner
// sends next can still be scheduled before what waits.
//
// Two feeds can stand behind this interface; both give the owner the same calls in the same order.
// In user space, as here: TlsEngine between this object and a TcpTransport, which gets ciphertext.
// With kernel TLS the handshake runs on OpenSSL's socket BIO by readiness (Loop::poll), then each
// direction that the kernel took over goes past the engine: send() straight to the TcpTransport,
// and its octets straight to the sink. Only encrypt_queued() and on_transport_data() know the
// difference.
//
// After a failed handshake or a broken record the alert is sent and the other side has
// kLinger to take it before the socket closes. Ends like every Transport.
#pragma once

#include <optional>
#include <string>

#include "dataplane/codec/tls_engine.h"
#include "dataplane/transport/tcp_transport.h"
#include "dataplane/transport/tls_context.h"

namespace istmo::transport {

class TlsTransport final : public Transport, private TransportSink {
 public:
  static constexpr uint64_t kCiphertextBytesMax = 256 * 1024;
  static constexpr Duration kLinger = Duration::seconds(1);

  // Takes over `fd`, a connected socket of this loop. `context` may end before this object.
  TlsTransport(io::Loop& loop, io::Fd fd, const TlsContext& context, TransportSink& sink,
               codec::TlsEngineOptions options = {});
  ~TlsTransport() override;

  void start() override { start_with({}); }
  // start(), when somebody has read the first octets already: the acceptor of a link.
  void start_with(io::Chain&& received);
  void send(io::Chain&& bytes) override;
  uint64_t pending_bytes() const override { return queued_.size() + tcp_.pending_bytes(); }
  // Octets that would leave at the end of this turn; 0 while something is pending.
  uint64_t send_room(uint64_t unsent_max) const {
    return queued_.empty() ? tcp_.send_room(unsent_max) : 0;
  }
  void pause_receive() override { tcp_.pause_receive(); }
  void resume_receive() override { tcp_.resume_receive(); }
  void shutdown_send() override;
  void close(io::Loop::Ending ending, Error reason) override;
  bool is_closed() const override { return state_ >= State::lingering; }

  // After on_transport_open. nullopt: it showed no certificate that was verified.
  std::optional<codec::TlsIdentity> remote_identity() const { return engine_.remote_identity(); }
  // When octets came last, be they a part of a record only.
  Instant received_at() const { return received_at_; }
  std::string negotiated_alpn() const { return engine_.negotiated_alpn(); }

 private:
  enum class State : uint8_t { created, handshaking, open, lingering, closing, closed };
  enum class Sending : uint8_t { open, finishing, finished };

  void on_transport_open() override;
  void on_transport_data(io::Chain&& ciphertext) override;
  void on_transport_end() override;
  void on_transport_drained(uint64_t ciphertext_count) override;
  void on_transport_closed(const Error& error) override;

  bool has_failed_or_closed() const { return state_ >= State::lingering; }
  void tell(bool was_open, io::Chain&& plaintext, Result<> result);
  void flush();
  Result<> encrypt_queued();
  void send_output();
  void fail(Error error);
  void stop_lingering();

  io::Loop& loop_;
  TransportSink& sink_;
  State state_ = State::created;
  Sending sending_ = Sending::open;
  bool end_is_told_ = false;
  io::Chain queued_;  // plaintext
  io::Chain early_;   // ciphertext that was received before start
  Instant received_at_;
  uint64_t plaintext_in_tcp_ = 0;  // octets whose records have not all left
  std::optional<Error> reason_;    // why we closed
  codec::TlsEngine engine_;
  TcpTransport tcp_;
  io::TimerOf<TlsTransport, &TlsTransport::stop_lingering> linger_{*this};
  io::DeferredOf<TlsTransport, &TlsTransport::flush> flush_{*this};
};

}  // namespace istmo::transport
