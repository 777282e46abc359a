#include "dataplane/io/uring_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace istmo::io {
namespace {

constexpr uint32_t kSubmissionEntries = 512;
constexpr uint32_t kCompletionEntries = 8192;
constexpr size_t kLettersPerTurn = 1024;
constexpr uint32_t kEventsPerTurn = 2048;
constexpr Duration kWaitMax = Duration::seconds(3600);
constexpr Duration kTrimInterval = Duration::seconds(1);
constexpr Duration kQuietInterval = Duration::milliseconds(100);

// Not in the headers of liburing 2.9 (Linux 6.15): an idle wait that does not count as I/O wait.
constexpr uint32_t kFeatureNoIowait = 1U << 17;
constexpr uint32_t kEnterNoIowait = 1U << 7;

// user_data: tag (8 bits), generation (24), slot (32).
enum class Tag : uint8_t { op = 1, cancel = 2, wake = 3, ignored = 4 };
constexpr uint32_t kGenerationMask = 0xffffff;

uint64_t user_data_of(Tag tag, uint32_t generation = 0, uint32_t slot = 0) {
  return uint64_t{static_cast<uint8_t>(tag)} << 56 | uint64_t{generation} << 32 | slot;
}

}  // namespace

Result<std::unique_ptr<Loop>> UringLoop::create(const LoopChoice& choice,
                                                const LoopOptions& options) {
  std::unique_ptr<UringLoop> loop(new UringLoop(choice, options));
  TRY(loop->open());
  return std::unique_ptr<Loop>(std::move(loop));
}

UringLoop::UringLoop(const LoopChoice& choice, const LoopOptions& options)
    : Loop(monotonic_now()),
      has_receive_bundles_(choice.has_receive_bundles),
      has_receive_limit_(choice.has_receive_limit),
      pool_(options) {}

Result<> UringLoop::open() {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = kCompletionEntries;
  const int error = io_uring_queue_init_params(kSubmissionEntries, &ring_, &params);
  if (error < 0) return Error::from_errno(-error, "io_uring_setup");
  is_open_ = true;
  enter_flags_ = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  if (params.features & kFeatureNoIowait) enter_flags_ |= kEnterNoIowait;
  if (io_uring_register_ring_fd(&ring_) == 1) enter_flags_ |= IORING_ENTER_REGISTERED_RING;
  io_uring_ring_dontfork(&ring_);
  TRY(receive_ring_.open());
  // Blocking, or io_uring would answer EAGAIN instead of waiting.
  wake_event_ = eventfd(0, EFD_CLOEXEC);
  if (wake_event_ < 0) return Error::from_errno(errno, "eventfd of a loop");
  arm_wake();
  return {};
}

UringLoop::~UringLoop() {
  if (!is_open_) return;
  enter(0, {});  // closes may be waiting
  receive_ring_.close();
  io_uring_queue_exit(&ring_);
  if (wake_event_ >= 0) ::close(wake_event_);
}

// --- turns -------------------------------------------------------------------------------------

void UringLoop::run_turn(Duration wait_max) {
  metrics_.turns.add();
  now_ = monotonic_now();
  mailbox_.deliver(kLettersPerTurn);
  timers_.advance(now_);
  run_deferred();
  receive_ring_.refill();
  resume_starved();
  wait_and_enter(wait_max);
  reap();
  run_finished();
  if (pool_.is_grown() && !trim_.is_armed()) timers_.arm(trim_, now_ + kTrimInterval);
}

bool UringLoop::has_work() const {
  return !finished_.empty() || !stash_.empty() || !starved_.empty() || !deferred_.empty() ||
         io_uring_cq_ready(&ring_) > 0 || is_done();
}

void UringLoop::wait_and_enter(Duration wait_max) {
  wait_max = std::min(wait_max, kWaitMax);
  const Instant wake_at = timers_.next_wake();
  if (wake_at != Instant::never()) wait_max = std::min(wait_max, wake_at - now_);
  if (wait_max <= Duration{} || has_work()) {
    enter(0, {});
    return;
  }
  is_parked_.store(true, std::memory_order_seq_cst);
  if (mailbox_.is_empty()) enter(1, wait_max);
  else enter(0, {});
  is_parked_.store(false, std::memory_order_relaxed);
  now_ = monotonic_now();
}

// Submits everything, runs the kernel's deferred work and waits for `completions_min` events.
// Errors (a timeout, a signal, an overflown completion queue) all mean: look at the events.
int UringLoop::enter(uint32_t completions_min, Duration wait) {
  io_uring_sq& sq = ring_.sq;
  if (sq.sqe_head != sq.sqe_tail) {
    sq.sqe_head = sq.sqe_tail;
    io_uring_smp_store_release(sq.ktail, sq.sqe_tail);
  }
  const uint32_t to_submit = sq.sqe_tail - io_uring_smp_load_acquire(sq.khead);
  __kernel_timespec timeout{.tv_sec = wait.ns / 1'000'000'000, .tv_nsec = wait.ns % 1'000'000'000};
  io_uring_getevents_arg argument{};
  if (completions_min > 0) argument.ts = reinterpret_cast<uint64_t>(&timeout);
  const int result =
      io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, completions_min,
                      enter_flags_, reinterpret_cast<sigset_t*>(&argument), sizeof argument);
  if (io_uring_smp_load_acquire(sq.khead) == sq.sqe_tail) {
    messages_used_ = 0;  // the kernel has its own copy by now
    addresses_.clear();
  }
  return result;
}

void UringLoop::reap() {
  Event event;
  for (uint32_t i = 0; i < kEventsPerTurn && next_event(event); ++i) on_event(event);
}

bool UringLoop::next_event(Event& event) {
  if (!stash_.empty()) {
    event = stash_.front();
    stash_.pop_front();
    return true;
  }
  const unsigned head = *ring_.cq.khead;
  if (head == io_uring_smp_load_acquire(ring_.cq.ktail)) return false;
  const io_uring_cqe& cqe = ring_.cq.cqes[head & ring_.cq.ring_mask];
  event = {cqe.user_data, cqe.res, cqe.flags};
  io_uring_cq_advance(&ring_, 1);  // before the handler, which may enter the kernel
  return true;
}

// Makes room in the completion queue while a handler runs.
void UringLoop::stash_events() {
  unsigned head = *ring_.cq.khead;
  const unsigned tail = io_uring_smp_load_acquire(ring_.cq.ktail);
  const unsigned count = tail - head;
  for (; head != tail; ++head) {
    const io_uring_cqe& cqe = ring_.cq.cqes[head & ring_.cq.ring_mask];
    stash_.push_back({cqe.user_data, cqe.res, cqe.flags});
  }
  io_uring_cq_advance(&ring_, count);
}

void UringLoop::run_finished() {
  std::vector<Finished> turn;
  turn.swap(finished_);
  for (const Finished& finished : turn) {
    end(slots_[finished.slot], {.result = finished.result});
  }
}

// A few at a time: all at once would only find the ring empty again. There are free blocks by now,
// because the pool never lends out its last ones.
void UringLoop::resume_starved() {
  for (uint32_t left = std::max(1U, pool_.free_count() / 2); left > 0 && !starved_.empty();
       --left) {
    arm_receive(starved_.pop_front());
  }
}

void UringLoop::on_trim() {
  const uint32_t before = pool_.total();
  pool_.trim();
  if (pool_.total() < before) receive_ring_.discard_unused(pool_.total());
}

// A receive that emptied its socket may never tell a reset: the kernel (6.18 still) takes wake-ups
// that came before the last octets were read as answered by them; only for a FIN it looks again.
// So whoever got octets and then nothing for a while is looked at once, many in one system call.
void UringLoop::on_quiet_check() {
  std::array<pollfd, kQuietBatch> states;
  std::array<Slot*, kQuietBatch> slots;
  while (!quiet_.empty()) {
    uint32_t count = 0;
    while (count < kQuietBatch && !quiet_.empty()) {
      Slot& slot = quiet_.pop_front();
      slots[count] = &slot;
      states[count++] = {.fd = fd_of(*slot.op).number(), .events = POLLRDHUP, .revents = 0};
    }
    if (::poll(states.data(), count, 0) <= 0) continue;
    for (uint32_t i = 0; i < count; ++i) {
      if (states[i].revents != 0) arm_cancel(*slots[i]);  // the next receive finds it at once
    }
  }
  quiet_.splice_back(drained_);
  if (!quiet_.empty()) timers_.arm(quiet_check_, now_ + kQuietInterval);
}

void UringLoop::note_drained(Slot& slot) {
  drained_.push_back(slot);
  if (!quiet_check_.is_armed()) timers_.arm(quiet_check_, now_ + kQuietInterval);
}

void UringLoop::on_accept_retry() {
  while (!resting_.empty()) arm_accept(resting_.pop_front());
}

// --- verbs -------------------------------------------------------------------------------------

Result<Fd> UringLoop::listen(const Address& address, const ListenOptions& options) {
  return open_listener(address, options);
}

void UringLoop::accept(Op& op, Fd listener, const SocketOptions& options) {
  apply_options(listener, options);  // accepted sockets inherit them
  arm_accept(start(op, OpKind::accept, listener));
}

void UringLoop::set_accept_options(Op& op, const SocketOptions& options) {
  ASSERT(op.kind() == OpKind::accept);
  apply_options(fd_of(op), options);
}

void UringLoop::connect(Op& op, const Address& address, const SocketOptions& options) {
  const int number = open_stream_socket(address.family(), options);
  Slot& slot = start(op, OpKind::connect, Fd(number < 0 ? -1 : number));
  if (number < 0) return finish(slot, number);
  io_uring_sqe& sqe = next_sqe();
  const Address& kept = addresses_.emplace_back(address);
  io_uring_prep_connect(&sqe, number, kept.raw(), kept.raw_size());
  sqe.user_data = user_data_of(Tag::op, slot.generation, slot.index);
}

void UringLoop::receive(Op& op, Fd fd) { arm_receive(start(op, OpKind::receive, fd)); }

void UringLoop::send(Op& op, Fd fd, const Chain& chain) {
  ASSERT(!chain.empty());
  Slot& slot = start(op, OpKind::send, fd);
  slot.chain = &chain;
  arm_send(slot);
}

void UringLoop::poll(Op& op, Fd fd, uint32_t events) {
  Slot& slot = start(op, OpKind::poll, fd);
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_poll_add(&sqe, fd.number(), events);
  sqe.user_data = user_data_of(Tag::op, slot.generation, slot.index);
}

void UringLoop::watch(Op& op, Fd fd) { arm_watch(start(op, OpKind::watch, fd)); }

// What it still completes with finds another generation, that is nobody.
void UringLoop::unwatch(Op& op) {
  if (op.is_idle()) return;
  ASSERT(op.kind() == OpKind::watch);
  Slot& slot = slots_[slot_of(op)];
  arm_cancel(slot);
  free_slot(slot);
  drop(op);
}

void UringLoop::cancel(Op& op) {
  if (op.is_idle() || is_cancelling(op)) return;
  ASSERT(op.kind() != OpKind::watch);
  set_cancelling(op);
  Slot& slot = slots_[slot_of(op)];
  switch (slot.state) {
    case SlotState::free: ASSERT(false);
    case SlotState::in_kernel: return arm_cancel(slot);
    case SlotState::waiting: slot.unlink(); return finish(slot, -ECANCELED);
    case SlotState::finished: return;
  }
}

// Directly: as an entry it would be handed to a kernel thread.
void UringLoop::shutdown_send(Fd fd) { ::shutdown(fd.number(), SHUT_WR); }

// As an entry, so behind everything that was asked for before, cancels included.
void UringLoop::close(Fd fd, Ending ending) {
  if (ending == Ending::abort) set_abort_on_close(fd);
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_close(&sqe, fd.number());
  sqe.flags |= IOSQE_CQE_SKIP_SUCCESS;
  sqe.user_data = user_data_of(Tag::ignored);
}

void UringLoop::wake() {
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_event_, &one, sizeof one));
}

// --- ops ---------------------------------------------------------------------------------------

UringLoop::Slot& UringLoop::start(Op& op, OpKind kind, Fd fd) {
  begin(op, kind, fd);
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back().index = free_slots_.back();
  }
  Slot& slot = slots_[free_slots_.back()];
  free_slots_.pop_back();
  ASSERT(slot.state == SlotState::free);
  slot.op = &op;
  slot.state = SlotState::in_kernel;
  set_slot(op, slot.index);
  return slot;
}

io_uring_sqe& UringLoop::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (!sqe) {
    stash_events();
    enter(0, {});
    sqe = io_uring_get_sqe(&ring_);
  }
  return *sqe;
}

void UringLoop::arm_wake() {
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_read(&sqe, wake_event_, &wake_count_, sizeof wake_count_, 0);
  sqe.user_data = user_data_of(Tag::wake);
}

void UringLoop::arm_accept(Slot& slot) {
  slot.state = SlotState::in_kernel;
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_multishot_accept(&sqe, fd_of(*slot.op).number(), nullptr, nullptr,
                                 SOCK_CLOEXEC | SOCK_NONBLOCK);
  sqe.user_data = user_data_of(Tag::op, slot.generation, slot.index);
}

void UringLoop::arm_receive(Slot& slot) {
  slot.state = SlotState::in_kernel;
  const uint32_t bytes_max = receive_bytes_max();
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_recv_multishot(&sqe, fd_of(*slot.op).number(), nullptr, bytes_max, 0);
  sqe.optlen = bytes_max;  // of all its completions, where the kernel knows it (Linux 6.17)
  sqe.flags |= IOSQE_BUFFER_SELECT;
  sqe.buf_group = ReceiveRing::kGroup;
  if (has_receive_bundles_) sqe.ioprio |= IORING_RECVSEND_BUNDLE;
  sqe.user_data = user_data_of(Tag::op, slot.generation, slot.index);
}

// What a receive brings before it has to be armed again; 0: no limit. One connection must not take
// the whole ring, and an owner who pauses gets at most this much after what made it pause.
uint32_t UringLoop::receive_bytes_max() const {
  if (!has_receive_bundles_ || !has_receive_limit_) return 0;
  const uint32_t block_bytes = pool_.block_bytes();
  const uint32_t share = std::clamp(pool_.total() * block_bytes / 8, 64U * 1024, 256U * 1024);
  // Whole blocks: a completion leaves only its last block unfilled.
  const uint32_t bytes_max = std::max(share / block_bytes, 1U) * block_bytes;
  ASSERT(bytes_max % block_bytes == 0);
  return bytes_max;
}

// MSG_WAITALL: the kernel goes on by itself until all of it is sent.
void UringLoop::arm_send(Slot& slot) {
  constexpr int kFlags = MSG_WAITALL | MSG_NOSIGNAL;
  const int fd = fd_of(*slot.op).number();
  io_uring_sqe& sqe = next_sqe();
  if (messages_used_ == messages_.size()) messages_.emplace_back();
  Message& message = messages_[messages_used_];
  uint64_t covered = 0;
  const size_t count = slot.chain->gather(message.parts, kSendBytesMax, covered);
  if (count == 1) {
    io_uring_prep_send(&sqe, fd, message.parts[0].iov_base, message.parts[0].iov_len, kFlags);
  } else {
    ++messages_used_;
    message.header = {};
    message.header.msg_iov = message.parts.data();
    message.header.msg_iovlen = count;
    io_uring_prep_sendmsg(&sqe, fd, &message.header, kFlags);
  }
  sqe.user_data = user_data_of(Tag::op, slot.generation, slot.index);
}

// Multishot, that is for edges: a poll for errors ends at a half-closed socket at once otherwise,
// because the kernel always reports EPOLLRDHUP too.
void UringLoop::arm_watch(Slot& slot) {
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_poll_multishot(&sqe, fd_of(*slot.op).number(), POLLERR);
  sqe.user_data = user_data_of(Tag::op, slot.generation, slot.index);
}

void UringLoop::arm_cancel(Slot& slot) {
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_cancel64(&sqe, user_data_of(Tag::op, slot.generation, slot.index), 0);
  sqe.flags |= IOSQE_CQE_SKIP_SUCCESS;
  sqe.user_data = user_data_of(Tag::cancel, slot.generation, slot.index);
}

// The last completion, later in this turn or in the next.
void UringLoop::finish(Slot& slot, int32_t result) {
  slot.state = SlotState::finished;
  finished_.push_back({slot.index, result});
}

// The last completion, now. The op may be gone afterwards.
void UringLoop::end(Slot& slot, Completion&& done) {
  Op& op = *slot.op;
  if (op.kind() == OpKind::connect) {
    const Fd fd = fd_of(op);
    if (!done.failed()) done.fd = fd;
    else if (fd.is_open()) close(fd, Ending::orderly);
  }
  free_slot(slot);
  complete(op, std::move(done));
}

void UringLoop::free_slot(Slot& slot) {
  slot.op = nullptr;
  slot.chain = nullptr;
  slot.state = SlotState::free;
  slot.generation = (slot.generation + 1) & kGenerationMask;
  free_slots_.push_back(slot.index);
}

// --- events ------------------------------------------------------------------------------------

void UringLoop::on_event(const Event& event) {
  switch (static_cast<Tag>(event.user_data >> 56)) {
    case Tag::wake: return arm_wake();
    case Tag::cancel: return on_cancel_answered(event);
    case Tag::ignored: return;
    case Tag::op: break;
  }
  Slot* slot = slot_of_event(event);
  if (!slot) {
    // Late. What it may have brought belongs to nobody, but its blocks are ours.
    if (event.flags & IORING_CQE_F_BUFFER) {
      receive_ring_.collect(static_cast<uint16_t>(event.flags >> IORING_CQE_BUFFER_SHIFT),
                            static_cast<uint32_t>(std::max(event.result, 0)));
    }
    return;
  }
  switch (slot->op->kind()) {
    case OpKind::none: ASSERT(false);
    case OpKind::accept: return on_accepted(*slot, event);
    case OpKind::receive: return on_received(*slot, event);
    case OpKind::watch: return on_watched(*slot, event);
    case OpKind::connect:
    case OpKind::send:
    case OpKind::poll: return on_done(*slot, event);
  }
}

UringLoop::Slot* UringLoop::slot_of_event(const Event& event) {
  Slot& slot = slots_[static_cast<uint32_t>(event.user_data)];
  const auto generation = static_cast<uint32_t>(event.user_data >> 32) & kGenerationMask;
  return slot.state == SlotState::in_kernel && slot.generation == generation ? &slot : nullptr;
}

// Only failures are told. ENOENT while the op is still out: it was on its way between two states
// (liburing issue 1375), so ask again.
void UringLoop::on_cancel_answered(const Event& event) {
  if (event.result != -ENOENT) return;
  if (Slot* slot = slot_of_event(event)) arm_cancel(*slot);
}

void UringLoop::on_accepted(Slot& slot, const Event& event) {
  Op& op = *slot.op;
  const bool has_more = event.flags & IORING_CQE_F_MORE;
  if (event.result >= 0) {
    metrics_.accepts.add();
    accept_backoff_.reset();
    if (!has_more) {
      if (is_cancelling(op)) finish(slot, -ECANCELED);
      else arm_accept(slot);
    }
    return complete(op, {.result = 0, .is_last = false, .fd = Fd(event.result)});
  }
  if (has_more) return;
  if (is_cancelling(op)) return end(slot, {.result = -ECANCELED});
  switch (classify_accept_failure(-event.result)) {
    case AcceptFailure::retry: return arm_accept(slot);
    case AcceptFailure::back_off:
      metrics_.accept_limit_hits.add();
      slot.state = SlotState::waiting;
      resting_.push_back(slot);
      if (!accept_retry_.is_armed()) timers_.arm(accept_retry_, now_ + accept_backoff_.next());
      return;
    case AcceptFailure::fatal: return end(slot, {.result = event.result});
  }
}

void UringLoop::on_received(Slot& slot, const Event& event) {
  Op& op = *slot.op;
  const bool has_more = event.flags & IORING_CQE_F_MORE;
  slot.unlink();  // not quiet
  Chain bytes;
  if (event.flags & IORING_CQE_F_BUFFER) {
    bytes = receive_ring_.collect(static_cast<uint16_t>(event.flags >> IORING_CQE_BUFFER_SHIFT),
                                  static_cast<uint32_t>(std::max(event.result, 0)));
  }
  if (event.result > 0) {
    const bool has_ended = !has_more;  // at its limit, or because the kernel had to
    if (has_ended && is_cancelling(op)) finish(slot, -ECANCELED);
    else if (has_ended) slot.state = SlotState::waiting;
    else if (!(event.flags & IORING_CQE_F_SOCK_NONEMPTY)) note_drained(slot);
    complete(op, {.result = event.result, .is_last = false, .bytes = std::move(bytes)});
    // Only now: the handler may have cancelled it.
    if (slot.state == SlotState::waiting) arm_receive(slot);
    return;
  }
  if (has_more) return;
  if (event.result == -ENOBUFS && !is_cancelling(op)) {
    metrics_.starvations.add();
    receive_ring_.widen();
    slot.state = SlotState::waiting;
    starved_.push_back(slot);
    return;
  }
  // ECANCELED: on_quiet_check() asked for a new receive, which goes on behind the old one.
  const bool has_to_go_on =
      event.result == -EINTR || event.result == -EAGAIN || event.result == -ECANCELED;
  if (has_to_go_on && !is_cancelling(op)) return arm_receive(slot);
  end(slot, {.result = event.result == -ENOBUFS ? -ECANCELED : event.result});
}

void UringLoop::on_watched(Slot& slot, const Event& event) {
  if (event.result < 0) return end(slot, {.result = event.result});
  const bool has_more = event.flags & IORING_CQE_F_MORE;
  // Else a direction has ended in order, or a send was told the error.
  const int error_number = event.result & POLLERR ? take_error(fd_of(*slot.op)) : 0;
  if (error_number == 0) {
    if (!has_more) arm_watch(slot);
    return;
  }
  if (has_more) arm_cancel(slot);
  end(slot, {.result = -error_number});
}

void UringLoop::on_done(Slot& slot, const Event& event) {
  if (slot.op->kind() == OpKind::send && event.result == -EINTR && !is_cancelling(*slot.op)) {
    return arm_send(slot);
  }
  end(slot, {.result = event.result});
}

}  // namespace istmo::io
