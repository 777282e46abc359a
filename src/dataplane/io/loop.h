// One thread's I/O engine, completion style: the owner starts an Op, the loop runs its handler.
//
// Three implementations: UringLoop (io_uring), EpollLoop (where io_uring is refused) and SimLoop
// (deterministic, virtual time). All behave the same; tests/unit/io/loop_suite.cc is the proof.
//
// Rules for handlers: run to completion, never block, never call run(). A handler may start and
// cancel any op, close any fd, and end the object that owns the op whose `is_last` completion it
// was just given. No handler is ever called from inside a verb: only from run_turn().
//
// Ownership: an Op is a member of its owner, which must not move or die while the op is busy.
// Orderly teardown: shutdown_send -> cancel ops -> wait until all are idle -> close(orderly).
// Abort: cancel ops -> wait until all are idle -> close(abort), so that a reset stays a reset.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/metrics.h"
#include "base/result.h"
#include "dataplane/io/buffer.h"
#include "dataplane/io/mailbox.h"
#include "dataplane/io/socket.h"
#include "dataplane/io/timer_wheel.h"

namespace istmo::io {

enum class LoopKind : uint8_t { uring, epoll, sim };

enum class OpKind : uint8_t { none, accept, connect, receive, send, poll, watch };

// What a handler is told.
struct Completion {
  // Octets received or sent, or a negated errno value. receive: 0 is the end of the stream.
  // poll: the events. accept, connect: 0.
  int32_t result = 0;
  // The op is idle now; its owner may start it again or end. Until then more may come.
  bool is_last = true;
  Fd fd;        // accept, connect: the new socket, which the owner of the op now owns
  Chain bytes;  // receive: what came

  bool failed() const { return result < 0; }
  bool is_cancelled() const { return result == -ECANCELED; }
};

// One operation that the loop, or the kernel for it, holds.
class Op {
 public:
  using Handler = void (*)(Op&, Completion&&);
  explicit Op(Handler handler) : handler_(handler) {}
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;
  ~Op() { ASSERT(is_idle()); }
  bool is_idle() const { return kind_ == OpKind::none; }
  OpKind kind() const { return kind_; }

 private:
  friend class Loop;
  Handler handler_;
  OpKind kind_ = OpKind::none;
  bool is_cancelling_ = false;
  uint32_t slot_ = 0;  // for the loop
  Fd fd_;              // for the loop
};

// An op that calls a member function: OpOf<TcpTransport, &TcpTransport::on_sent> send_op_{*this};
template <class Owner, void (Owner::*kMethod)(Completion&&)>
class OpOf final : public Op {
 public:
  explicit OpOf(Owner& owner) : Op(&run), owner_(owner) {}

 private:
  static void run(Op& op, Completion&& done) {
    (static_cast<OpOf&>(op).owner_.*kMethod)(std::move(done));
  }
  Owner& owner_;
};

// Work for the end of the current turn, after all completions and before the kernel is entered:
// the place where a link flushes once what many streams wrote. Linked at most once; unlinks itself
// when destroyed.
class Deferred : public ListNode<Deferred> {
 public:
  using Handler = void (*)(Deferred&);
  explicit Deferred(Handler handler) : handler_(handler) {}
  void run() { handler_(*this); }

 private:
  Handler handler_;
};

template <class Owner, void (Owner::*kMethod)()>
class DeferredOf final : public Deferred {
 public:
  explicit DeferredOf(Owner& owner) : Deferred(&call), owner_(owner) {}

 private:
  static void call(Deferred& deferred) { (static_cast<DeferredOf&>(deferred).owner_.*kMethod)(); }
  Owner& owner_;
};

// The receive blocks of a loop, for reports and checkers.
struct BlockUse {
  uint32_t lent = 0;    // slices of received octets refer to them
  uint64_t copied = 0;  // receives so far that were copied, because too few blocks were free
};

struct LoopMetrics {
  Counter turns;
  Counter accepts;
  Counter accept_limit_hits;  // EMFILE, ENFILE: accepting paused for a while
  Counter starvations;        // a receive found no free block
  Counter wakes;              // posts that had to wake a parked loop
};

class Loop {
 public:
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  virtual ~Loop() = default;
  virtual LoopKind kind() const = 0;

  // --- running -----------------------------------------------------------------------------
  // The time of this turn.
  Instant now() const { return now_; }
  // One turn: letters, timers, deferred work, then at most one entry of the kernel, which waits
  // no longer than `wait_max`, then the completions.
  virtual void run_turn(Duration wait_max) = 0;
  // Turns until stop(). The thread that calls run() owns the loop from then on.
  void run();
  // Turns until `is_done` or stop(). It is asked before each wait too, for what deferred work did.
  template <class Condition>
  void run_until(Condition is_done) {
    awaited_ = {&is_done, [](void* condition) { return (*static_cast<Condition*>(condition))(); }};
    while (!this->is_done()) run_turn(Duration::seconds(3600));
    awaited_ = {};
  }
  void stop() { is_stopping_ = true; }  // from a handler; other threads post a letter
  TimerWheel& timers() { return timers_; }
  // Runs at the end of this turn; a second call before that is ignored.
  void defer(Deferred& work) {
    if (!work.is_linked()) deferred_.push_back(work);
  }
  // Any thread. Wakes the loop if it is parked.
  void post(std::unique_ptr<Letter> letter);

  // --- sockets -----------------------------------------------------------------------------
  virtual Result<Fd> listen(const Address& address, const ListenOptions& options) = 0;
  // Multishot: one completion per connection until cancelled. Accepted sockets have
  // `options` applied. At EMFILE/ENFILE the loop backs off by itself and goes on.
  virtual void accept(Op& op, Fd listener, const SocketOptions& options) = 0;
  // Of a busy accept: for connections that come from now on.
  virtual void set_accept_options(Op& op, const SocketOptions& options) = 0;
  // Opens a socket and connects it. Completes with the fd or the errno. The deadline is the
  // owner's: a timer that cancels.
  virtual void connect(Op& op, const Address& address, const SocketOptions& options) = 0;
  // Multishot: completions carry bytes until the end (result 0), an error, or cancel()
  // (-ECANCELED); these three are last. Bytes that arrived before the cancel are still delivered;
  // none is lost: a later receive() goes on behind them. One receive op per fd.
  // Not last and result == 0 never happens.
  virtual void receive(Op& op, Fd fd) = 0;
  // Sends from the front of `chain`, at most kSendBytesMax. The owner keeps the chain alive and
  // does not drop from its front until the completion (it may append). One completion, with all
  // those octets sent, or fewer followed by an error at the next send, or an error.
  // One send op per fd at a time.
  virtual void send(Op& op, Fd fd, const Chain& chain) = 0;
  static constexpr uint64_t kSendBytesMax = 256 * 1024;
  // One-shot readiness of a foreign descriptor (POLLIN, POLLOUT): inotify, c-ares, OpenSSL with
  // kTLS. Completes with the events. One poll op per fd.
  virtual void poll(Op& op, Fd fd, uint32_t events) = 0;
  // Looks after a connected socket that nobody receives on, because its stream ended or is paused:
  // completes with a negated errno value when the connection is reset, or fails otherwise, also
  // with octets that wait to be received; never after an orderly end. One watch per fd, and no
  // receive beside it.
  virtual void watch(Op& op, Fd fd) = 0;
  // Ends a watch, at once and without a completion. Idle ops: no effect.
  virtual void unwatch(Op& op) = 0;
  // Asks any other busy op to end. Its last completion comes later, from run_turn(); what it did
  // until then counts (a send may have sent, a connect may deliver its fd). Idle ops: no effect.
  virtual void cancel(Op& op) = 0;
  // Sends FIN behind everything sent.
  virtual void shutdown_send(Fd fd) = 0;
  enum class Ending : uint8_t { orderly, abort };  // abort: RST (SO_LINGER 0)
  // All ops of `fd` must be idle. Takes effect with the next turn at the latest.
  virtual void close(Fd fd, Ending ending) = 0;
  virtual Result<Address> local_address(Fd fd) const = 0;
  virtual Result<Address> remote_address(Fd fd) const = 0;
  // Octets that a send would hand over now without waiting, of a socket of which `unsent_max`
  // octets may wait in the kernel (SocketOptions::notsent_lowat_bytes). 0 where the kernel does not
  // tell.
  virtual uint64_t send_room(Fd fd, uint64_t unsent_max) const = 0;
  // A connected socket that another loop accepted: this loop owns it now, options applied.
  virtual void adopt(Fd fd, const SocketOptions& options) = 0;
  // The opposite: forgets a socket whose ops are all idle, so that another loop can adopt it.
  virtual void release(Fd fd) { static_cast<void>(fd); }

  virtual BlockUse block_use() const = 0;
  LoopMetrics& metrics() { return metrics_; }
  const LoopMetrics& metrics() const { return metrics_; }

 protected:
  explicit Loop(Instant start) : now_(start), timers_(start) {}

  // Wakes the loop's thread out of the kernel. Any thread.
  virtual void wake() = 0;

  // For implementations: state of an op, which only the loop touches.
  static void begin(Op& op, OpKind kind, Fd fd) {
    ASSERT(op.is_idle());
    op.kind_ = kind;
    op.fd_ = fd;
    op.is_cancelling_ = false;
  }
  static Fd fd_of(const Op& op) { return op.fd_; }
  static uint32_t slot_of(const Op& op) { return op.slot_; }
  static void set_slot(Op& op, uint32_t slot) { op.slot_ = slot; }
  static bool is_cancelling(const Op& op) { return op.is_cancelling_; }
  static void set_cancelling(Op& op) { op.is_cancelling_ = true; }
  // The op is idle, and its handler is not told.
  static void drop(Op& op) { op.kind_ = OpKind::none; }
  // Runs the handler; on the last completion the op is idle before the handler runs.
  // The op may be gone when this returns.
  static void complete(Op& op, Completion&& done) {
    if (done.is_last) op.kind_ = OpKind::none;
    op.handler_(op, std::move(done));
  }
  void run_deferred();

  Instant now_;
  TimerWheel timers_;
  Mailbox mailbox_;
  List<Deferred> deferred_;
  std::atomic<bool> is_parked_{false};  // set around the kernel's wait
  // What nobody has to wait for any more, as far as run_until() asks.
  bool is_done() const {
    return is_stopping_ || (awaited_.holds != nullptr && awaited_.holds(awaited_.condition));
  }
  bool is_stopping_ = false;
  struct Awaited {
    void* condition = nullptr;
    bool (*holds)(void* condition) = nullptr;
  };
  Awaited awaited_;  // by run_until()
  LoopMetrics metrics_;
};

// What the functional probe found. `reason` is for people: "io_uring refused by seccomp (EPERM)".
struct LoopChoice {
  LoopKind kind = LoopKind::epoll;
  bool has_receive_bundles = false;  // RECVSEND_BUNDLE passed its self-test
  bool has_receive_limit = false;    // a multishot receive may be limited in length
  std::string reason;
};

enum class IoMode : uint8_t { automatic, uring, epoll };

// Chooses once per process. IoMode::epoll never touches io_uring. IoMode::uring fails with the
// reason where io_uring does not work; automatic falls back to epoll.
Result<LoopChoice> choose_loop(IoMode mode);

struct LoopOptions {
  uint32_t block_bytes = 8 * 1024;  // size of a receive block
  uint32_t block_count = 256;       // receive blocks per worker at start
  uint32_t block_count_max = 2048;  // and at most
};

// Call on the thread that will run the loop (io_uring: single issuer).
Result<std::unique_ptr<Loop>> make_loop(const LoopChoice& choice, const LoopOptions& options);

}  // namespace istmo::io
