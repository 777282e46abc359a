#include "control/paths.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr size_t kNamespaceBytesMax = 63;  // RFC 1123 label
constexpr size_t kResourceBytesMax = 253;  // RFC 1123 subdomain

bool is_letter_or_digit(char octet) {
  return (octet >= 'a' && octet <= 'z') || (octet >= '0' && octet <= '9');
}

bool is_name(std::string_view name, std::string_view inner, size_t bytes_max) {
  if (name.empty() || name.size() > bytes_max) return false;
  if (!is_letter_or_digit(name.front()) || !is_letter_or_digit(name.back())) return false;
  return std::ranges::all_of(name, [&](char octet) {
    return is_letter_or_digit(octet) || inner.find(octet) != std::string_view::npos;
  });
}

Error from_code(const std::error_code& code, std::string_view doing, const fs::path& path) {
  return Error::config(std::string(doing) + " " + path.string() + ": " + code.message());
}

}  // namespace

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

fs::path namespaces_root() {
  fs::path data = environment("XDG_DATA_HOME");
  // The XDG specification: a relative path is invalid and ignored.
  if (!data.is_absolute()) data = fs::path(environment("HOME")) / ".local" / "share";
  return data / "istmo" / "namespaces";
}

Result<> check_namespace_name(std::string_view name) {
  if (is_name(name, "-", kNamespaceBytesMax)) return {};
  return Error::config("'" + std::string(name) +
                       "' is not a namespace name: use at most 63 lower-case letters, digits "
                       "and '-', with a letter or digit at both ends");
}

Result<> check_resource_name(std::string_view name) {
  if (is_name(name, "-.", kResourceBytesMax)) return {};
  return Error::config("'" + std::string(name) +
                       "' is not a resource name: use lower-case letters, digits, '-' and '.', "
                       "with a letter or digit at both ends");
}

std::string as_resource_name(std::string_view text) {
  std::string name;
  for (char octet : text.substr(0, kResourceBytesMax)) {
    if (octet >= 'A' && octet <= 'Z') octet = static_cast<char>(octet - 'A' + 'a');
    name += is_letter_or_digit(octet) ? octet : '-';
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  name.erase(0, name.find_first_not_of('-') == std::string::npos ? name.size()
                                                                 : name.find_first_not_of('-'));
  return name.empty() ? std::string("x") : name;
}

std::string free_resource_name(std::string_view text,
                               const std::function<bool(const std::string&)>& is_taken) {
  static constexpr size_t kHashDigits = 8;
  std::string name = as_resource_name(text);
  if (!is_taken(name)) return name;
  // FNV-1a, 32 bits.
  uint32_t hash = 2166136261u;
  for (char octet : text) hash = (hash ^ static_cast<uint8_t>(octet)) * 16777619u;
  std::string digits = "0123456789abcdef";
  name.resize(std::min(name.size(), kResourceBytesMax - kHashDigits - 1));
  name += '-';
  for (size_t place = 0; place < kHashDigits; ++place) name += digits[(hash >> (4 * place)) & 15];
  return name;
}

Result<SitePaths> namespace_paths(std::string_view name) {
  TRY(check_namespace_name(name));
  if (!namespaces_root().is_absolute()) {
    return Error::config(
        "there is no place for sites: set HOME, or XDG_DATA_HOME, to an absolute path");
  }
  const fs::path root = namespaces_root() / name;
  return SitePaths{.root = root, .runtime = root / "runtime"};
}

std::vector<std::string> local_namespaces() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(namespaces_root(), ignored)) {
    std::string name = entry.path().filename().string();
    if (check_namespace_name(name)) names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return names;
}

Result<> make_site_folders(const SitePaths& paths) {
  for (const fs::path& folder :
       {paths.resources(), paths.certs(), paths.internal(), paths.runtime_resources()}) {
    std::error_code code;
    fs::create_directories(folder, code);
    if (code) return from_code(code, "cannot make folder", folder);
  }
  // Private keys and tokens live below: nobody else needs to look.
  if (::chmod(paths.root.c_str(), 0700) != 0 || ::chmod(paths.runtime.c_str(), 0700) != 0) {
    return Error::from_errno(errno, "chmod " + paths.root.string());
  }
  return {};
}

Result<> remove_site_folders(const SitePaths& paths) {
  std::error_code code;
  fs::remove_all(paths.root, code);
  if (code) return from_code(code, "cannot remove", paths.root);
  return {};
}

}  // namespace istmo::control
