// Programs that give credentials for an API server, as kubeconfig files name them.
//
// Runs the program and waits for it: for commands, and for a site outside of a pod. What it gave is
// kept until the API server refuses it (ApiServer); a certificate is kept as long as the process.
// Source: client.authentication.k8s.io, ExecCredential.
#pragma once

#include <string_view>

#include "base/result.h"
#include "control/kubernetes/kubeconfig.h"

namespace istmo::control {

// Puts into `access` what its plugin says; without one there is nothing to do. Error::config names
// the program, and how it is installed if the kubeconfig says that.
Result<> run_exec_plugin(KubeAccess& access);

// The same from what the plugin printed. Error::config says what is wrong with it.
Result<> take_exec_credential(std::string_view printed, KubeAccess& access);

}  // namespace istmo::control
