#include "dataplane/io/loop.h"

#include "dataplane/io/epoll_loop.h"
#include "dataplane/io/uring_loop.h"

namespace istmo::io {

void Loop::run() {
  while (!is_stopping_) run_turn(Duration::seconds(3600));
}

void Loop::post(std::unique_ptr<Letter> letter) {
  mailbox_.post(std::move(letter));
  // Whoever clears the flag wakes: one wake is enough for all who post meanwhile.
  if (is_parked_.load(std::memory_order_seq_cst) && is_parked_.exchange(false)) {
    metrics_.wakes.add();
    wake();
  }
}

void Loop::run_deferred() {
  // Deferred work may defer more work; that runs in this turn too, so nothing waits in a queue
  // while the loop sleeps.
  while (!deferred_.empty()) deferred_.pop_front().run();
}

Result<std::unique_ptr<Loop>> make_loop(const LoopChoice& choice, const LoopOptions& options) {
  ASSERT(choice.kind != LoopKind::sim);  // made by its simulation
  if (choice.kind == LoopKind::uring) return UringLoop::create(choice, options);
  return EpollLoop::create(options);
}

}  // namespace istmo::io
