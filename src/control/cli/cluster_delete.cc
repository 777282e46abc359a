// delete: everything that Istmo made in a namespace of a cluster, by itself: it needs neither the
// gateway nor the cluster's garbage collector.
#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "control/cli/cluster_site.h"
#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/terminal.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/site_manifest.h"
#include "control/kubernetes/sni_ingress.h"

namespace istmo::control {

namespace {

// The gateway first, so that it does not put back what goes after it; the rights last.
constexpr const char* kKinds[] = {"Deployment",
                                  "ReplicaSet",
                                  "Pod",
                                  "Route",
                                  "Ingress",
                                  "TLSRoute",
                                  "Service",
                                  "EndpointSlice",
                                  "ConfigMap",
                                  "Secret",
                                  "Lease",
                                  "PodDisruptionBudget",
                                  "HorizontalPodAutoscaler",
                                  "NetworkPolicy",
                                  "RoleBinding",
                                  "Role",
                                  "ServiceAccount",
                                  "Event"};
// Made by the cluster for a Service, with its labels, and gone with it where the garbage collector
// runs. Who has a site need not have the right to delete them.
constexpr std::string_view kCollectedKind = "EndpointSlice";
constexpr Duration kCollectorPatience = Duration::seconds(15);
// Kinds that not every cluster has, and that not everybody may look at who has a site.
constexpr std::string_view kOptionalKinds[] = {"Route", "Ingress", "TLSRoute"};
constexpr int kGraceSeconds = 10;  // for connections of the gateway's pods
constexpr Duration kForceAfter = Duration::seconds(13);
constexpr Duration kPatience = Duration::seconds(50);
constexpr Duration kLookAgain = Duration::milliseconds(300);

class Removal {
 public:
  Removal(const ClusterSite& site, OtherDocuments others) : site_(site), others_(others) {}

  Result<> run() {
    TRY(find_kinds());
    const Instant began = monotonic_now();
    while (true) {
      const Duration elapsed = monotonic_now() - began;
      const int grace = elapsed < kForceAfter ? kGraceSeconds : 0;
      std::vector<ObjectId> left;
      for (const char* kind : kinds_) TRY(remove_all(kind, grace, left));
      if (elapsed >= kCollectorPatience) leave_to_collector(left);
      if (left.empty()) return {};
      if (elapsed >= kPatience) return not_gone(left);
      // Nothing but waiting is left to do for what is on its way.
      sleep_for(kLookAgain);
    }
  }
  // What may not be deleted, by object or kind.
  const std::map<std::string, std::string>& refused() const { return refused_; }
  // Objects that the cluster's garbage collector has to remove.
  const std::vector<ObjectId>& left_to_collector() const { return left_to_collector_; }
  size_t count() const { return asked_.size(); }

 private:
  // One that the cluster lacks would be refused, as if it were there.
  Result<> find_kinds() {
    const Desired documents = TRY(site_.documents());
    if (documents.site() != nullptr) ingress_ = sni_kind(documents.site()->link_access);
    if (const auto owner = TRY(site_.owner())) site_object_ = owner->name;
    for (const char* kind : kKinds) {
      const bool is_optional = std::ranges::find(kOptionalKinds, kind) != std::end(kOptionalKinds);
      const auto served = is_optional ? site_.api().find_served(kind) : nullptr;
      if (!is_optional || (served && *served != nullptr)) kinds_.push_back(kind);
    }
    return {};
  }

  // Of a kind that this site has nothing of it is no loss when it may not be looked at.
  bool is_wanted(std::string_view kind) const {
    if (kind == kCollectedKind) return false;
    return kind == ingress_ || std::ranges::find(kOptionalKinds, kind) == std::end(kOptionalKinds);
  }

  Result<> remove_all(const char* kind, int grace, std::vector<ObjectId>& left) {
    const auto objects = site_.ours(kind);
    if (!objects) {
      // No right, or no such kind in this cluster; a lost server ends it.
      if (objects.error().error_class() == ErrorClass::refused) {
        return std::unexpected(objects.error());
      }
      if (objects.error().error_class() == ErrorClass::config && is_wanted(kind)) {
        refused_.emplace(kind, objects.error().text());
      }
      return {};
    }
    for (const Value& object : *objects) {
      const ObjectId id = id_of_object(object);
      if (is_consent(id)) continue;
      if (others_ == OtherDocuments::stay && is_other_document(object)) {
        TRY(set_free(object));
        continue;
      }
      if (kind == kCollectedKind) {
        left.push_back(id);
        continue;
      }
      const std::string name = kind + std::string(" ") + id.name;
      if (refused_.contains(name)) continue;
      left.push_back(id);
      const bool is_on_its_way = !text_at(object, "metadata", "deletionTimestamp").empty();
      const bool is_forced = id.kind == "Pod" && grace == 0;
      if (is_on_its_way && !is_forced && asked_.contains(id)) continue;
      const auto removed = site_.api().remove(id, id.kind == "Pod" ? grace : -1);
      asked_.insert(id);
      if (removed || removed.error().error_class() == ErrorClass::closed) continue;
      if (removed.error().error_class() == ErrorClass::refused) return removed;
      if (removed.error().error_class() != ErrorClass::config) continue;  // tried again
      refused_.emplace(name, removed.error().text());
      left.pop_back();
    }
    return {};
  }

  // A document but the Site, or credentials that one names.
  bool is_other_document(const Value& object) const {
    const std::string& kind = text_at(object, "kind");
    if (text_at(object, "metadata", "labels", kDocumentsLabel) == "true") {
      return text_at(object, "metadata", "name") != site_object_;
    }
    return kind == SecretDocument::kKind && text_at(object, "type") == "kubernetes.io/tls" &&
           text_at(object, "metadata", "annotations", kContentAnnotation).empty();
  }

  // It would go with the Site, which owns it.
  Result<> set_free(const Value& object) const {
    if (value_at(object, {"metadata", "ownerReferences"}).items().empty()) return {};
    Value changed = object;
    Value metadata = *object.find("metadata");
    metadata.set("ownerReferences", Value::list());
    changed.set("metadata", std::move(metadata));
    const auto replaced = site_.api().replace(changed);
    const bool is_over = replaced || replaced.error().error_class() == ErrorClass::closed;
    return is_over ? Result<>() : std::unexpected(replaced.error());
  }

  // That a site of another namespace may see pods here is for whoever allowed it to take back.
  static bool is_consent(const ObjectId& id) {
    return (id.kind == "Role" || id.kind == "RoleBinding") &&
           id.name.starts_with(kAttachedRolePrefix);
  }

  // When nothing else is left.
  void leave_to_collector(std::vector<ObjectId>& left) {
    if (!std::ranges::all_of(left, [](const auto& id) { return id.kind == kCollectedKind; }))
      return;
    left_to_collector_ = std::move(left);
    left.clear();
  }

  Error not_gone(const std::vector<ObjectId>& left) const {
    std::string text =
        "not gone after " + std::to_string(kPatience.to_milliseconds() / 1000) + "s:";
    for (const ObjectId& id : left) text += " " + id.kind + "/" + id.name;
    return Error::timeout(text + "; `istmo delete` can be repeated");
  }

  const ClusterSite& site_;
  const OtherDocuments others_;
  std::vector<const char*> kinds_;
  std::string site_object_;   // that holds the Site document
  std::string_view ingress_;  // the kind of what leads to this site
  std::set<ObjectId> asked_;
  std::map<std::string, std::string> refused_;
  std::vector<ObjectId> left_to_collector_;
};

}  // namespace

// The namespace that it was in.
Result<std::string> remove_cluster_site(const Arguments& arguments, OtherDocuments others) {
  const ClusterSite site = TRY(ClusterSite::of(arguments));
  print_notice("istmo: " + place_text(site) + "\n");
  if (site.installer() == "Helm") {
    return Error::config("the site of namespace '" + site.namespace_name() +
                         "' was installed by Helm: remove it with `helm uninstall`");
  }
  Removal removal(site, others);
  TRY(removal.run());
  std::string left;
  for (const ObjectId& id : removal.left_to_collector()) left += " " + id.kind + "/" + id.name;
  if (!left.empty()) {
    print_notice(
        "istmo: left to the garbage collector of the cluster, which does not seem to run:" + left +
        "\n");
  }
  if (removal.refused().empty()) return site.namespace_name();
  std::string text = "not removed:";
  for (const auto& [name, why] : removal.refused()) text += "\n  " + name + ": " + why;
  return Error::config(text +
                       "\nSomebody with more rights has to remove what is named here; the "
                       "rest is gone");
}

Result<int> delete_cluster_site(const Arguments& arguments) {
  const std::string namespace_name = TRY(remove_cluster_site(arguments, OtherDocuments::go));
  print("Istmo is now removed from '" + namespace_name + "'.\n");
  return kExitDone;
}

}  // namespace istmo::control
