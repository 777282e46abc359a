// Documents that are objects of their own kind, where a cluster's administrator has installed the
// definitions of skupper.io (config/kubernetes/crds).
//
// Pure; any thread.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "control/desired.h"
#include "control/kubernetes/object_owner.h"
#include "control/value.h"

namespace istmo::control {

// All kinds of documents but Secret. A cluster may have some of them only.
inline constexpr std::array<std::string_view, 11> kCustomKinds{
    SiteDocument::kKind,
    LinkDocument::kKind,
    ListenerDocument::kKind,
    MultiKeyListenerDocument::kKind,
    ConnectorDocument::kKind,
    AttachedConnectorDocument::kKind,
    AttachedConnectorBindingDocument::kKind,
    AccessGrantDocument::kKind,
    AccessTokenDocument::kKind,
    RouterAccessDocument::kKind,
    CertificateDocument::kKind};
// The Role that lets the gateway use them.
inline constexpr const char* kCustomKindsRole = "istmo-kinds";

bool is_custom_kind(std::string_view kind);

// Those of an APIResourceList that the server serves.
std::vector<std::string> custom_kinds_in(const Value& resource_list);

// "skupper.io/Listener/backend": behind every file of a ConfigMap or Secret, so that of two
// documents with one name (document_store.h) the one in a ConfigMap is the first.
std::string custom_resource_file(const ObjectId& id);
bool is_custom_resource_file(std::string_view file);

// The document that the object is: without status, and without what the API server or kubectl add
// and change for themselves.
Value custom_resource_document(std::string_view kind, const Value& object);

// The object with its status, or without one that is of an earlier version of its spec.
Value with_current_status(Value object);

}  // namespace istmo::control
