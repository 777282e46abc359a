// What `init` was told about a site, kept in internal/platform.yaml, so that later commands find
// its admin socket and its platform. Plain values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/admin.h"
#include "control/paths.h"

namespace istmo::control {

struct SiteOptions {
  std::string platform = "linux";
  std::string admin;  // as AdminAddress::parse reads it; empty: the usual unix socket
  std::string service_host;
  bool has_ingress = true;
  std::vector<std::string> arguments;  // of `istmo run`, to start it again
};

std::optional<SiteOptions> read_site_options(const SitePaths& paths);
Result<> write_site_options(const SitePaths& paths, const SiteOptions& options);

// Where the site of these paths answers.
Result<AdminAddress> admin_address_of(const SitePaths& paths);

// Writes `text` to `file` by rename, mode 0600, so that no reader sees half of it. The folder may
// be anybody's.
Result<> write_file(const std::filesystem::path& file, std::string_view text);
Result<std::string> read_file(const std::filesystem::path& file);

}  // namespace istmo::control
