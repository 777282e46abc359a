// Transport on a plain TCP socket: one receive op, one send op, one queue. No copy in user space.
//
// Owned by a stream, a link or a TlsTransport, on its loop's thread. Idle it holds no block. Sends
// are gathered to 256 KiB, one in flight; everything that was queued during a turn leaves with one
// send at its end. It ends in three steps: close() or a failure cancels both ops, the last of them
// to become idle closes the socket, and on_transport_closed tells the owner.
//
// While it is open and not receiving, because the other side ended its direction or receiving is
// paused, it watches for a reset, which ends it even if octets wait to be received.
//
// A send that fails because the connection was reset does not end the transport at once when
// octets may wait to be received: they come first, and the reset where the stream stops.
#pragma once

#include "dataplane/transport/transport.h"

namespace istmo::transport {

class TcpTransport final : public Transport {
 public:
  // Takes over `fd`, a connected socket that this loop accepted, connected or adopted.
  TcpTransport(io::Loop& loop, io::Fd fd, TransportSink& sink);
  ~TcpTransport() override;

  void start() override;
  void send(io::Chain&& bytes) override;
  uint64_t pending_bytes() const override { return pending_.size(); }
  // Loop::send_room(); 0 while something is pending.
  uint64_t send_room(uint64_t unsent_max) const {
    return pending_.empty() && state_ == State::open ? loop_.send_room(fd_, unsent_max) : 0;
  }
  void pause_receive() override;
  void resume_receive() override;
  void shutdown_send() override;
  void close(io::Loop::Ending ending, Error reason) override;
  bool is_closed() const override { return state_ != State::open; }
  io::Fd fd() const { return fd_; }

 private:
  enum class State : uint8_t { open, closing, closed };
  enum class Opening : uint8_t { created, starting, told };
  enum class Receiving : uint8_t { off, on, pausing, ended };
  enum class Sending : uint8_t { open, finishing, finished, failed };

  void on_received(io::Completion&& done);
  void on_sent(io::Completion&& done);
  void on_broken(io::Completion&& done);
  void flush();
  void receive_or_watch();
  void on_receive_ended();
  void on_send_failed(Error error);
  void fail(Error error);
  void begin_closing(io::Loop::Ending ending, Error reason);
  bool is_idle() const { return receive_op_.is_idle() && send_op_.is_idle(); }
  void finish_closing();

  io::Loop& loop_;
  TransportSink& sink_;
  io::Fd fd_;
  State state_ = State::open;
  Opening opening_ = Opening::created;
  Receiving receiving_ = Receiving::off;
  Sending sending_ = Sending::open;
  bool wants_receive_ = true;
  io::Loop::Ending ending_ = io::Loop::Ending::orderly;
  io::Chain pending_;
  Error reason_{ErrorClass::closed, {}};  // why it is closing, or why sending failed
  io::OpOf<TcpTransport, &TcpTransport::on_received> receive_op_{*this};
  io::OpOf<TcpTransport, &TcpTransport::on_sent> send_op_{*this};
  io::OpOf<TcpTransport, &TcpTransport::on_broken> watch_op_{*this};  // busy: no receive is
  io::DeferredOf<TcpTransport, &TcpTransport::flush> flush_{*this};
};

// Two of these stand behind an idle proxied connection, which may cost 2 KiB in all.
static_assert(sizeof(TcpTransport) <= 320);

}  // namespace istmo::transport
