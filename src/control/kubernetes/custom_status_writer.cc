#include "control/kubernetes/custom_status_writer.h"

#include <utility>

#include "base/log.h"

namespace istmo::control {

void CustomStatusWriter::stop() {
  loop_.timers().cancel(timer_);
  ask_.unlink();
  calls_.stop();
}

void CustomStatusWriter::ask() {
  if (is_paused_) return;
  while (auto next = statuses_.next(loop_.now())) {
    calls_.call(std::move(next->request), [this, id = next->object](const ApiReply& reply) {
      if (statuses_.on_reply(id, reply.status, loop_.now())) {
        LOG_WARNING("status not written", "kind", id.kind, "name", id.name, "error",
                    reply.message());
      }
      go_on();
    });
  }
  const Instant wake_at = statuses_.wake_at(loop_.now());
  if (wake_at != Instant::never()) loop_.timers().arm(timer_, wake_at);
}

}  // namespace istmo::control
