// Workloads of other namespaces that their owners attach to this site (AttachedConnector there,
// AttachedConnectorBinding here): their documents and their pods.
//
// Owned by the Kubernetes platform, control thread only; borrows loop, server, sink and generator.
// Only namespaces that a Binding names are watched, and only ConfigMaps with documents, objects of
// kind AttachedConnector, and pods there; of Secrets nothing. Ends with stop(), then is_idle() on
// the loop.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "control/kubernetes/api_server.h"
#include "control/site_platform.h"

namespace istmo::control {

class AttachedNamespaces {
 public:
  // Each has two connections to the API server, and memory of its own.
  static constexpr size_t kNamespacesMax = 32;
  static constexpr size_t kFilesMax = 1000;  // of each
  static constexpr size_t kBytesMax = 4 * 1024 * 1024;

  AttachedNamespaces(io::Loop& loop, ApiServer& server, PlatformSink& sink, Rng& rng);
  ~AttachedNamespaces();

  // The namespaces that these Bindings name are watched, and no others. `has_custom_kinds`: an
  // AttachedConnector may be an object of its own kind.
  void follow(const DocumentMap<AttachedConnectorBindingDocument>& bindings, bool has_custom_kinds);
  // What it binds, as far as that is known.
  AttachedSelection select(const AttachedConnectorBindingDocument& binding) const;
  void stop();
  bool is_idle() const;

 private:
  class Namespace;
  class Watch;
  void on_changed();

  io::Loop& loop_;
  ApiServer& server_;
  PlatformSink& sink_;
  Rng& rng_;
  std::map<std::string, std::unique_ptr<Namespace>> namespaces_;
  std::vector<std::unique_ptr<Namespace>> ending_;
  bool is_stopped_ = false;
};

}  // namespace istmo::control
