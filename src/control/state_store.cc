#include "control/state_store.h"

#include "control/private_file.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kRoomExtension = ".room";
// Files that are written beside a record have other endings.
constexpr std::string_view kRecordExtensions[] = {".json", ".pem"};

bool is_record(const fs::path& path) {
  for (const std::string_view extension : kRecordExtensions) {
    if (path.extension() == extension) return true;
  }
  return false;
}

Result<std::vector<fs::path>> files_in(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    files.push_back(at->path());
  }
  if (error) return Error::config("read folder " + folder.string() + ": " + error.message());
  return files;
}

fs::path room_of(const fs::path& record) {
  return fs::path(record).replace_extension(kRoomExtension);
}

}  // namespace

Result<std::string> record_name(std::string_view folder, const std::string& name,
                                std::string_view extension) {
  if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    return Error::config("'" + name + "' cannot be the name of a file");
  }
  return std::string(folder) + "/" + name + std::string(extension);
}

Result<DiskStateStore> DiskStateStore::open(const fs::path& folder) {
  TRY(make_private_folder(folder));
  for (const char* name : {"issuers", "grants", "issued", "links", "renewals", "certificates"}) {
    TRY(make_private_folder(folder / name));
    for (const fs::path& file : TRY(files_in(folder / name))) {
      if (file.extension() == kRoomExtension) TRY(remove_private_file(file));
    }
  }
  return DiskStateStore(folder);
}

Result<std::vector<std::string>> DiskStateStore::list(const std::string& folder) const {
  std::vector<std::string> names;
  for (const fs::path& file : TRY(files_in(folder_ / folder))) {
    if (is_record(file)) names.push_back(folder + "/" + file.filename().string());
  }
  return names;
}

Result<std::string> DiskStateStore::read(const std::string& name) const {
  return read_private_file(folder_ / name);
}

Result<> DiskStateStore::write(const std::string& name, std::string_view text) {
  return write_private_file(folder_ / name, text);
}

Result<> DiskStateStore::remove(const std::string& name) {
  return remove_private_file(folder_ / name);
}

std::string DiskStateStore::place_of(const std::string& name) const {
  return (folder_ / name).string();
}

Result<> DiskStateStore::reserve(const std::string& name) {
  return reserve_room(room_of(folder_ / name));
}

void DiskStateStore::release(const std::string& name) {
  std::error_code ignored;
  fs::remove(room_of(folder_ / name), ignored);
}

}  // namespace istmo::control
