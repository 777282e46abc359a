// A program at the other end of a link that says what a test tells it to: TLS, and frames by hand.
// It obeys no rule of AMQP and answers nothing; what it was told is kept for the test to look at.
//
// Owned by a test, on a loop of its own host. Ends with end(), and must be is_closed() before it is
// destroyed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/codec/amqp_frame.h"
#include "dataplane/io/sim_loop.h"
#include "dataplane/transport/tls_transport.h"

namespace istmo::sim {

// A frame that came.
struct ToldFrame {
  uint64_t code = 0;  // of its performative
  std::string body;
};

class LinkProgram final : private transport::TransportSink {
 public:
  // Shows the certificate of `site`.
  LinkProgram(io::SimLoop& loop, const std::string& site, transport::TlsRole role);
  ~LinkProgram();
  void connect(const io::Address& address);
  void take(io::Fd fd);  // a connection that was accepted

  // Leaves when TLS is open.
  void say(std::string_view octets);
  template <class Performative>
  void send(const Performative& performative, std::string_view payload = {}) {
    std::vector<uint8_t> frame;
    codec::begin_frame(frame);
    codec::AmqpWriter out(frame);
    codec::encode(performative, out);
    codec::end_frame(frame, Performative::kCode >= 0x40 ? codec::FrameType::sasl : kAmqp,
                     static_cast<uint32_t>(payload.size()));
    say(std::string(text_of(frame)) + std::string(payload));
  }
  // Everything up to its `begin`, without waiting for the answers; then a heartbeat each second.
  void greet(const std::vector<std::string_view>& capabilities);
  void keep_alive();
  void attach_sender(uint32_t handle, std::string_view routing_key);
  void attach_receiver(uint32_t handle);
  void end();

  bool is_encrypted() const { return is_encrypted_; }
  bool is_closed() const { return state_ == State::closed || state_ == State::idle; }
  Instant closed_at() const { return closed_at_; }
  size_t count(uint64_t code) const;  // of frames that came
  const std::vector<ToldFrame>& told() const { return told_; }

 private:
  enum class State : uint8_t { idle, connecting, open, closed };
  static constexpr codec::FrameType kAmqp = codec::FrameType::amqp;

  void on_connected(io::Completion&& done);
  void on_transport_open() override;
  void on_transport_data(io::Chain&& bytes) override;
  void on_transport_end() override { end(); }
  void on_transport_drained(uint64_t) override {}
  void on_transport_closed(const Error& error) override;
  void on_heartbeat();

  io::SimLoop& loop_;
  transport::TlsContext context_;
  State state_ = State::idle;
  bool is_encrypted_ = false;
  bool keeps_alive_ = false;
  Instant closed_at_;
  std::string unsaid_;
  std::string received_;
  std::vector<ToldFrame> told_;
  std::unique_ptr<transport::TlsTransport> transport_;
  io::OpOf<LinkProgram, &LinkProgram::on_connected> connect_op_{*this};
  io::TimerOf<LinkProgram, &LinkProgram::on_heartbeat> heartbeat_{*this};
};

// Where sites dial: every connection becomes a LinkProgram that says `script` and heartbeats.
class LinkPort {
 public:
  LinkPort(io::SimLoop& loop, const std::string& site, const io::Address& address);
  void open();
  void close();  // the port; and ends the programs
  bool is_idle() const;

  std::string script;  // what each says when TLS is open; empty: it ends the connection before TLS
  const std::vector<Instant>& accepted_at() const { return accepted_at_; }
  std::vector<std::unique_ptr<LinkProgram>>& programs() { return programs_; }

 private:
  void on_accepted(io::Completion&& done);

  io::SimLoop& loop_;
  std::string site_;
  io::Address address_;
  io::Fd fd_;
  std::vector<Instant> accepted_at_;
  std::vector<std::unique_ptr<LinkProgram>> programs_;
  io::OpOf<LinkPort, &LinkPort::on_accepted> accept_op_{*this};
};

// What a program says that accepts a link, up to its `begin`; and a close without a reason.
std::string welcome();
std::string goodbye();

}  // namespace istmo::sim
