#include "control/kubernetes/state_secrets.h"

#include "base/log.h"
#include "control/kubernetes/kube_kinds.h"

namespace istmo::control {

StateSecrets::StateSecrets(io::Loop& loop, ApiServer& server, Rng& rng, PlatformSink& sink)
    : loop_(loop),
      sink_(sink),
      state_(server.access().namespace_name, rng, *this),
      watch_(loop, server,
             {.path = collection_path(*find_kube_kind("Secret"), server.access().namespace_name),
              .label_selector = std::string(kStateLabel) + "=true",
              .field_selector = {}},
             *this, rng),
      calls_(loop, server, ClusterState::kInFlightMax) {}

void StateSecrets::stop() {
  if (phase_ != Phase::running) return;
  phase_ = Phase::ending;
  watch_.stop();
  on_work();
}

bool StateSecrets::is_idle() const {
  return watch_.is_idle() && calls_.is_idle() && !ask_.is_linked() && !timer_.is_armed() &&
         !end_timer_.is_armed();
}

void StateSecrets::on_work() {
  if (phase_ != Phase::ended) loop_.defer(ask_);
}

void StateSecrets::on_object(const std::string&, const Value& object) { state_.on_object(object); }

void StateSecrets::on_object_gone(const std::string& key) { state_.on_gone(name_in_key(key)); }

void StateSecrets::on_refused(int status, const std::string& text) {
  LOG_ERROR("what the site must remember cannot be read", "status", status, "error", text);
  state_.on_refused(text);
}

void StateSecrets::on_trouble(const std::string& text) {
  LOG_WARNING("what the site must remember cannot be watched, trying again", "error", text);
}

void StateSecrets::ask() {
  while (auto request = state_.next(loop_.now())) {
    calls_.call(
        {.method = std::move(request->method),
         .target = std::move(request->target),
         .content_type = "application/json",
         .body = std::move(request->body)},
        [this, record = request->record](const ApiReply& reply) { on_reply(record, reply); });
  }
  if (told_problem_ != state_.problem()) {
    told_problem_ = state_.problem();
    sink_.on_surroundings_changed();
  }
  const Instant wake_at = state_.wake_at(loop_.now());
  if (wake_at == Instant::never()) loop_.timers().cancel(timer_);
  else loop_.timers().arm(timer_, wake_at);
  if (phase_ != Phase::ending) return;
  const bool is_done = state_.is_settled() || !state_.owner();
  if (!is_done && !end_timer_.is_armed()) {
    loop_.timers().arm(end_timer_, loop_.now() + kLastWrites);
  } else if (is_done) {
    loop_.timers().cancel(end_timer_);
    loop_.timers().cancel(timer_);
    calls_.stop();  // nothing waits there; connections that were kept end
  }
}

void StateSecrets::on_reply(const std::string& record, const ApiReply& reply) {
  const bool is_trouble = reply.status == 0 || reply.status >= 500;
  if (is_trouble && !std::exchange(has_told_trouble_, true)) {
    LOG_WARNING("what the site must remember is not written, trying again", "error",
                reply.message());
  }
  if (!is_trouble) has_told_trouble_ = false;
  on_work();
  if (reply.status == 0) state_.on_failure(record, loop_.now());
  else state_.on_reply(record, reply.status, reply.body, loop_.now());
}

void StateSecrets::give_up() {
  LOG_ERROR("the site ends, and what it must remember is not all written");
  phase_ = Phase::ended;
  ask_.unlink();
  loop_.timers().cancel(timer_);
  calls_.stop();
}

}  // namespace istmo::control
