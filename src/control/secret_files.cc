#include "control/secret_files.h"

#include <utility>
#include <vector>

#include "control/private_file.h"
#include "control/state_store.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

Result<> write_if_changed(const fs::path& path, const std::string& text) {
  const auto there = read_private_file(path);
  if (there && *there == text) return {};
  return write_private_file(path, text);
}

// The folder has files too: those of the site's own servers.
Result<> remove_others(const fs::path& folder,
                       const std::map<std::string, proxy::Credentials>& secrets) {
  std::error_code error;
  std::vector<fs::path> gone;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const bool is_wanted = secrets.contains(at->path().filename().string());
    if (!is_wanted && at->symlink_status().type() == fs::file_type::directory) {
      gone.push_back(at->path());
    }
  }
  for (const fs::path& path : gone) {
    if (!error) fs::remove_all(path, error);
  }
  if (error) return Error::internal("clean " + folder.string() + ": " + error.message());
  return {};
}

}  // namespace

Result<> SecretFiles::write(const std::map<std::string, proxy::Credentials>& secrets) {
  if (written_ == secrets) return {};
  written_.reset();
  for (const auto& [name, credentials] : secrets) {
    const fs::path folder =
        folder_.parent_path() / TRY(record_name(folder_.filename().string(), name, ""));
    TRY(make_private_folder(folder));
    TRY(write_if_changed(folder / "tls.key", credentials.private_key));
    TRY(write_if_changed(folder / "tls.crt", credentials.certificate));
    TRY(write_if_changed(folder / "ca.crt", credentials.ca));
  }
  TRY(remove_others(folder_, secrets));
  written_ = secrets;
  return {};
}

}  // namespace istmo::control
