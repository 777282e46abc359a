#include "dataplane/io/epoll_loop.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace istmo::io {
namespace {

constexpr uint64_t kWakeKey = UINT64_MAX;
constexpr uint32_t kEventsPerTurn = 512;
constexpr size_t kLettersPerTurn = 1024;
constexpr uint32_t kAcceptsPerTurn = 64;
constexpr uint32_t kReadBlocksMax = 16;
constexpr uint64_t kReceiveBytesPerTurn = 256 * 1024;
constexpr size_t kIovecsMax = 64;
constexpr Duration kWaitMax = Duration::seconds(3600);
constexpr Duration kTrimInterval = Duration::seconds(1);

uint64_t key_of(uint32_t generation, int number) {
  return uint64_t{generation} << 32 | static_cast<uint32_t>(number);
}

}  // namespace

Result<std::unique_ptr<Loop>> EpollLoop::create(const LoopOptions& options) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return Error::from_errno(errno, "epoll_create1");
  const int wake_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWakeKey}};
  if (wake_event < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, wake_event, &event) != 0) {
    const int error_number = errno;
    if (wake_event >= 0) ::close(wake_event);
    ::close(epoll);
    return Error::from_errno(error_number, "eventfd of a loop");
  }
  return std::unique_ptr<Loop>(new EpollLoop(epoll, wake_event, options));
}

EpollLoop::EpollLoop(int epoll, int wake_event, const LoopOptions& options)
    : Loop(monotonic_now()), epoll_(epoll), wake_event_(wake_event), pool_(options) {}

EpollLoop::~EpollLoop() {
  ::close(wake_event_);
  ::close(epoll_);
}

void EpollLoop::run_turn(Duration wait_max) {
  metrics_.turns.add();
  now_ = monotonic_now();
  mailbox_.deliver(kLettersPerTurn);
  timers_.advance(now_);
  run_deferred();
  wait_for_events(wait_ms(wait_max));
  run_ready();
  run_finished();
  if (pool_.is_grown() && !trim_.is_armed()) timers_.arm(trim_, now_ + kTrimInterval);
}

int EpollLoop::wait_ms(Duration wait_max) {
  if (!ready_.empty() || !finished_.empty() || !deferred_.empty() || is_done()) return 0;
  const Instant wake_at = timers_.next_wake();
  if (wake_at != Instant::never()) wait_max = std::min(wait_max, wake_at - now_);
  if (wait_max <= Duration{}) return 0;
  // Rounded up: a timer must not find its tick still running.
  return static_cast<int>((std::min(wait_max, kWaitMax).ns + 999'999) / 1'000'000);
}

void EpollLoop::wait_for_events(int timeout_ms) {
  std::array<epoll_event, kEventsPerTurn> events;
  if (timeout_ms > 0) {
    is_parked_.store(true, std::memory_order_seq_cst);
    if (!mailbox_.is_empty()) timeout_ms = 0;
  }
  const int count = epoll_wait(epoll_, events.data(), kEventsPerTurn, timeout_ms);
  is_parked_.store(false, std::memory_order_relaxed);
  if (timeout_ms > 0) now_ = monotonic_now();
  for (int i = 0; i < count; ++i) on_event(events[i].data.u64, events[i].events);
}

// Notes what became possible; calls no handler.
void EpollLoop::on_event(uint64_t key, uint32_t events) {
  if (key == kWakeKey) {
    uint64_t count = 0;
    static_cast<void>(!::read(wake_event_, &count, sizeof count));
    return;
  }
  Descriptor& in = descriptors_[static_cast<uint32_t>(key)];
  if (in.generation != key >> 32) return;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    in.can_read = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) in.has_ended = true;
    if (events & EPOLLERR) in.has_failed = true;
    if ((in.reader || (in.watcher && in.has_failed)) && !in.is_linked()) ready_.push_back(in);
  }
  if (in.writer && events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
    if (in.writer->kind() == OpKind::connect) on_connect_event(in);
    else send_more(in);
  }
  if (in.poller && events & (in.poll_events | EPOLLHUP | EPOLLERR)) {
    finish(*in.poller, static_cast<int32_t>(events & (in.poll_events | EPOLLHUP | EPOLLERR)));
    in.poller = nullptr;
  }
}

// Each ready reader gets its share; who has not finished comes again in the next turn.
void EpollLoop::run_ready() {
  List<Descriptor> turn;
  turn.splice_back(ready_);
  while (!turn.empty()) {
    Descriptor& in = turn.pop_front();
    if (in.watcher && in.has_failed) tell_watcher(in);
    if (!in.reader || !in.can_read) continue;
    if (in.reader->kind() == OpKind::accept) accept_ready(in);
    else read_ready(in);
  }
}

void EpollLoop::run_finished() {
  std::vector<Finished> turn;
  turn.swap(finished_);
  for (const Finished& finished : turn) deliver(finished);
  if (finished_.empty()) {
    turn.clear();
    finished_.swap(turn);  // keeps the memory
  }
}

void EpollLoop::deliver(const Finished& finished) {
  Op& op = *finished.op;
  const Fd fd = fd_of(op);
  Completion done{.result = finished.result};
  if (op.kind() == OpKind::connect) {
    if (done.failed() && fd.is_open()) close(fd, Ending::orderly);
    if (!done.failed()) done.fd = fd;
  }
  // A polled descriptor belongs to somebody else, who may close it unseen: it leaves at once.
  if (op.kind() == OpKind::poll) release(fd);
  complete(op, std::move(done));
}

Result<Fd> EpollLoop::listen(const Address& address, const ListenOptions& options) {
  return open_listener(address, options);
}

void EpollLoop::accept(Op& op, Fd listener, const SocketOptions& options) {
  begin(op, OpKind::accept, listener);
  apply_options(listener, options);  // accepted sockets inherit them
  Descriptor& in = descriptor(listener);
  if (const int error_number = enlist(in)) return finish(op, -error_number);
  ASSERT(!in.reader);
  in.reader = &op;
  if (in.can_read && !in.is_linked()) ready_.push_back(in);
}

void EpollLoop::set_accept_options(Op& op, const SocketOptions& options) {
  ASSERT(op.kind() == OpKind::accept);
  apply_options(fd_of(op), options);
}

void EpollLoop::connect(Op& op, const Address& address, const SocketOptions& options) {
  const int number = open_stream_socket(address.family(), options);
  if (number < 0) {
    begin(op, OpKind::connect, Fd());
    return finish(op, number);
  }
  begin(op, OpKind::connect, Fd(number));
  if (::connect(number, address.raw(), address.raw_size()) == 0) return finish(op, 0);
  if (errno != EINPROGRESS) return finish(op, -errno);
  Descriptor& in = descriptor(Fd(number));
  if (const int error_number = enlist(in)) return finish(op, -error_number);
  in.writer = &op;
}

void EpollLoop::receive(Op& op, Fd fd) {
  begin(op, OpKind::receive, fd);
  Descriptor& in = descriptor(fd);
  if (const int error_number = enlist(in)) return finish(op, -error_number);
  ASSERT(!in.reader);
  in.reader = &op;
  if (in.can_read && !in.is_linked()) ready_.push_back(in);
}

void EpollLoop::send(Op& op, Fd fd, const Chain& chain) {
  ASSERT(!chain.empty());
  begin(op, OpKind::send, fd);
  Descriptor& in = descriptor(fd);
  if (const int error_number = enlist(in)) return finish(op, -error_number);
  ASSERT(!in.writer);
  in.writer = &op;
  in.chain = &chain;
  in.send_bytes = in.sent_bytes = 0;
  send_more(in);
}

void EpollLoop::poll(Op& op, Fd fd, uint32_t events) {
  begin(op, OpKind::poll, fd);
  Descriptor& in = descriptor(fd);
  ASSERT(!in.poller);
  if (const int error_number = enlist(in)) {
    // Regular files cannot be watched: they are always ready.
    return finish(op, error_number == EPERM ? static_cast<int32_t>(events) : -error_number);
  }
  // Only edges are reported from now on, so what is ready already has to be asked for.
  pollfd ready{.fd = fd.number(), .events = static_cast<short>(events), .revents = 0};
  if (::poll(&ready, 1, 0) > 0) return finish(op, ready.revents);
  in.poller = &op;
  in.poll_events = events;
}

void EpollLoop::watch(Op& op, Fd fd) {
  begin(op, OpKind::watch, fd);
  Descriptor& in = descriptor(fd);
  static_cast<void>(enlist(in));  // who received or sent enlisted it; if not, nothing is told
  ASSERT(!in.watcher && !in.reader);
  in.watcher = &op;
  if (in.has_failed && !in.is_linked()) ready_.push_back(in);
}

void EpollLoop::unwatch(Op& op) {
  if (op.is_idle()) return;
  ASSERT(op.kind() == OpKind::watch);
  Descriptor& in = descriptor(fd_of(op));
  if (in.watcher == &op) in.watcher = nullptr;
  drop(op);
}

void EpollLoop::cancel(Op& op) {
  if (op.is_idle() || is_cancelling(op)) return;
  ASSERT(op.kind() != OpKind::watch);
  set_cancelling(op);
  if (!fd_of(op).is_open()) return;  // a connect that found no socket: about to complete
  Descriptor& in = descriptor(fd_of(op));
  int32_t result = -ECANCELED;
  if (in.reader == &op) {
    in.reader = nullptr;
    in.unlink();
  } else if (in.writer == &op) {
    if (in.sent_bytes > 0 && op.kind() == OpKind::send) {
      result = static_cast<int32_t>(in.sent_bytes);
    }
    in.writer = nullptr;
  } else if (in.poller == &op) {
    in.poller = nullptr;
  } else {
    return;  // finished, and about to complete
  }
  finish(op, result);
}

void EpollLoop::shutdown_send(Fd fd) { ::shutdown(fd.number(), SHUT_WR); }

void EpollLoop::close(Fd fd, Ending ending) {
  forget(descriptor(fd));
  if (ending == Ending::abort) set_abort_on_close(fd);
  ::close(fd.number());
}

void EpollLoop::release(Fd fd) {
  Descriptor& in = descriptor(fd);
  if (in.reader || in.writer || in.poller || in.watcher || !in.is_registered) return;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd.number(), nullptr);
  forget(in);
}

void EpollLoop::wake() {
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_event_, &one, sizeof one));
}

EpollLoop::Descriptor& EpollLoop::descriptor(Fd fd) {
  ASSERT(fd.is_open());
  const auto number = static_cast<size_t>(fd.number());
  while (descriptors_.size() <= number) {
    const auto next = static_cast<int>(descriptors_.size());
    descriptors_.emplace_back().number = next;
  }
  return descriptors_[number];
}

// Registers a descriptor once. Returns an errno value, 0 when done.
int EpollLoop::enlist(Descriptor& in) {
  if (in.is_registered) return 0;
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
                    .data = {.u64 = key_of(in.generation, in.number)}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, in.number, &event) != 0) return errno;
  in.is_registered = true;
  in.can_read = in.has_ended = in.has_failed = false;  // the first edge tells
  return 0;
}

// The number may come back as another descriptor.
void EpollLoop::forget(Descriptor& in) {
  ASSERT(!in.reader && !in.writer && !in.poller && !in.watcher);
  in.unlink();
  in.is_registered = in.can_read = in.has_ended = in.has_failed = false;
  ++in.generation;
}

// The op may be gone when this returns.
void EpollLoop::tell_watcher(Descriptor& in) {
  in.has_failed = false;
  const int error_number = take_error(Fd(in.number));
  if (error_number == 0) return;  // a send was told
  Op& op = *in.watcher;
  in.watcher = nullptr;
  complete(op, {.result = -error_number});
}

void EpollLoop::read_ready(Descriptor& in) {
  Op& op = *in.reader;
  const uint32_t generation = in.generation;
  uint64_t taken = 0;
  while (taken < kReceiveBytesPerTurn) {
    Chain bytes;
    uint64_t asked = 0;
    const int64_t count = read_blocks(in, bytes, asked);
    if (count == -EAGAIN) {
      in.can_read = false;
      return;
    }
    if (count <= 0) {
      in.reader = nullptr;
      return complete(op, {.result = static_cast<int32_t>(count)});
    }
    // A short read has emptied the socket; what comes later makes a new edge.
    if (static_cast<uint64_t>(count) < asked && !in.has_ended) in.can_read = false;
    taken += static_cast<uint64_t>(count);
    complete(op,
             {.result = static_cast<int32_t>(count), .is_last = false, .bytes = std::move(bytes)});
    // The handler may have cancelled the op, and closed the descriptor.
    if (in.generation != generation || in.reader != &op || !in.can_read) return;
  }
  if (!in.is_linked()) ready_.push_back(in);
}

// Returns the octets read, 0 at the end, or a negated errno value.
int64_t EpollLoop::read_blocks(Descriptor& in, Chain& bytes, uint64_t& asked) {
  std::array<uint32_t, kReadBlocksMax> ids;
  std::array<iovec, kReadBlocksMax> places;
  uint32_t taken = 0;
  while (taken < kReadBlocksMax && pool_.has_ready()) {
    ids[taken] = pool_.take();
    places[taken] = {pool_.data_of(ids[taken]), pool_.block_bytes()};
    ++taken;
  }
  ASSERT(taken > 0);  // the pool never lends its last blocks out
  asked = uint64_t{taken} * pool_.block_bytes();
  ssize_t count = 0;
  do {
    count = ::readv(in.number, places.data(), static_cast<int>(taken));
  } while (count < 0 && errno == EINTR);
  const int error_number = errno;
  uint64_t left = count > 0 ? static_cast<uint64_t>(count) : 0;
  uint32_t used = 0;
  for (; left > 0; ++used) {
    const auto part = static_cast<uint32_t>(std::min<uint64_t>(left, pool_.block_bytes()));
    bytes.append(pool_.filled(ids[used], part));
    left -= part;
  }
  while (taken > used) pool_.put_back(ids[--taken]);
  return count < 0 ? -error_number : count;
}

void EpollLoop::accept_ready(Descriptor& in) {
  Op& op = *in.reader;
  for (uint32_t i = 0; i < kAcceptsPerTurn; ++i) {
    const int number = accept4(in.number, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (number >= 0) {
      metrics_.accepts.add();
      accept_backoff_.reset();
      complete(op, {.result = 0, .is_last = false, .fd = Fd(number)});
      if (in.reader != &op) return;
      continue;
    }
    if (errno == EAGAIN) {
      in.can_read = false;
      return;
    }
    const int error_number = errno;
    switch (classify_accept_failure(error_number)) {
      case AcceptFailure::retry: continue;
      case AcceptFailure::back_off:
        metrics_.accept_limit_hits.add();
        resting_listeners_.push_back(Fd(in.number));
        if (!accept_retry_.is_armed()) timers_.arm(accept_retry_, now_ + accept_backoff_.next());
        return;
      case AcceptFailure::fatal:
        in.reader = nullptr;
        return complete(op, {.result = -error_number});
    }
  }
  if (!in.is_linked()) ready_.push_back(in);
}

void EpollLoop::on_accept_retry() {
  for (const Fd listener : resting_listeners_) {
    Descriptor& in = descriptor(listener);
    if (in.reader && in.can_read && !in.is_linked()) ready_.push_back(in);
  }
  resting_listeners_.clear();
}

void EpollLoop::send_more(Descriptor& in) {
  std::array<iovec, kIovecsMax> parts;
  uint64_t covered = 0;
  const uint64_t bytes_max = in.send_bytes > 0 ? in.send_bytes : kSendBytesMax;
  const size_t count = in.chain->gather(parts, bytes_max, covered);
  // The first try decides how much this send is; the chain may have grown since.
  in.send_bytes = static_cast<uint32_t>(covered);
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  for (uint32_t skip = in.sent_bytes; skip > 0;) {
    const auto part = static_cast<uint32_t>(std::min<size_t>(skip, message.msg_iov->iov_len));
    message.msg_iov->iov_base = static_cast<uint8_t*>(message.msg_iov->iov_base) + part;
    message.msg_iov->iov_len -= part;
    skip -= part;
    if (message.msg_iov->iov_len == 0) {
      ++message.msg_iov;
      --message.msg_iovlen;
    }
  }
  Op& op = *in.writer;
  while (true) {
    const ssize_t sent = ::sendmsg(in.number, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return;  // EPOLLOUT goes on
    if (sent > 0) in.sent_bytes += static_cast<uint32_t>(sent);
    if (sent >= 0 && in.sent_bytes < in.send_bytes) return;  // the buffer is full: EPOLLOUT
    const int32_t error = sent < 0 ? -errno : 0;
    in.writer = nullptr;
    return finish(op, in.sent_bytes > 0 ? static_cast<int32_t>(in.sent_bytes) : error);
  }
}

void EpollLoop::on_connect_event(Descriptor& in) {
  int error_number = 0;
  socklen_t length = sizeof error_number;
  getsockopt(in.number, SOL_SOCKET, SO_ERROR, &error_number, &length);
  Op& op = *in.writer;
  in.writer = nullptr;
  finish(op, -error_number);
}

void EpollLoop::on_trim() { pool_.trim(); }

}  // namespace istmo::io
