#include "control/kubernetes/object_writer.h"

#include "base/log.h"

namespace istmo::control {

void ObjectWriter::stop() {
  loop_.timers().cancel(timer_);
  ask_.unlink();
  calls_.stop();
}

void ObjectWriter::ask() {
  if (is_paused_) return;
  while (auto request = keeper_.next(loop_.now())) {
    calls_.call({.method = std::move(request->method),
                 .target = std::move(request->target),
                 .content_type = std::move(request->content_type),
                 .body = std::move(request->body)},
                [this, id = request->object](const ApiReply& reply) { on_reply(id, reply); });
  }
  const Instant wake_at = keeper_.wake_at(loop_.now());
  if (wake_at != Instant::never()) loop_.timers().arm(timer_, wake_at);
  if (keeper_.take_news()) sink_.on_problems_changed();
}

void ObjectWriter::on_reply(const ObjectId& id, const ApiReply& reply) {
  if (reply.status == 0) keeper_.on_failure(id, loop_.now());
  else keeper_.on_reply(id, reply.status, reply.body, loop_.now());
  if (reply.status == 0 || reply.status >= 500) {
    if (!std::exchange(has_told_trouble_, true)) {
      LOG_WARNING("objects not written, trying again", "error", reply.message());
    }
  } else {
    has_told_trouble_ = false;
    LOG_DEBUG("object written", "kind", id.kind, "name", id.name, "status", reply.status);
  }
  go_on();
}

}  // namespace istmo::control
