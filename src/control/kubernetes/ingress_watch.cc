#include "control/kubernetes/ingress_watch.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "control/kubernetes/site_manifest.h"
#include "control/kubernetes/watched_collection.h"

namespace istmo::control {
namespace {

constexpr int kNotFound = 404;

}  // namespace

class IngressWatch::Watch final : private CollectionSink, public WatchedCollection {
 public:
  Watch(IngressWatch& owner, const KubeKind& kind)
      : WatchedCollection(owner.loop_, owner.server_,
                          {.path = collection_path(kind, owner.server_.access().namespace_name),
                           .label_selector = {},
                           .field_selector = {}},
                          *this, owner.rng_),
        owner_(owner) {}

 private:
  void on_object(const std::string& key, const Value& object) override {
    owner_.on_hosts(name_in_key(key), sni_hosts(owner_.kind_, object));
  }
  void on_object_gone(const std::string& key) override { owner_.on_hosts(name_in_key(key), {}); }
  void on_synced() override {
    owner_.refusal_.clear();
    owner_.sink_.on_surroundings_changed();
  }
  void on_refused(int status, const std::string& text) override { owner_.on_refused(status, text); }
  void on_trouble(const std::string& text) override {
    LOG_WARNING("objects cannot be watched, trying again", "kind", owner_.kind_, "error", text);
  }

  IngressWatch& owner_;
};

IngressWatch::IngressWatch(io::Loop& loop, ApiServer& server, PlatformSink& sink, Rng& rng)
    : loop_(loop), server_(server), sink_(sink), rng_(rng) {}

IngressWatch::~IngressWatch() = default;

void IngressWatch::follow(std::string_view kind) {
  std::erase_if(ending_, [](const auto& watch) { return watch->is_idle(); });
  if (is_stopped_ || kind == kind_) return;
  kind_ = kind;
  hosts_.clear();
  refusal_.clear();
  versions_left_ = kube_kind_versions(kind);
  std::ranges::reverse(versions_left_);
  watch_next_version();
}

void IngressWatch::watch_next_version() {
  end_watch();
  if (versions_left_.empty()) return;
  watch_ = std::make_unique<Watch>(*this, *versions_left_.back());
  versions_left_.pop_back();
  watch_->start();
}

// It may be what is calling.
void IngressWatch::end_watch() {
  if (!watch_) return;
  watch_->stop();
  ending_.push_back(std::move(watch_));
}

void IngressWatch::on_hosts(const std::string& name, SniHosts hosts) {
  const bool is_known = hosts_.contains(name);
  if (hosts == (is_known ? hosts_.at(name) : SniHosts())) return;
  if (hosts == SniHosts()) hosts_.erase(name);
  else hosts_[name] = std::move(hosts);
  sink_.on_surroundings_changed();
}

void IngressWatch::on_refused(int status, const std::string& text) {
  if (status == kNotFound && !versions_left_.empty()) return watch_next_version();
  const KubeKind& kind = *find_kube_kind(kind_);
  LOG_WARNING("the hosts by which others get here cannot be watched", "kind", kind_, "status",
              status, "needs",
              "Role " + std::string(kIngressRole) + " with get, list and watch of " +
                  std::string(kind.plural) + " in " + group_of(kind),
              "error", text);
  refusal_ = text;
  sink_.on_surroundings_changed();
}

SniHosts IngressWatch::hosts() const {
  SniHosts all;
  for (const auto& [name, hosts] : hosts_) all.add(hosts);
  return all;
}

void IngressWatch::stop() {
  is_stopped_ = true;
  end_watch();
}

bool IngressWatch::is_idle() const {
  return !watch_ &&
         std::ranges::all_of(ending_, [](const auto& watch) { return watch->is_idle(); });
}

}  // namespace istmo::control
