#include "control/cli/platform.h"

#include "control/site_options.h"

namespace istmo::control {

std::string_view to_string(Platform platform) {
  return platform == Platform::linux_machine ? "linux" : "kubernetes";
}

Result<Platform> platform_from(std::string_view name) {
  if (name == "linux") return Platform::linux_machine;
  if (name == "kubernetes") return Platform::kubernetes;
  return Error::config("there is no platform '" + std::string(name) +
                       "': choose linux or kubernetes with --platform or ISTMO_PLATFORM");
}

Result<Platform> choose_platform(const PlatformClues& clues) {
  if (!clues.flag.empty()) return platform_from(clues.flag);
  if (!clues.environment.empty()) return platform_from(clues.environment);
  if (clues.of_local_site) return *clues.of_local_site;
  return clues.has_current_context ? Platform::kubernetes : Platform::linux_machine;
}

PlatformClues gather_platform_clues(const std::string& flag, const std::string& namespace_name) {
  PlatformClues clues{.flag = flag, .environment = environment("ISTMO_PLATFORM")};
  if (const auto paths = namespace_paths(namespace_name)) {
    if (const auto options = read_site_options(*paths)) {
      if (const auto platform = platform_from(options->platform)) clues.of_local_site = *platform;
    }
  }
  const auto context = current_context(default_kubeconfig({}, {}, {}));
  clues.has_current_context = context && !context->empty();
  return clues;
}

namespace {

// A pod's host name is its own name, unless it has the node's network.
std::string own_pod_name() {
  const std::string told = environment("POD_NAME");
  return told.empty() ? environment("HOSTNAME") : told;
}

}  // namespace

Result<KubeAccess> kube_access(const KubeArguments& arguments, const std::string& namespace_name) {
  constexpr const char* kServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";
  const std::string host = environment("KUBERNETES_SERVICE_HOST");
  std::error_code ignored;
  const bool names_none = arguments.kubeconfig.empty() && arguments.context.empty();
  if (names_none && !host.empty() && std::filesystem::exists(kServiceAccount, ignored)) {
    KubeAccess access =
        TRY(read_service_account(kServiceAccount, host, environment("KUBERNETES_SERVICE_PORT")));
    if (!namespace_name.empty()) access.namespace_name = namespace_name;
    access.pod_name = own_pod_name();
    return access;
  }
  KubeAccess access = TRY(
      read_kubeconfig(default_kubeconfig(arguments.kubeconfig, arguments.context, namespace_name)));
  access.pod_name = own_pod_name();
  return access;
}

}  // namespace istmo::control
