// A namespace of a cluster as commands see it. Documents are ConfigMaps (those that hold codes:
// Secrets), one for each; what the gateway says of them it keeps in ConfigMaps and Secrets
// `<kind>-<name>-status`, and what it says of itself in ConfigMap kOverviewName. Documents that are
// objects of their own kind are read, changed and removed too, where the user may; new ones are
// not made so: a Skupper in the same cluster would take them for its own.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/cli/command_site.h"
#include "control/kubernetes/api_client.h"
#include "control/kubernetes/object_owner.h"

namespace istmo::control {

class ClusterSite final : public CommandSite {
 public:
  // Error::config when no gateway is installed in the namespace; it says what to do.
  static Result<ClusterSite> open(const Arguments& arguments);
  // Also one that is not there.
  static Result<ClusterSite> of(const Arguments& arguments);

  ApiClient& api() const { return *api_; }
  // Who made the Deployment of the gateway: "istmo", "Helm"; empty: there is none, or it is
  // somebody else's.
  std::string installer() const;
  // Skupper's own controller looks after the namespace.
  bool is_skuppers() const;
  // Objects of this kind that Istmo made here.
  Result<std::vector<Value>> ours(std::string_view kind) const;
  // Those kinds of documents of which the cluster has objects.
  Result<std::vector<std::string>> custom_kinds() const;
  // Of what holds the Site document; nothing: there is none.
  Result<std::optional<ObjectOwner>> owner() const;
  // Replaces what Istmo made, makes what is not there; Error::taken: it is somebody else's.
  Result<> put(const Value& object) const;

  // --- CommandSite -----------------------------------------------------------------------------
  Platform platform() const override { return Platform::kubernetes; }
  const std::string& namespace_name() const override { return api_->access().namespace_name; }
  Result<bool> is_installed() const override;
  std::string absence_text() const override;
  std::string services_place(const Value& site) const override;
  Result<Desired> documents() const override;
  Result<> write(const Document& document) const override;
  Result<> remove(const ObjectId& id) const override;
  Result<> check_runs() const override;
  Result<> check_takes_changes() const override { return check_runs(); }
  Result<std::vector<Value>> ask(const Value& request) const override;
  Result<std::vector<Value>> documents_with_status(const std::string& kind) const override;

 private:
  explicit ClusterSite(std::unique_ptr<ApiClient> api) : api_(std::move(api)) {}
  Result<Value> look_at(const ObjectId& id) const override;
  Duration pause_between_looks() const override { return Duration::milliseconds(200); }
  // The document's object; error when it holds others too. Null: it is not written.
  Result<Value> holder_of(const ObjectId& id) const;
  Result<std::vector<Value>> document_objects() const;
  Result<std::vector<Value>> custom_resources() const;
  Result<std::vector<Value>> ask_gateway(const Value& request) const;
  uint64_t replicas() const;  // of the gateway, that are ready
  Result<std::map<std::string, Value>> wait_for_answers(const ObjectId& id, uint64_t wanted) const;

  std::unique_ptr<ApiClient> api_;
};

}  // namespace istmo::control
