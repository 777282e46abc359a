#include "control/kubernetes/object_writer.h"

namespace istmo::control {

void ObjectWriter::stop() {
  loop_.timers().cancel(timer_);
  ask_.unlink();
  calls_.stop();
}

void ObjectWriter::ask() {
  while (auto request = keeper_.next(loop_.now())) {
    calls_.call({.method = std::move(request->method),
                 .target = std::move(request->target),
                 .content_type = std::move(request->content_type),
                 .body = std::move(request->body)},
                [this, id = request->object](const ApiReply& reply) {
                  if (reply.status == 0) keeper_.on_failure(id, reply.error, loop_.now());
                  else keeper_.on_reply(id, reply.status, reply.body, loop_.now());
                  go_on();
                });
  }
  const Instant wake_at = keeper_.wake_at(loop_.now());
  if (wake_at != Instant::never()) loop_.timers().arm(timer_, wake_at);
}

}  // namespace istmo::control
