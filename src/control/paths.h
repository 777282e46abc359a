// Where a site lives on disk. One place, so that commands and the site itself agree.
//
//   ${XDG_DATA_HOME:-~/.local/share}/istmo/namespaces/.<name>.lock  while init or delete is at work
//   ${XDG_DATA_HOME:-~/.local/share}/istmo/namespaces/<name>/
//     input/resources/*.yaml   documents: what the user (or a command) wants
//     input/certs/             certificates that the user brings
//     internal/                what `init` was told: platform, options
//     runtime/                 the running site's own: state, status, socket, pid, log
//
// Plain values; nothing here touches the disk except the functions that say so.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace istmo::control {

// A variable of the environment; empty where it is not set.
std::string environment(const char* name);

inline constexpr std::string_view kDefaultNamespace = "default";

struct SitePaths {
  std::filesystem::path root;     // empty for a site that was not made by `init`
  std::filesystem::path runtime;  // the state folder

  std::filesystem::path resources() const { return root / "input" / "resources"; }
  std::filesystem::path certs() const { return root / "input" / "certs"; }
  std::filesystem::path internal() const { return root / "internal"; }
  std::filesystem::path platform_file() const { return internal() / "platform.yaml"; }
  std::filesystem::path runtime_resources() const { return runtime / "resources"; }
  std::filesystem::path admin_socket() const { return runtime / "admin.sock"; }
  std::filesystem::path pid_file() const { return runtime / "istmo.pid"; }
  std::filesystem::path log_file() const { return runtime / "istmo.log"; }
  // Beside the folder, because it outlives its removal.
  std::filesystem::path lock_file() const {
    return root.parent_path() / ("." + root.filename().string() + ".lock");
  }
};

// Reads XDG_DATA_HOME and HOME. Relative when neither says where.
std::filesystem::path namespaces_root();

// A namespace name is a DNS label: [a-z0-9]([-a-z0-9]*[a-z0-9])?, at most 63 octets. This also
// keeps every path inside namespaces_root().
Result<> check_namespace_name(std::string_view name);

// Error::config when the name is not one, or namespaces_root() is nowhere.
Result<SitePaths> namespace_paths(std::string_view name);

// The names of the local sites, sorted. Reads the disk.
std::vector<std::string> local_namespaces();

// Makes the folders, private to the user (0700 for the site's own). Writes the disk.
Result<> make_site_folders(const SitePaths& paths);

// Removes the namespace folder and everything in it. Writes the disk.
Result<> remove_site_folders(const SitePaths& paths);

// Names of resources: like namespace names, dots allowed, at most 253 octets.
Result<> check_resource_name(std::string_view name);

// `text` made a valid resource name: lower case, other octets replaced by '-'.
std::string as_resource_name(std::string_view text);

// as_resource_name(), with a short hash of `text` behind it when another text has that name: the
// same for the same text, and not the other one's.
std::string free_resource_name(std::string_view text,
                               const std::function<bool(const std::string&)>& is_taken);

}  // namespace istmo::control
