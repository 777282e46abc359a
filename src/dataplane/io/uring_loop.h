// The loop on io_uring: Linux 6.1+, at its best from 6.12.
//
// Owned by a worker; created, run and destroyed on its thread (single issuer). One enter per turn
// submits what the handlers asked for, runs the kernel's deferred work and waits. An op is known
// to the kernel by tag, slot and generation, never by a pointer, so a late completion finds nobody
// instead of a stranger. It ends by its destructor, when all ops are idle.
#pragma once

#include <array>
#include <deque>
#include <vector>

#include "dataplane/io/block_pool.h"
#include "dataplane/io/kernel_socket.h"
#include "dataplane/io/loop.h"
#include "dataplane/io/receive_ring.h"

namespace istmo::io {

class UringLoop final : public Loop {
 public:
  static Result<std::unique_ptr<Loop>> create(const LoopChoice& choice, const LoopOptions& options);
  ~UringLoop() override;

  LoopKind kind() const override { return LoopKind::uring; }
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
  BlockUse block_use() const override { return pool_.use(); }

 private:
  enum class SlotState : uint8_t {
    free,
    in_kernel,  // submitted, or about to be with the next enter
    waiting,    // between two entries of the kernel: the loop starts it again
    finished,   // its last completion waits for run_turn()
  };
  struct Slot : ListNode<Slot> {  // in one list at most, by state and kind of the op
    Op* op = nullptr;
    const Chain* chain = nullptr;  // of a send
    uint32_t index = 0;
    uint32_t generation = 0;
    SlotState state = SlotState::free;
  };
  struct Event {  // a completion queue entry
    uint64_t user_data;
    int32_t result;
    uint32_t flags;
  };
  struct Finished {
    uint32_t slot;
    int32_t result;
  };
  static constexpr uint32_t kIovecsMax = 64;
  static constexpr uint32_t kQuietBatch = 64;
  struct Message {
    msghdr header;
    std::array<iovec, kIovecsMax> parts;
  };

  UringLoop(const LoopChoice& choice, const LoopOptions& options);
  Result<> open();
  void wake() override;

  // Turns.
  bool has_work() const;
  void wait_and_enter(Duration wait_max);
  int enter(uint32_t completions_min, Duration wait);
  void reap();
  bool next_event(Event& event);
  void stash_events();
  void run_finished();
  void resume_starved();
  void on_trim();
  void on_quiet_check();
  void note_drained(Slot& slot);
  void on_accept_retry();

  // Ops.
  Slot& start(Op& op, OpKind kind, Fd fd);
  io_uring_sqe& next_sqe();
  void arm_wake();
  void arm_accept(Slot& slot);
  void arm_receive(Slot& slot);
  uint32_t receive_bytes_max() const;
  void arm_send(Slot& slot);
  void arm_watch(Slot& slot);
  void arm_cancel(Slot& slot);
  void finish(Slot& slot, int32_t result);
  void end(Slot& slot, Completion&& done);
  void free_slot(Slot& slot);

  // Events.
  void on_event(const Event& event);
  Slot* slot_of_event(const Event& event);
  void on_cancel_answered(const Event& event);
  void on_accepted(Slot& slot, const Event& event);
  void on_received(Slot& slot, const Event& event);
  void on_watched(Slot& slot, const Event& event);
  void on_done(Slot& slot, const Event& event);

  const bool has_receive_bundles_;
  const bool has_receive_limit_;
  bool is_open_ = false;
  uint32_t enter_flags_ = 0;
  io_uring ring_{};
  int wake_event_ = -1;
  uint64_t wake_count_ = 0;  // where the kernel puts what it reads from wake_event_
  BlockPool pool_;
  ReceiveRing receive_ring_{ring_, pool_};
  std::deque<Slot> slots_;  // a deque, so that they stay in place
  std::vector<uint32_t> free_slots_;
  std::deque<Event> stash_;  // events moved out of the way while a handler was running
  std::vector<Finished> finished_;
  List<Slot> starved_;
  List<Slot> resting_;  // accepts that hit a limit
  List<Slot> drained_;  // receives that got octets since the last check, and emptied the socket
  List<Slot> quiet_;    // and those that got nothing more since
  // What entries that are not submitted yet point to; a deque, so that it stays in place.
  std::deque<Message> messages_;
  std::deque<Address> addresses_;
  size_t messages_used_ = 0;
  Backoff accept_backoff_ = kAcceptBackoff;
  TimerOf<UringLoop, &UringLoop::on_accept_retry> accept_retry_{*this};
  TimerOf<UringLoop, &UringLoop::on_trim> trim_{*this};
  TimerOf<UringLoop, &UringLoop::on_quiet_check> quiet_check_{*this};
};

}  // namespace istmo::io
