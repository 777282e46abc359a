// The kinds of objects that Istmo reads or writes in a cluster, and where the API has them.
//
// Pure; any thread.
// Source: Kubernetes API Concepts, "Resource URIs".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/desired.h"

namespace istmo::control {

struct KubeKind {
  std::string_view kind;
  std::string_view api_version;  // "v1", "apps/v1"
  std::string_view plural;       // in paths
};

// nullptr: none that Istmo knows. Of a kind that clusters serve in several versions, the newest.
const KubeKind* find_kube_kind(std::string_view kind);

// In all versions that a cluster may serve, the newest first.
std::vector<const KubeKind*> kube_kind_versions(std::string_view kind);

// "apps" of "apps/v1"; the first group of the API has no name.
std::string group_of(const KubeKind& kind);

// "/api/v1/namespaces/oeste/services"; of the whole cluster where `namespace_name` is empty.
std::string collection_path(const KubeKind& kind, std::string_view namespace_name);

// Of one object of a kind that find_kube_kind() has.
std::string object_path(const ObjectId& id, std::string_view namespace_name);

}  // namespace istmo::control
