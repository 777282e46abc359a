// The loop for places where io_uring is refused: epoll, with the same verbs and the same behaviour.
//
// Owned by a worker, lives on its thread. Every socket is registered once, edge-triggered for both
// directions; reads gather up to 16 blocks of the pool per system call; sends are tried at once
// and go on when the socket becomes writable. Whatever finishes inside a verb is queued and told
// from run_turn(). It ends by its destructor, when all ops are idle.
#pragma once

#include <deque>
#include <vector>

#include "dataplane/io/block_pool.h"
#include "dataplane/io/kernel_socket.h"
#include "dataplane/io/loop.h"

namespace istmo::io {

class EpollLoop final : public Loop {
 public:
  static Result<std::unique_ptr<Loop>> create(const LoopOptions& options);
  ~EpollLoop() override;

  LoopKind kind() const override { return LoopKind::epoll; }
  void run_turn(Duration wait_max) override;

  Result<Fd> listen(const Address& address, const ListenOptions& options) override;
  void accept(Op& op, Fd listener, const SocketOptions& options) override;
  void set_accept_options(Op& op, const SocketOptions& options) override;
  void connect(Op& op, const Address& address, const SocketOptions& options) override;
  void receive(Op& op, Fd fd) override;
  void send(Op& op, Fd fd, const Chain& chain) override;
  void poll(Op& op, Fd fd, uint32_t events) override;
  void watch(Op& op, Fd fd) override;
  void unwatch(Op& op) override;
  void cancel(Op& op) override;
  void shutdown_send(Fd fd) override;
  void close(Fd fd, Ending ending) override;
  Result<Address> local_address(Fd fd) const override { return local_address_of(fd); }
  Result<Address> remote_address(Fd fd) const override { return remote_address_of(fd); }
  uint64_t send_room(Fd fd, uint64_t unsent_max) const override {
    return send_room_of(fd, unsent_max);
  }
  void adopt(Fd fd, const SocketOptions& options) override { apply_options(fd, options); }
  void release(Fd fd) override;
  BlockUse block_use() const override { return pool_.use(); }

 private:
  // What the loop knows of one descriptor; on the ready list while its reader has work to do, or
  // its watcher.
  struct Descriptor : ListNode<Descriptor> {
    Op* reader = nullptr;  // accept or receive
    Op* writer = nullptr;  // connect or send
    Op* poller = nullptr;
    Op* watcher = nullptr;
    const Chain* chain = nullptr;  // of the send
    uint32_t send_bytes = 0;       // what the send covers
    uint32_t sent_bytes = 0;
    uint32_t poll_events = 0;
    uint32_t generation = 0;  // tells events of a closed descriptor from its successor's
    int number = -1;
    bool is_registered = false;
    bool can_read = false;    // no EAGAIN seen since the last edge
    bool has_ended = false;   // an end or an error is waiting behind the bytes
    bool has_failed = false;  // an error was seen
  };
  // An op whose last completion waits for run_turn().
  struct Finished {
    Op* op;
    int32_t result;
  };

  EpollLoop(int epoll, int wake_event, const LoopOptions& options);
  void wake() override;
  int wait_ms(Duration wait_max);
  void wait_for_events(int timeout_ms);
  void on_event(uint64_t key, uint32_t events);
  void run_ready();
  void run_finished();
  void deliver(const Finished& finished);
  void on_trim();
  void on_accept_retry();

  Descriptor& descriptor(Fd fd);
  int enlist(Descriptor& in);
  void forget(Descriptor& in);
  void finish(Op& op, int32_t result) { finished_.push_back({&op, result}); }
  void read_ready(Descriptor& in);
  void tell_watcher(Descriptor& in);
  int64_t read_blocks(Descriptor& in, Chain& bytes, uint64_t& asked);
  void accept_ready(Descriptor& in);
  void send_more(Descriptor& in);
  void on_connect_event(Descriptor& in);

  const int epoll_;
  const int wake_event_;
  BlockPool pool_;
  std::deque<Descriptor> descriptors_;  // by number; a deque, so that they stay in place
  List<Descriptor> ready_;
  std::vector<Finished> finished_;
  std::vector<Fd> resting_listeners_;  // hit a limit
  Backoff accept_backoff_ = kAcceptBackoff;
  TimerOf<EpollLoop, &EpollLoop::on_accept_retry> accept_retry_{*this};
  TimerOf<EpollLoop, &EpollLoop::on_trim> trim_{*this};
};

}  // namespace istmo::io
