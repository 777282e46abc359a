#include "control/kubernetes/attached_namespaces.h"

#include <algorithm>

#include "base/log.h"
#include "control/document_store.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/pod_table.h"
#include "control/kubernetes/site_manifest.h"
#include "control/kubernetes/watched_collection.h"

namespace istmo::control {
namespace {

// In another namespace it is all that concerns this site.
constexpr const char* kCustomKind = "AttachedConnector";

}  // namespace

class AttachedNamespaces::Watch final : private CollectionSink, public WatchedCollection {
 public:
  Watch(Namespace& owner, AttachedNamespaces& all, const char* kind, std::string label_selector);
  const std::string& refusal() const { return refusal_; }

 private:
  void on_object(const std::string& key, const Value& object) override;
  void on_object_gone(const std::string& key) override;
  void on_synced() override;
  void on_refused(int status, const std::string& text) override;
  void on_trouble(const std::string& text) override;

  Namespace& owner_;
  AttachedNamespaces& all_;
  const std::string kind_;
  std::string refusal_;
};

// What is known of one of them.
class AttachedNamespaces::Namespace {
 public:
  Namespace(AttachedNamespaces& all, std::string name)
      : name_(std::move(name)),
        streams_(*this, all, "ConfigMap", documents_selector()),
        custom_(*this, all, kCustomKind, ""),
        pod_watch_(*this, all, "Pod", "") {}

  void start() {
    streams_.start();
    pod_watch_.start();
  }
  void start_custom() {
    if (!std::exchange(has_custom_, true)) custom_.start();
  }
  void stop() {
    streams_.stop();
    custom_.stop();
    pod_watch_.stop();
  }
  bool is_idle() const { return streams_.is_idle() && custom_.is_idle() && pod_watch_.is_idle(); }
  const std::string& name() const { return name_; }

  bool put(const std::string& kind, const Value& object) {
    if (kind == "Pod") return pods_.put(object);
    is_new_ |= kind == kCustomKind ? documents_.put_custom(kind, object)
                                   : documents_.put_streams(kind, object);
    return is_new_;
  }
  bool remove(const std::string& kind, const std::string& name) {
    if (kind == "Pod") return pods_.remove(name);
    is_new_ |= kind == kCustomKind ? documents_.remove_custom({kind, name})
                                   : documents_.remove_streams({kind, name});
    return is_new_;
  }
  // Once for all that came: a namespace may tell much at once.
  void read_documents() {
    if (std::exchange(is_new_, false)) store_.apply(documents_.state());
  }

  AttachedSelection select(const std::string& name, const std::string& site_namespace) const;

 private:
  std::string refusal() const {
    return streams_.refusal().empty() ? pod_watch_.refusal() : streams_.refusal();
  }

  const std::string name_;
  ClusterDocuments documents_{kFilesMax, kBytesMax};
  DocumentStore store_;
  PodTable pods_;
  bool is_new_ = false;  // documents that store_ has not read
  Watch streams_;
  Watch custom_;
  bool has_custom_ = false;  // it was started
  Watch pod_watch_;
};

AttachedNamespaces::Watch::Watch(Namespace& owner, AttachedNamespaces& all, const char* kind,
                                 std::string label_selector)
    : WatchedCollection(all.loop_, all.server_,
                        {.path = collection_path(*find_kube_kind(kind), owner.name()),
                         .label_selector = std::move(label_selector),
                         .field_selector = {}},
                        *this, all.rng_),
      owner_(owner),
      all_(all),
      kind_(kind) {}

void AttachedNamespaces::Watch::on_object(const std::string&, const Value& object) {
  if (owner_.put(kind_, object)) all_.on_changed();
}

void AttachedNamespaces::Watch::on_object_gone(const std::string& key) {
  if (owner_.remove(kind_, name_in_key(key))) all_.on_changed();
}

void AttachedNamespaces::Watch::on_synced() {
  refusal_.clear();
  all_.on_changed();
}

void AttachedNamespaces::Watch::on_refused(int status, const std::string& text) {
  LOG_ERROR("objects of another namespace cannot be watched", "namespace", owner_.name(), "kind",
            kind_, "status", status, "error", text);
  refusal_ = text;
  all_.on_changed();
}

void AttachedNamespaces::Watch::on_trouble(const std::string& text) {
  LOG_WARNING("objects of another namespace cannot be watched, trying again", "namespace",
              owner_.name(), "kind", kind_, "error", text);
}

AttachedSelection AttachedNamespaces::Namespace::select(const std::string& name,
                                                        const std::string& site_namespace) const {
  AttachedSelection selection;
  const ObjectId id{std::string(AttachedConnectorDocument::kKind), name};
  const std::string what = id.kind + " " + name + " in namespace " + name_;
  if (!refusal().empty()) {
    selection.error = "namespace " + name_ + " does not let this site in: Role " +
                      std::string(kAttachedRolePrefix) + "-" + site_namespace +
                      " is missing there; its owner applies the output of `istmo generate "
                      "attached-role --namespace-of-site " +
                      site_namespace + " -n " + name_ + "` (" + refusal() + ")";
    return selection;
  }
  const auto found = store_.desired().attached_connectors.find(name);
  if (found == store_.desired().attached_connectors.end()) {
    for (const Problem& problem : store_.problems()) {
      const bool is_of_it = problem.object == id && problem.severity == Severity::error;
      if (is_of_it && selection.error.empty()) selection.error = what + ": " + problem.text;
    }
    const bool is_known = streams_.is_synced();
    if (selection.error.empty()) {
      selection.waiting =
          is_known ? what + " is not there" : "Namespace " + name_ + " is not known yet";
      if (!custom_.refusal().empty()) {
        selection.waiting +=
            ", or is not seen: attached-role-of-kinds.yaml, applied there, lets "
            "this site read them (" +
            custom_.refusal() + ")";
      }
    }
    return selection;
  }
  const AttachedConnectorDocument& connector = found->second;
  if (connector.site_namespace != site_namespace) {
    selection.error = what + " is for a site in namespace " + connector.site_namespace;
    return selection;
  }
  const auto selector = LabelSelector::parse(connector.selector);
  if (!selector) {
    selection.error = what + ": spec." + selector.error().text();
    return selection;
  }
  selection.connector = connector;
  selection.pods.is_known = pod_watch_.is_synced();
  selection.pods.pods =
      pods_.select(*selector, connector.includes_not_ready_pods ? NotReadyPods::included
                                                                : NotReadyPods::left_out);
  return selection;
}

AttachedNamespaces::AttachedNamespaces(io::Loop& loop, ApiServer& server, PlatformSink& sink,
                                       Rng& rng)
    : loop_(loop), server_(server), sink_(sink), rng_(rng) {}

AttachedNamespaces::~AttachedNamespaces() = default;

void AttachedNamespaces::follow(const DocumentMap<AttachedConnectorBindingDocument>& bindings,
                                bool has_custom_kinds) {
  if (is_stopped_) return;
  std::erase_if(ending_, [](const auto& entry) { return entry->is_idle(); });
  std::set<std::string> wanted;
  for (const auto& [name, binding] : bindings) {
    if (wanted.size() < kNamespacesMax) wanted.insert(binding.connector_namespace);
  }
  for (auto at = namespaces_.begin(); at != namespaces_.end();) {
    if (wanted.contains(at->first)) {
      ++at;
      continue;
    }
    at->second->stop();
    ending_.push_back(std::move(at->second));
    at = namespaces_.erase(at);
  }
  for (const std::string& name : wanted) {
    auto& known = namespaces_[name];
    if (!known) {
      known = std::make_unique<Namespace>(*this, name);
      known->start();
    }
    if (has_custom_kinds) known->start_custom();
    known->read_documents();
  }
}

AttachedSelection AttachedNamespaces::select(
    const AttachedConnectorBindingDocument& binding) const {
  const auto known = namespaces_.find(binding.connector_namespace);
  if (known == namespaces_.end()) {
    AttachedSelection selection;
    selection.error = "Bindings name more than " + std::to_string(kNamespacesMax) + " namespaces";
    return selection;
  }
  return known->second->select(binding.name(), server_.access().namespace_name);
}

void AttachedNamespaces::stop() {
  is_stopped_ = true;
  for (const auto& [name, known] : namespaces_) known->stop();
}

bool AttachedNamespaces::is_idle() const {
  return std::ranges::all_of(namespaces_, [](const auto& e) { return e.second->is_idle(); }) &&
         std::ranges::all_of(ending_, [](const auto& known) { return known->is_idle(); });
}

void AttachedNamespaces::on_changed() { sink_.on_surroundings_changed(); }

}  // namespace istmo::control
