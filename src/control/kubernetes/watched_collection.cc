#include "control/kubernetes/watched_collection.h"

#include "base/log.h"
#include "control/kubernetes/api_json.h"
#include "control/kubernetes/kube_kinds.h"

namespace istmo::control {

namespace {

// "pods" or "deployments in apps": what Role istmo gives of a collection of the namespace itself.
// Empty: it is of another namespace, or in another Role.
std::string right_of_gateway(const std::string& path, const std::string& namespace_name) {
  for (const char* name : {"Pod", "Service", "ConfigMap", "Secret", "EndpointSlice", "Deployment",
                           "StatefulSet", "DaemonSet"}) {
    const KubeKind& kind = *find_kube_kind(name);
    if (collection_path(kind, namespace_name) != path) continue;
    const std::string group = group_of(kind);
    return std::string(kind.plural) + (group.empty() ? "" : " in " + group);
  }
  return {};
}

}  // namespace

WatchedCollection::WatchedCollection(io::Loop& loop, ApiServer& server, KubeCollection collection,
                                     CollectionSink& sink, Rng& rng)
    : loop_(loop),
      server_(server),
      path_(collection.path),
      machine_(std::move(collection), sink, rng),
      channel_(loop, *this) {}

void WatchedCollection::stop() {
  is_stopped_ = true;
  loop_.timers().cancel(timer_);
  channel_.cancel();
}

void WatchedCollection::go_on() {
  if (is_stopped_) return;
  const auto ask = machine_.next(loop_.now());
  if (!ask) {
    const Instant wake_at = machine_.wake_at();
    if (wake_at != Instant::never()) loop_.timers().arm(timer_, wake_at);
    return;
  }
  asked_ = ask->kind;
  if (!channel_.is_free()) channel_.cancel();  // a watch that the machine has given up
  auto request = server_.request("GET", ask->target, loop_.now());
  if (!request) {
    machine_.on_failure(request.error().text(), loop_.now());
    return go_on();
  }
  channel_.ask(
      server_.places(), server_.tls(),
      {.request = std::move(*request), .is_in_lines = asked_ == ListWatch::Ask::Kind::watch});
}

void WatchedCollection::on_https_line(std::string_view line) {
  const auto event = read_api_json(line);
  if (event) machine_.on_event(*event, loop_.now());
  else machine_.on_failure("a watch sent a line that is no JSON", loop_.now());
  // It may be over for the machine: then it wants to ask or to wait.
  if (machine_.wake_at() != Instant::never()) {
    channel_.cancel();
    go_on();
  }
}

void WatchedCollection::on_https_reply(int status, std::string body) {
  const Instant now = loop_.now();
  if (status == 401) server_.forget_authorization();
  if (status == 403) tell_missing_right(api_message(body));
  if (status != 200) {
    machine_.on_status(status, api_message(body), now);
  } else if (asked_ == ListWatch::Ask::Kind::watch) {
    machine_.on_watch_end(now);
  } else if (const auto list = read_api_json(body)) {
    machine_.on_list(*list, now);
  } else {
    machine_.on_too_large("a list is no JSON, or too large", now);
  }
  go_on();
}

// Each right once, whoever asks: what its lack means says the sink.
void WatchedCollection::tell_missing_right(const std::string& text) {
  const std::string right = right_of_gateway(path_, server_.access().namespace_name);
  if (right.empty() || !server_.note_missing_right(right)) return;
  LOG_ERROR("a right is missing", "needs", "Role istmo with get, list and watch of " + right,
            "namespace", server_.access().namespace_name, "error", text);
}

void WatchedCollection::on_https_failed(HttpsFailure, const Error& error) {
  const std::string text = "API server " + server_.access().server() + ": " +
                           (error.text().empty() ? "its host is not known" : error.text());
  if (error.error_class() == ErrorClass::limit) machine_.on_too_large(text, loop_.now());
  else machine_.on_failure(text, loop_.now());
  go_on();
}

}  // namespace istmo::control
