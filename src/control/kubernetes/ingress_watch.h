// Learns by which hosts the gateway is reached from the Routes, the Ingress or the TLSRoutes in
// front of it, when the Site asks for one of them: by one watch, and without asking again.
//
// Without the right to watch them it says so once, and knows of none.
//
// On the control loop; borrows loop, server, sink and generator.
// Ends with stop(), then is_idle() on the loop.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "control/kubernetes/api_server.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/sni_ingress.h"
#include "control/site_platform.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

class IngressWatch {
 public:
  IngressWatch(io::Loop& loop, ApiServer& server, PlatformSink& sink, Rng& rng);
  ~IngressWatch();

  // `kind`: as sni_kind() has it; empty: nothing is watched.
  void follow(std::string_view kind);
  void stop();
  bool is_idle() const;

  SniHosts hosts() const;
  // Why they cannot be watched; empty: they can, or nobody has said.
  const std::string& refusal() const { return refusal_; }

 private:
  class Watch;
  void watch_next_version();
  void end_watch();
  void on_hosts(const std::string& name, SniHosts hosts);
  void on_refused(int status, const std::string& text);

  io::Loop& loop_;
  ApiServer& server_;
  PlatformSink& sink_;
  Rng& rng_;
  std::string kind_;
  std::vector<const KubeKind*> versions_left_;  // that the cluster may serve, the next one last
  std::unique_ptr<Watch> watch_;
  std::vector<std::unique_ptr<Watch>> ending_;
  std::map<std::string, SniHosts> hosts_;  // by object
  std::string refusal_;
  bool is_stopped_ = false;
};

}  // namespace istmo::control
