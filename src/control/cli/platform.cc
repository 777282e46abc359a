#include "control/cli/platform.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "control/document_text.h"
#include "control/kubernetes/kubeconfig.h"
#include "control/site_options.h"

namespace istmo::control {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool any_kubeconfig_has_context() {
  const KubeconfigOptions options = default_kubeconfig({}, {}, {});
  return std::ranges::any_of(options.files,
                             [](const auto& file) { return has_current_context(text_of(file)); });
}

}  // namespace

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
  clues.has_current_context = any_kubeconfig_has_context();
  return clues;
}

bool has_current_context(std::string_view kubeconfig) {
  const auto values = parse_values(kubeconfig, "kubeconfig");
  if (!values) return false;
  for (const Value& value : *values) {
    const Value* context = value.find("current-context");
    if (context != nullptr && !context->text().empty()) return true;
  }
  return false;
}

Result<> require_linux(Platform platform) {
  if (platform == Platform::linux_machine) return {};
  return Error::config(
      "the platform kubernetes is not supported yet; for a site on this machine use "
      "--platform linux or set ISTMO_PLATFORM=linux");
}

}  // namespace istmo::control
