#include "dataplane/io/sim_loop.h"

#include <algorithm>
#include <cerrno>

#include "dataplane/io/sim_tcp.h"

namespace istmo::io {

namespace {

constexpr size_t kLettersMax = 256;
constexpr Duration kAcceptPause = Duration::milliseconds(100);

}  // namespace

SimLoop::SimLoop(SimNetwork& network, SimHost host, const LoopOptions& options)
    : Loop(network.now()),
      network_(network),
      host_(host),
      index_(network.add_loop(*this)),
      blocks_(options) {}

SimLoop::~SimLoop() {
  network_.tcp().close_all_of(*this);
  network_.remove_loop(index_);
}

bool SimLoop::is_runnable() const {
  return !ready_.empty() || !mailbox_.is_empty() || !deferred_.empty() ||
         timers_.next_wake() <= network_.now();
}

void SimLoop::run_turn(Duration wait_max) {
  network_.begin_turn(index_);
  metrics_.turns.add();
  now_ = network_.now();
  mailbox_.deliver(kLettersMax);
  timers_.advance(now_);
  run_deferred();
  const Instant deadline = now_ + wait_max;
  while (!is_runnable() && network_.now() < deadline) {
    network_.advance(std::min(deadline, next_timer()));
  }
  now_ = network_.now();
  run_completions();
  network_.end_turn();
}

Result<Fd> SimLoop::listen(const Address& address, const ListenOptions& options) {
  return network_.tcp().listen(*this, address, options);
}

void SimLoop::accept(Op& op, Fd listener, const SocketOptions& options) {
  const uint32_t slot = hold(op, OpKind::accept, listener);
  held_[slot].options = options;
  network_.tcp().set_reader(listener, slot);
}

void SimLoop::set_accept_options(Op& op, const SocketOptions& options) {
  ASSERT(op.kind() == OpKind::accept);
  held_[slot_of(op)].options = options;
}

void SimLoop::connect(Op& op, const Address& address, const SocketOptions& options) {
  int error = 0;
  const Fd fd = network_.tcp().connect(*this, address, options, error);
  const uint32_t slot = hold(op, OpKind::connect, fd);
  held_[slot].error = error;
  if (fd.is_open()) network_.tcp().set_writer(fd, slot);
}

void SimLoop::receive(Op& op, Fd fd) {
  network_.tcp().set_reader(fd, hold(op, OpKind::receive, fd));
}

void SimLoop::send(Op& op, Fd fd, const Chain& chain) {
  ASSERT(!chain.empty());
  const uint32_t slot = hold(op, OpKind::send, fd);
  held_[slot].chain = &chain;
  held_[slot].total = static_cast<uint32_t>(std::min<uint64_t>(chain.size(), kSendBytesMax));
  network_.tcp().set_writer(fd, slot);
}

void SimLoop::poll(Op& op, Fd fd, uint32_t) { held_[hold(op, OpKind::poll, fd)].error = -ENOSYS; }

void SimLoop::watch(Op& op, Fd fd) { network_.tcp().set_watcher(fd, hold(op, OpKind::watch, fd)); }

void SimLoop::unwatch(Op& op) {
  if (op.is_idle()) return;
  ASSERT(op.kind() == OpKind::watch);
  network_.tcp().set_watcher(fd_of(op), kNoSlot);
  let_go(slot_of(op));
  drop(op);
}

void SimLoop::cancel(Op& op) {
  if (op.is_idle() || is_cancelling(op)) return;
  ASSERT(op.kind() != OpKind::watch);
  set_cancelling(op);
  held_[slot_of(op)].is_racing = network_.rng().chance(network_.faults().cancel_race);
  mark_ready(slot_of(op));
}

void SimLoop::shutdown_send(Fd fd) { network_.tcp().shutdown_send(fd); }
void SimLoop::close(Fd fd, Ending ending) { network_.tcp().close(fd, ending); }

Result<Address> SimLoop::local_address(Fd fd) const { return network_.tcp().local_address(fd); }
Result<Address> SimLoop::remote_address(Fd fd) const { return network_.tcp().remote_address(fd); }

uint64_t SimLoop::send_room(Fd fd, uint64_t unsent_max) const {
  return std::min(network_.tcp().send_room(fd), unsent_max);
}

void SimLoop::release(Fd fd) { network_.tcp().release(fd); }

void SimLoop::adopt(Fd fd, const SocketOptions& options) {
  network_.tcp().adopt(fd, *this, options);
}

void SimLoop::mark_ready(uint32_t slot) {
  Held& held = held_[slot];
  if (held.readiness != Readiness::none) return;
  const SimFaults& faults = network_.faults();
  const bool is_starved =
      held.op->kind() == OpKind::receive && network_.rng().chance(faults.starvation);
  if (is_starved) metrics_.starvations.add();
  if (is_starved || network_.rng().chance(faults.delayed_completion)) {
    const auto wait_max = static_cast<uint64_t>(faults.delay_max.ns);
    const uint64_t wait_ns = network_.rng().between(1, std::max<uint64_t>(wait_max, 1));
    delay(slot, Duration::nanoseconds(static_cast<int64_t>(wait_ns)));
    return;
  }
  held.readiness = Readiness::ready;
  ready_.push_back(slot);
}

void SimLoop::delay(uint32_t slot, Duration wait) {
  Held& held = held_[slot];
  held.readiness = Readiness::delayed;
  network_.schedule({.at = network_.now() + wait,
                     .kind = SimEvent::Kind::op_ready,
                     .connection = slot,
                     .end = index_,
                     .number = held.generation});
}

void SimLoop::on_delay_over(uint32_t slot, uint64_t generation) {
  Held& held = held_[slot];
  if (held.generation != generation || held.readiness != Readiness::delayed) return;
  held.readiness = Readiness::ready;
  ready_.push_back(slot);
}

// The op is tried at the next turn's end: nothing completes inside a verb.
uint32_t SimLoop::hold(Op& op, OpKind kind, Fd fd) {
  begin(op, kind, fd);
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(held_.size()));
    held_.emplace_back();
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  held_[slot] = {.op = &op, .generation = ++generations_};
  set_slot(op, slot);
  ++busy_ops_;
  mark_ready(slot);
  return slot;
}

// The op may be gone when this returns.
void SimLoop::finish(uint32_t slot, Completion&& done) {
  Held& held = held_[slot];
  Op& op = *held.op;
  const Fd fd = fd_of(op);
  switch (op.kind()) {
    case OpKind::accept:
    case OpKind::receive: network_.tcp().set_reader(fd, kNoSlot); break;
    case OpKind::connect:
      if (done.fd.is_open()) network_.tcp().set_writer(fd, kNoSlot);
      break;
    case OpKind::send: network_.tcp().set_writer(fd, kNoSlot); break;
    case OpKind::watch: network_.tcp().set_watcher(fd, kNoSlot); break;
    case OpKind::poll:
    case OpKind::none: break;
  }
  let_go(slot);
  network_.note('F', index_, static_cast<uint64_t>(done.result) << 8 | uint64_t(op.kind()));
  done.is_last = true;
  complete(op, std::move(done));
}

void SimLoop::let_go(uint32_t slot) {
  held_[slot] = {.generation = ++generations_};
  free_.push_back(slot);
  --busy_ops_;
}

void SimLoop::run_completions() {
  std::vector<uint32_t> batch;
  batch.swap(ready_);
  for (size_t left = batch.size(); left > 1; --left) {  // completions come in any order
    std::swap(batch[left - 1], batch[network_.rng().below(left)]);
  }
  for (const uint32_t slot : batch) {
    if (held_[slot].readiness != Readiness::ready) continue;
    held_[slot].readiness = Readiness::none;
    try_op(slot);
  }
}

void SimLoop::try_op(uint32_t slot) {
  switch (held_[slot].op->kind()) {
    case OpKind::accept: return try_accept(slot);
    case OpKind::connect: return try_connect(slot);
    case OpKind::receive: return try_receive(slot);
    case OpKind::send: return try_send(slot);
    case OpKind::watch: return try_watch(slot);
    case OpKind::poll: {
      const int error = is_cancelling(*held_[slot].op) ? -ECANCELED : held_[slot].error;
      return finish(slot, {.result = error});
    }
    case OpKind::none: ASSERT(false);
  }
}

void SimLoop::try_accept(uint32_t slot) {
  Held& held = held_[slot];
  Op& op = *held.op;
  SimTcp& tcp = network_.tcp();
  if (is_cancelling(op) && !held.is_racing) return finish(slot, {.result = -ECANCELED});
  held.is_racing = false;
  if (!tcp.has_waiting(fd_of(op))) {
    if (is_cancelling(op)) finish(slot, {.result = -ECANCELED});
    return;
  }
  if (network_.rng().chance(network_.faults().accept_limit) ||
      network_.open_sockets(host_) >= network_.sockets_max(host_)) {
    metrics_.accept_limit_hits.add();
    return delay(slot, kAcceptPause);
  }
  const Fd fd = tcp.accept(fd_of(op), *this, held.options);
  mark_ready(slot);  // there may be more, or the end
  if (!fd.is_open()) return;
  metrics_.accepts.add();
  network_.note('A', index_, static_cast<uint64_t>(fd.number()));
  complete(op, {.result = 0, .is_last = false, .fd = fd});
}

void SimLoop::try_connect(uint32_t slot) {
  Held& held = held_[slot];
  const Fd fd = fd_of(*held.op);
  const bool gives_up = is_cancelling(*held.op) && !held.is_racing;
  const int result = fd.is_open() ? network_.tcp().connect_result(fd) : held.error;
  if (!gives_up && result == 0) return finish(slot, {.result = 0, .fd = fd});
  if (result == -EINPROGRESS && !is_cancelling(*held.op)) return;
  if (fd.is_open()) {
    network_.tcp().set_writer(fd, kNoSlot);
    network_.tcp().close(fd, Ending::abort);
  }
  const bool is_answer = result < 0 && result != -EINPROGRESS && !gives_up;
  finish(slot, {.result = is_answer ? result : -ECANCELED});
}

void SimLoop::try_receive(uint32_t slot) {
  Held& held = held_[slot];
  Op& op = *held.op;
  if (is_cancelling(op) && !held.is_racing) return finish(slot, {.result = -ECANCELED});
  Completion done;
  const uint32_t most = progress_of(network_.options().delivery_bytes_max);
  done.result = network_.tcp().receive(fd_of(op), most, done.bytes);
  if (done.result == -EAGAIN) {
    held.is_racing = false;
    if (is_cancelling(op)) finish(slot, {.result = -ECANCELED});
    return;
  }
  if (done.result <= 0) return finish(slot, std::move(done));
  mark_ready(slot);  // there may be more
  network_.note('D', index_, static_cast<uint64_t>(done.result));
  done.is_last = false;
  complete(op, std::move(done));
}

void SimLoop::try_send(uint32_t slot) {
  Held& held = held_[slot];
  const Fd fd = fd_of(*held.op);
  SimTcp& tcp = network_.tcp();
  const bool is_ending = is_cancelling(*held.op);
  if (!is_ending || held.is_racing) {
    if (!tcp.can_send(fd)) {  // octets sent before count first; the next send gets the error
      const int error = held.done > 0 ? 0 : tcp.take_send_error(fd);
      return finish(slot, {.result = error > 0 ? -error : static_cast<int32_t>(held.done)});
    }
    const uint64_t room = std::min<uint64_t>(tcp.send_room(fd), held.total - held.done);
    if (room > 0) {
      const uint32_t count = std::min<uint32_t>(progress_of(room), static_cast<uint32_t>(room));
      tcp.send(fd, *held.chain, held.done, count);
      held.done += count;
    }
    if (held.done == held.total) {
      return finish(slot, {.result = static_cast<int32_t>(held.total)});
    }
    if (room > 0) mark_ready(slot);
  }
  if (!is_ending) return;
  finish(slot, {.result = held.done > 0 ? static_cast<int32_t>(held.done) : -ECANCELED});
}

void SimLoop::try_watch(uint32_t slot) {
  const int error = network_.tcp().take_error(fd_of(*held_[slot].op));
  if (error != 0) finish(slot, {.result = -error});
}

// How many of `most` octets move now.
uint32_t SimLoop::progress_of(uint64_t most) {
  ASSERT(most > 0);
  const bool is_small = network_.rng().chance(network_.faults().small_chunk);
  const uint64_t bound = is_small ? std::min<uint64_t>(most, 64) : most;
  if (is_small) return static_cast<uint32_t>(network_.rng().between(1, bound));
  return static_cast<uint32_t>(bound);
}

}  // namespace istmo::io
