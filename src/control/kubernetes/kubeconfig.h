// Where an API server is and who we are to it: from kubeconfig files, as kubectl reads them, or
// from the service account that a pod has.
//
// Pure but for the reading of the files that are named; any thread. Nothing is kept: what may
// change (a token file, a plugin's answer) is read again by whoever needs it.
// Source: k8s.io/client-go, clientcmd loading rules; kubeconfig v1.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace istmo::control {

// A program that gives credentials (client.authentication.k8s.io).
struct KubeExec {
  std::string api_version;
  std::string command;  // a path, or a name to be looked for in PATH
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;
  bool gets_cluster = false;  // provideClusterInfo
  std::string install_hint;
  friend bool operator==(const KubeExec&, const KubeExec&) = default;
};

struct KubeAccess {
  std::string context;         // empty in a pod
  std::string namespace_name;  // of the context; "default" if it names none
  std::string pod_name;        // of this process, if it runs in one
  std::string host;            // of the API server, without brackets
  uint16_t port = 443;
  std::string path;         // in front of every request's, without '/' at the end; mostly empty
  std::string server_name;  // that its certificate must carry; empty: `host`
  std::string ca_pem;       // empty: the machine's own authorities
  bool takes_any_certificate = false;
  std::string certificate_pem;  // of the client; empty: none
  std::string private_key_pem;
  std::string token;                 // empty: none
  std::filesystem::path token_file;  // goes before `token` and is read again and again
  std::string user;                  // basic authentication
  std::string password;
  std::optional<KubeExec> exec;

  std::string server() const;  // "https://host:port/path", for people
};

struct KubeconfigOptions {
  std::filesystem::path file;                // --kubeconfig: this one alone, and it must be there
  std::vector<std::filesystem::path> files;  // else these, where they are; the first word counts
  std::string context;                       // --context; empty: the current one
  std::string namespace_name;                // -n; empty: the context's
};

// Options from KUBECONFIG, else ~/.kube/config.
KubeconfigOptions default_kubeconfig(std::string file, std::string context,
                                     std::string namespace_name);

// The context that these files name as current; empty: none does.
Result<std::string> current_context(const KubeconfigOptions& options);

// Error::config says what is missing, in which file, and what to do.
Result<KubeAccess> read_kubeconfig(const KubeconfigOptions& options);

// A pod's own access. `folder`: /var/run/secrets/kubernetes.io/serviceaccount; `host` and `port`:
// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
Result<KubeAccess> read_service_account(const std::filesystem::path& folder,
                                        const std::string& host, const std::string& port);

}  // namespace istmo::control
