// Where a site lives: on this machine (linux) or in a Kubernetes cluster.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/cli/arguments.h"
#include "control/kubernetes/kubeconfig.h"
#include "control/paths.h"

namespace istmo::control {

enum class Platform : uint8_t { linux_machine, kubernetes };

std::string_view to_string(Platform platform);
// "linux" or "kubernetes"; Error::config for every other name.
Result<Platform> platform_from(std::string_view name);

// What the choice is made from, in order of rank.
struct PlatformClues {
  std::string flag;         // --platform
  std::string environment;  // ISTMO_PLATFORM
  std::optional<Platform> of_local_site;
  bool has_current_context = false;  // of a kubeconfig
};

Result<Platform> choose_platform(const PlatformClues& clues);

// Once the platform of the command is chosen.
inline bool is_in_cluster(const Arguments& arguments) { return arguments.platform == "kubernetes"; }

// Reads the environment and the disk.
PlatformClues gather_platform_clues(const std::string& flag, const std::string& namespace_name);

// The API server that the arguments name; where they name none, and this is a pod, its own.
Result<KubeAccess> kube_access(const KubeArguments& arguments, const std::string& namespace_name);

}  // namespace istmo::control
