// The Loop of a simulated worker: deterministic, in virtual time, on the sockets of a SimNetwork.
//
// Belongs to one host of the network; several loops of a host are the workers of a process, or
// several processes. All loops of a network run in the thread that steps it. When a loop ends, its
// sockets are closed, as those of a process that exits.
#pragma once

#include <deque>
#include <vector>

#include "dataplane/io/loop.h"
#include "dataplane/io/sim_blocks.h"
#include "dataplane/io/sim_network.h"

namespace istmo::io {

class SimLoop final : public Loop {
 public:
  SimLoop(SimNetwork& network, SimHost host, const LoopOptions& options = {});
  ~SimLoop() override;
  LoopKind kind() const override { return LoopKind::sim; }

  // Called by SimNetwork::step() with no wait. With a wait, and nothing to do, virtual time passes
  // until there is (the other loops of the network do not run meanwhile).
  void run_turn(Duration wait_max) override;

  Result<Fd> listen(const Address& address, const ListenOptions& options) override;
  void accept(Op& op, Fd listener, const SocketOptions& options) override;
  void set_accept_options(Op& op, const SocketOptions& options) override;
  void connect(Op& op, const Address& address, const SocketOptions& options) override;
  void receive(Op& op, Fd fd) override;
  void send(Op& op, Fd fd, const Chain& chain) override;
  // Foreign descriptors do not exist here: completes with -ENOSYS.
  void poll(Op& op, Fd fd, uint32_t events) override;
  void watch(Op& op, Fd fd) override;
  void unwatch(Op& op) override;
  void cancel(Op& op) override;
  void shutdown_send(Fd fd) override;
  void close(Fd fd, Ending ending) override;
  Result<Address> local_address(Fd fd) const override;
  Result<Address> remote_address(Fd fd) const override;
  uint64_t send_room(Fd fd, uint64_t unsent_max) const override;
  void release(Fd fd) override;
  void adopt(Fd fd, const SocketOptions& options) override;
  BlockUse block_use() const override { return blocks_.use(); }

  SimHost host() const { return host_; }
  uint32_t index() const { return index_; }
  bool is_runnable() const;
  Instant next_timer() const { return timers_.next_wake(); }
  uint32_t busy_ops() const { return busy_ops_; }

  // --- for SimTcp and SimNetwork -----------------------------------------------------------
  static constexpr uint32_t kNoSlot = UINT32_MAX;
  // The op in `slot` may be able to go on: it is tried at the next turn, or later if a fault says
  // so.
  void mark_ready(uint32_t slot);
  void on_delay_over(uint32_t slot, uint64_t generation);
  SimBlocks& blocks() { return blocks_; }

 protected:
  void wake() override {}  // one thread: a letter makes the loop runnable by being there

 private:
  enum class Readiness : uint8_t { none, delayed, ready };
  // An op that was started and has not completed for the last time.
  struct Held {
    Op* op = nullptr;
    uint64_t generation = 0;
    Readiness readiness = Readiness::none;
    bool is_racing = false;  // cancelled, but does what it can first
    int error = 0;           // poll, connect: known at the start
    const Chain* chain = nullptr;
    uint32_t total = 0;
    uint32_t done = 0;
    SocketOptions options;
  };

  uint32_t hold(Op& op, OpKind kind, Fd fd);
  void finish(uint32_t slot, Completion&& done);
  void let_go(uint32_t slot);
  void delay(uint32_t slot, Duration wait);
  void run_completions();
  void try_op(uint32_t slot);
  void try_accept(uint32_t slot);
  void try_connect(uint32_t slot);
  void try_receive(uint32_t slot);
  void try_send(uint32_t slot);
  void try_watch(uint32_t slot);
  uint32_t progress_of(uint64_t most);

  SimNetwork& network_;
  SimHost host_;
  uint32_t index_ = 0;
  uint32_t busy_ops_ = 0;
  uint64_t generations_ = 0;
  SimBlocks blocks_;
  std::deque<Held> held_;  // references stay valid while it grows
  std::vector<uint32_t> free_;
  std::vector<uint32_t> ready_;
};

}  // namespace istmo::io
