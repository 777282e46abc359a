#include "control/kubernetes/kube_kinds.h"

#include <algorithm>
#include <iterator>

#include "base/assert.h"

namespace istmo::control {
namespace {

constexpr KubeKind kKinds[] = {
    {"ConfigMap", "v1", "configmaps"},
    {"Event", "v1", "events"},
    {"Namespace", "v1", "namespaces"},
    {"Pod", "v1", "pods"},
    {"Secret", "v1", "secrets"},
    {"Service", "v1", "services"},
    {"ServiceAccount", "v1", "serviceaccounts"},
    {"DaemonSet", "apps/v1", "daemonsets"},
    {"Deployment", "apps/v1", "deployments"},
    {"ReplicaSet", "apps/v1", "replicasets"},
    {"StatefulSet", "apps/v1", "statefulsets"},
    {"SelfSubjectAccessReview", "authorization.k8s.io/v1", "selfsubjectaccessreviews"},
    {"HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers"},
    {"Lease", "coordination.k8s.io/v1", "leases"},
    {"EndpointSlice", "discovery.k8s.io/v1", "endpointslices"},
    {"TLSRoute", "gateway.networking.k8s.io/v1", "tlsroutes"},
    {"TLSRoute", "gateway.networking.k8s.io/v1alpha3", "tlsroutes"},
    {"TLSRoute", "gateway.networking.k8s.io/v1alpha2", "tlsroutes"},
    {"Ingress", "networking.k8s.io/v1", "ingresses"},
    {"NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"},
    {"PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"},
    {"Role", "rbac.authorization.k8s.io/v1", "roles"},
    {"RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"},
    {"AccessGrant", "skupper.io/v2alpha1", "accessgrants"},
    {"AccessToken", "skupper.io/v2alpha1", "accesstokens"},
    {"AttachedConnector", "skupper.io/v2alpha1", "attachedconnectors"},
    {"AttachedConnectorBinding", "skupper.io/v2alpha1", "attachedconnectorbindings"},
    {"Certificate", "skupper.io/v2alpha1", "certificates"},
    {"Connector", "skupper.io/v2alpha1", "connectors"},
    {"Link", "skupper.io/v2alpha1", "links"},
    {"Listener", "skupper.io/v2alpha1", "listeners"},
    {"MultiKeyListener", "skupper.io/v2alpha1", "multikeylisteners"},
    {"RouterAccess", "skupper.io/v2alpha1", "routeraccesses"},
    {"Site", "skupper.io/v2alpha1", "sites"},
    {"Route", "route.openshift.io/v1", "routes"},
};

}  // namespace

const KubeKind* find_kube_kind(std::string_view kind) {
  const auto* found = std::ranges::find(kKinds, kind, &KubeKind::kind);
  return found == std::end(kKinds) ? nullptr : found;
}

std::vector<const KubeKind*> kube_kind_versions(std::string_view kind) {
  std::vector<const KubeKind*> versions;
  for (const KubeKind& known : kKinds) {
    if (known.kind == kind) versions.push_back(&known);
  }
  return versions;
}

std::string group_of(const KubeKind& kind) {
  const size_t slash = kind.api_version.find('/');
  return std::string(slash == std::string_view::npos ? "" : kind.api_version.substr(0, slash));
}

std::string collection_path(const KubeKind& kind, std::string_view namespace_name) {
  std::string path = group_of(kind).empty() ? "/api/" : "/apis/";
  path.append(kind.api_version).append("/");
  if (!namespace_name.empty()) path.append("namespaces/").append(namespace_name).append("/");
  return path.append(kind.plural);
}

std::string object_path(const ObjectId& id, std::string_view namespace_name) {
  const KubeKind* kind = find_kube_kind(id.kind);
  ASSERT(kind != nullptr);
  return collection_path(*kind, namespace_name) + "/" + id.name;
}

}  // namespace istmo::control
