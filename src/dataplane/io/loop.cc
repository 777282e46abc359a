#include "dataplane/io/loop.h"

namespace istmo::io {

void Loop::run() {
  while (!is_stopping_) run_turn(Duration::seconds(3600));
}

void Loop::post(std::unique_ptr<Letter> letter) {
  mailbox_.post(std::move(letter));
  if (is_parked_.load(std::memory_order_seq_cst)) {
    metrics_.wakes.add();
    wake();
  }
}

void Loop::run_deferred() {
  // Deferred work may defer more work; that runs in this turn too, so nothing waits in a queue
  // while the loop sleeps.
  while (!deferred_.empty()) deferred_.pop_front().run();
}

}  // namespace istmo::io
