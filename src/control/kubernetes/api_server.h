// One API server as all channels to it see it: where it is, TLS settings, and how to say who we
// are.
//
// Owned by whoever syncs with the cluster, on its loop's thread; outlives the channels.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "control/https_channel.h"
#include "control/kubernetes/kubeconfig.h"
#include "dataplane/io/loop.h"
#include "dataplane/transport/tls_context.h"

namespace istmo::control {

class ApiServer {
 public:
  // A token file is read again after so long: the kubelet changes it in place.
  static constexpr Duration kTokenTime = Duration::seconds(60);

  // Runs the credential plugin that `access` names, and waits for it. Error::config: it failed, a
  // certificate or key cannot be used, or there is no CA.
  static Result<ApiServer> create(KubeAccess access, const transport::KeyLog* key_log = nullptr);

  // What access().host resolves to; tried in turn. A host that is numeric needs none.
  void set_addresses(const std::vector<io::Address>& addresses);
  const std::vector<HttpsPlace>& places() const { return places_; }

  // A request for `target` (path and query, as the API has it), without a body. Error: the token
  // cannot be read.
  Result<Request> request(const std::string& method, const std::string& target, Instant now);
  // The server said 401: the token is read again at once, or the credential plugin run anew, which
  // holds the loop while it runs.
  void forget_authorization() {
    token_read_at_ = Instant::never();
    is_plugin_due_ = access_.exec.has_value();
  }
  // A right that a Role of `init` gives was refused. True: for the first time.
  bool note_missing_right(const std::string& what) { return missing_rights_.insert(what).second; }

  const KubeAccess& access() const { return access_; }
  const transport::TlsContext& tls() const { return tls_; }

 private:
  ApiServer(KubeAccess access, transport::TlsContext tls)
      : access_(std::move(access)), tls_(std::move(tls)) {}
  // Value of the header Authorization; empty: none is needed.
  Result<std::string> authorization(Instant now);

  KubeAccess access_;
  transport::TlsContext tls_;
  std::vector<HttpsPlace> places_;
  std::string token_;
  Instant token_read_at_ = Instant::never();  // never: not yet
  bool is_plugin_due_ = false;
  std::set<std::string> missing_rights_;
};

}  // namespace istmo::control
