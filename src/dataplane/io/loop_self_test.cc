#include "dataplane/io/loop_self_test.h"

#include <cerrno>

namespace istmo::io {
namespace {

constexpr uint32_t kPatternBytes = 256 * 1024;
constexpr Duration kDeadline = Duration::milliseconds(500);

uint8_t pattern_at(uint64_t position) {
  return static_cast<uint8_t>(position * 131 + (position >> 9) * 7);
}

// One connection to ourselves. Lives for the length of self_test().
class SelfTest {
 public:
  explicit SelfTest(Loop& loop) : loop_(loop) {}

  Result<> run() {
    const auto loopback = TRY(Address::parse("127.0.0.1", 0));
    listener_ = TRY(loop_.listen(loopback, {.reuse_port = false}));
    const auto address = loop_.local_address(listener_);
    if (address) {
      loop_.accept(accept_op_, listener_, {});
      loop_.connect(connect_op_, *address, {});
      const Instant deadline = monotonic_now() + kDeadline;
      while (!has_ended_ && monotonic_now() < deadline) run_turn();
      if (!has_ended_) fail("no end of the stream within 500 ms");
    }
    finish();
    if (!failure_.empty()) return Error::internal(failure_);
    return {};
  }

 private:
  void run_turn() { loop_.run_turn(Duration::milliseconds(10)); }

  void fail(std::string_view what) {
    has_ended_ = true;
    if (failure_.empty()) failure_ = what;
  }

  void finish() {
    for (Op* op : {static_cast<Op*>(&accept_op_), static_cast<Op*>(&connect_op_),
                   static_cast<Op*>(&receive_op_), static_cast<Op*>(&send_op_)}) {
      loop_.cancel(*op);
      while (!op->is_idle()) run_turn();
    }
    for (const Fd fd : {listener_, client_, server_}) {
      if (fd.is_open()) loop_.close(fd, Loop::Ending::orderly);
    }
  }

  void on_accepted(Completion&& done) {
    if (done.failed()) {
      if (!done.is_cancelled()) fail("accept failed");
      return;
    }
    server_ = done.fd;
    loop_.receive(receive_op_, server_);
    // The first receive is cancelled before anything came: nothing may get lost by that.
    loop_.cancel(receive_op_);
  }

  void on_connected(Completion&& done) {
    if (done.failed()) return fail("no connection over the loopback interface");
    client_ = done.fd;
    for (uint32_t sent = 0; sent < kPatternBytes; sent += kPieceBytes) {
      Slice piece = Slice::allocate(kPieceBytes);
      for (uint32_t i = 0; i < kPieceBytes; ++i) piece.mutable_data()[i] = pattern_at(sent + i);
      to_send_.append(std::move(piece));
    }
    loop_.send(send_op_, client_, to_send_);
  }

  void on_sent(Completion&& done) {
    if (done.result != static_cast<int32_t>(kPatternBytes)) return fail("a send was cut short");
    loop_.shutdown_send(client_);
  }

  void on_received(Completion&& done) {
    for (uint32_t i = 0; i < done.bytes.slice_count(); ++i) {
      for (const uint8_t octet : done.bytes.slice(i).bytes()) {
        if (octet != pattern_at(received_++)) return fail("octets out of order");
      }
    }
    if (!done.is_last) return;
    if (done.is_cancelled() && received_ < kPatternBytes && !has_ended_) {
      return loop_.receive(receive_op_, server_);
    }
    if (done.result == 0 && received_ == kPatternBytes) has_ended_ = true;
    else fail("a receive ended early");
  }

  static constexpr uint32_t kPieceBytes = 16 * 1024;
  Loop& loop_;
  Fd listener_;
  Fd client_;
  Fd server_;
  Chain to_send_;
  uint64_t received_ = 0;
  bool has_ended_ = false;
  std::string failure_;
  OpOf<SelfTest, &SelfTest::on_accepted> accept_op_{*this};
  OpOf<SelfTest, &SelfTest::on_connected> connect_op_{*this};
  OpOf<SelfTest, &SelfTest::on_received> receive_op_{*this};
  OpOf<SelfTest, &SelfTest::on_sent> send_op_{*this};
};

}  // namespace

Result<> self_test(const LoopChoice& choice) {
  const auto loop = TRY(make_loop(choice, {.block_count = 64, .block_count_max = 64}));
  return SelfTest(*loop).run();
}

}  // namespace istmo::io
