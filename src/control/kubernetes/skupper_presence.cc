#include "control/kubernetes/skupper_presence.h"

#include <utility>

#include "base/log.h"
#include "control/kubernetes/kube_kinds.h"

namespace istmo::control {

std::string skupper_presence_text(const std::string& namespace_name) {
  return "namespace '" + namespace_name + "' is looked after by Skupper's controller (ConfigMap " +
         kSkupperConfigMap + ")";
}

SkupperPresence::SkupperPresence(io::Loop& loop, ApiServer& server, SkupperPresenceSink& sink,
                                 Rng& rng)
    : namespace_name_(server.access().namespace_name),
      sink_(sink),
      watch_(loop, server,
             {.path = collection_path(*find_kube_kind("ConfigMap"), namespace_name_),
              .label_selector = {},
              .field_selector = std::string("metadata.name=") + kSkupperConfigMap},
             *this, rng) {}

void SkupperPresence::on_object(const std::string&, const Value&) {
  if (std::exchange(is_there_, true)) return;
  LOG_WARNING(skupper_presence_text(namespace_name_) + ": nothing is written while it is there");
  if (is_answered_) sink_.on_skupper_presence();
}

void SkupperPresence::on_object_gone(const std::string&) {
  if (!std::exchange(is_there_, false)) return;
  LOG_INFO("Skupper's controller looks after the namespace no longer: the site writes again");
  if (is_answered_) sink_.on_skupper_presence();
}

// Who may not look knows of none.
void SkupperPresence::on_refused(int status, const std::string& text) {
  LOG_WARNING("whether Skupper's controller looks after the namespace is not known", "status",
              status, "error", text);
  on_answered();
}

void SkupperPresence::on_answered() {
  if (!std::exchange(is_answered_, true)) sink_.on_skupper_presence();
}

}  // namespace istmo::control
