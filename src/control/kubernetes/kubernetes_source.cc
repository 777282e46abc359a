#include "control/kubernetes/kubernetes_source.h"

#include <algorithm>

#include "base/log.h"
#include "control/document_read.h"
#include "control/kubernetes/custom_resources.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/site_manifest.h"
#include "control/plain_text.h"

namespace istmo::control {
namespace {

constexpr int kForbidden = 403;
constexpr int kTooMany = 429;
uint32_t replicas_of(const Value& deployment) {
  return number_at(value_at(deployment, {"spec"}), "replicas");
}

}  // namespace

// One watch and what it is for.
class KubernetesSource::Watch final : private CollectionSink {
 public:
  enum class Content : uint8_t { streams, secret, annotated, custom };

  Watch(KubernetesSource& source, const std::string& kind, Content content,
        const std::string& selector)
      : source_(source),
        kind_(kind),
        content_(content),
        place_(place_of(kind, content, selector)),
        collection_(source.loop_, source.server_, collection_of(selector), *this, source.rng_) {}

  void start() { collection_.start(); }
  void stop() {
    collection_.stop();
    source_.documents_.set_unread(place_, "");
  }
  bool is_idle() const { return collection_.is_idle(); }
  bool is_answered() const { return is_answered_; }

 private:
  static std::string place_of(const std::string& kind, Content content,
                              const std::string& selector) {
    switch (content) {
      case Content::streams: return kind + "s with label " + selector;
      case Content::secret: return kind + " " + selector;
      case Content::annotated:
      case Content::custom: return kind + "s";
    }
    return kind;
  }
  KubeCollection collection_of(const std::string& selector) const {
    KubeCollection wanted{
        .path = collection_path(*find_kube_kind(kind_), source_.server_.access().namespace_name),
        .label_selector = {},
        .field_selector = {}};
    if (content_ == Content::streams) wanted.label_selector = selector;
    else if (content_ == Content::secret) wanted.field_selector = "metadata.name=" + selector;
    return wanted;
  }

  bool is_gateway(const std::string& name) const {
    return kind_ == "Deployment" && name == kGatewayName;
  }
  void on_object(const std::string& key, const Value& object) override {
    if (is_gateway(name_in_key(key))) source_.on_gateway(replicas_of(object));
    if (put(object)) source_.on_changed();
  }
  void on_object_gone(const std::string& key) override {
    if (is_gateway(name_in_key(key))) source_.on_gateway(0);
    if (remove(name_in_key(key))) source_.on_changed();
  }
  bool put(const Value& object) {
    ClusterDocuments& documents = source_.documents_;
    switch (content_) {
      case Content::streams: return documents.put_streams(kind_, object);
      case Content::secret: return documents.put_secret(object);
      case Content::annotated:
        return documents.put_annotated(kind_, object, source_.server_.access().namespace_name);
      case Content::custom:
        source_.custom_statuses_.on_object({kind_, text_at(object, "metadata", "name")}, object);
        return documents.put_custom(kind_, object);
    }
    return false;
  }
  bool remove(const std::string& name) {
    ClusterDocuments& documents = source_.documents_;
    switch (content_) {
      case Content::streams: return documents.remove_streams({kind_, name});
      case Content::secret: return documents.remove_secret(name);
      case Content::annotated: return documents.remove_annotated({kind_, name});
      case Content::custom:
        source_.custom_statuses_.on_gone({kind_, name});
        return documents.remove_custom({kind_, name});
    }
    return false;
  }
  void on_synced() override {
    // All was listed anew: the server was away, and may have become another one.
    if (std::exchange(has_been_read_, true) && place_ == source_.watches_.front()->place_) {
      source_.look_again_for_custom_kinds();
    }
    if (content_ == Content::custom) source_.watch_custom_kinds();
    on_answered("");
  }
  void on_refused(int status, const std::string& text) override {
    // A site can do without these kinds; what was read of them stands.
    if (content_ == Content::custom && !has_been_read_) {
      if (status == kForbidden) {
        LOG_WARNING(
            "objects of this kind are no documents of the site: Role istmo-kinds would give get, "
            "list and watch of all kinds of skupper.io, and get, patch and update of their status",
            "kind", kind_, "error", text);
      }
      return on_answered("");
    }
    LOG_ERROR("documents cannot be watched", "what", place_, "status", status, "error", text);
    // Without workloads only their annotations are without effect: no word about documents.
    on_answered(content_ == Content::annotated ? "" : text);
  }
  // They are tried again at once; what was read stands.
  void on_trouble(const std::string& text) override {
    LOG_WARNING("documents cannot be watched, trying again", "what", place_, "error", text);
  }
  void on_answered(const std::string& why_unread) {
    const bool is_new = !std::exchange(is_answered_, true);
    if (source_.is_complete()) source_.documents_.settle();
    if (source_.documents_.set_unread(place_, why_unread) || is_new) source_.on_changed();
  }

  KubernetesSource& source_;
  const std::string kind_;
  const Content content_;
  const std::string place_;
  bool is_answered_ = false;
  bool has_been_read_ = false;
  WatchedCollection collection_;
};

KubernetesSource::KubernetesSource(io::Loop& loop, ApiServer& server, PlatformSink& sink, Rng& rng,
                                   CustomStatusWriter& custom_statuses)
    : loop_(loop),
      server_(server),
      sink_(sink),
      rng_(rng),
      custom_statuses_(custom_statuses),
      discovery_(loop, server, 1) {
  const std::string selector = documents_selector();
  for (const char* kind : {"ConfigMap", "Secret"}) {
    watches_.push_back(std::make_unique<Watch>(*this, kind, Watch::Content::streams, selector));
  }
  for (const char* kind : {"Deployment", "StatefulSet", "DaemonSet"}) {
    watches_.push_back(std::make_unique<Watch>(*this, kind, Watch::Content::annotated, ""));
  }
}

KubernetesSource::~KubernetesSource() = default;

void KubernetesSource::start() {
  for (const auto& watch : watches_) watch->start();
  find_custom_kinds();
}

// Everybody may ask for this; of a kind that is not there a watch would say that it is forbidden.
void KubernetesSource::find_custom_kinds() {
  discovery_.call({.method = "GET",
                   .target = "/apis/" + std::string(kApiVersion),
                   .content_type = {},
                   .body = {}},
                  [this](const ApiReply& reply) { on_kinds_found(reply); });
}

void KubernetesSource::look_again_for_custom_kinds() {
  if (has_discovered_ && served_kinds_.empty()) find_custom_kinds();
}

void KubernetesSource::on_kinds_found(const ApiReply& reply) {
  if (is_stopped_) return;
  if (reply.status == 0 || reply.status == kTooMany || reply.status >= 500) {
    const Duration pause = by_chance(discovery_backoff_.next(), rng_);
    return loop_.timers().arm(discovery_timer_, loop_.now() + pause);
  }
  served_kinds_ = custom_kinds_in(reply.body);
  has_discovered_ = true;
  // May the first be read, so may all.
  if (!served_kinds_.empty()) {
    watches_.push_back(
        std::make_unique<Watch>(*this, served_kinds_.front(), Watch::Content::custom, ""));
    watches_.back()->start();
  }
  on_changed();
}

void KubernetesSource::watch_custom_kinds() {
  if (is_stopped_ || std::exchange(has_custom_kinds_, true)) return;
  for (const std::string& kind : served_kinds_) {
    if (kind == served_kinds_.front()) continue;
    watches_.push_back(std::make_unique<Watch>(*this, kind, Watch::Content::custom, ""));
    watches_.back()->start();
  }
}

bool KubernetesSource::is_complete() const {
  return has_discovered_ &&
         std::ranges::all_of(watches_, [](const auto& watch) { return watch->is_answered(); });
}

void KubernetesSource::stop() {
  is_stopped_ = true;
  tell_.unlink();
  loop_.timers().cancel(timer_);
  loop_.timers().cancel(discovery_timer_);
  discovery_.stop();
  for (const auto& watch : watches_) watch->stop();
  for (const auto& [name, watch] : secrets_) watch->stop();
}

bool KubernetesSource::is_idle() const {
  const auto is_watch_idle = [](const auto& watch) { return watch->is_idle(); };
  return !timer_.is_armed() && discovery_.is_idle() &&
         std::ranges::all_of(watches_, is_watch_idle) &&
         std::ranges::all_of(ending_, is_watch_idle) &&
         std::ranges::all_of(secrets_, [](const auto& entry) { return entry.second->is_idle(); });
}

void KubernetesSource::follow_secrets(const std::set<std::string>& names) {
  if (is_stopped_) return;
  std::erase_if(ending_, [](const auto& watch) { return watch->is_idle(); });
  for (auto at = secrets_.begin(); at != secrets_.end();) {
    if (names.contains(at->first)) {
      ++at;
      continue;
    }
    at->second->stop();
    ending_.push_back(std::move(at->second));
    if (documents_.remove_secret(at->first)) on_changed();
    at = secrets_.erase(at);
  }
  for (const std::string& name : names) {
    auto& watch = secrets_[name];
    if (watch) continue;
    watch = std::make_unique<Watch>(*this, "Secret", Watch::Content::secret, name);
    watch->start();
  }
}

void KubernetesSource::on_gateway(uint32_t replicas) {
  if (std::exchange(gateway_replicas_, replicas) != replicas) sink_.on_surroundings_changed();
}

void KubernetesSource::on_service(const Value& service) {
  if (documents_.put_annotated("Service", service, server_.access().namespace_name)) on_changed();
}

void KubernetesSource::on_service_gone(const std::string& name) {
  if (documents_.remove_annotated({"Service", name})) on_changed();
}

// Many changes of one turn are told once.
void KubernetesSource::on_changed() {
  pace_.on_news();
  loop_.defer(tell_);
}

void KubernetesSource::tell() {
  const Instant due = pace_.due();
  if (due == Instant::never()) return;  // told in the meantime
  if (!pace_.take(loop_.now())) return loop_.timers().arm(timer_, due);
  const Instant began = monotonic_now();
  sink_.on_source_changed(documents_.state());
  const Instant ended = monotonic_now();
  pace_.on_acted(ended, ended - began);
}

}  // namespace istmo::control
