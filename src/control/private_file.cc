#include "control/private_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace istmo::control {
namespace {

// Closes on every way out.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }

 private:
  int number_;
};

Error failed(std::string_view doing, const std::filesystem::path& path) {
  return Error::from_errno(errno, std::string(doing) + " " + path.string());
}

Result<> sync_folder_of(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : ".";
  const Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.is_open() || ::fsync(opened.number()) != 0) return failed("sync folder", folder);
  return {};
}

Result<> write_all(int descriptor, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write", path);
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (::fsync(descriptor) != 0) return failed("sync", path);
  return {};
}

// O_EXCL: it is our own file that is written to, whatever lay there, links included.
Result<> write_new(const std::filesystem::path& path, std::string_view text) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const Descriptor file(::open(path.c_str(), kFlags, 0600));
  if (!file.is_open()) return failed("create", path);
  return write_all(file.number(), text, path);
}

std::string random_suffix() {
  uint64_t number = 0;
  while (::getrandom(&number, sizeof number, 0) != sizeof number) {
  }
  return "." + std::to_string(number);
}

}  // namespace

Result<> write_private_file(const std::filesystem::path& path, std::string_view text,
                            FolderKind folder) {
  auto fresh = path;
  if (folder == FolderKind::shared) fresh += random_suffix();
  fresh += ".new";
  // What a crash left behind has no reader.
  if (folder == FolderKind::own) ::unlink(fresh.c_str());
  if (auto written = write_new(fresh, text); !written) {
    ::unlink(fresh.c_str());
    return written;
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    auto error = failed("replace", path);
    ::unlink(fresh.c_str());
    return error;
  }
  // Who may write to a folder of others need not be able to read it.
  auto synced = sync_folder_of(path);
  if (!synced && folder == FolderKind::own) {
    return std::move(synced).error().at(path.string() + " was replaced, but may not last");
  }
  return {};
}

Result<> reserve_room(const std::filesystem::path& path) {
  return write_private_file(path, std::string(kReservedBytes, '.'));
}

Result<std::string> read_private_file(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open() && errno == ENOENT) return Error::closed(path.string() + ": no such file");
  if (!file.is_open()) return failed("open", path);
  std::string text;
  char buffer[16 * 1024];
  while (true) {
    const ssize_t count = ::read(file.number(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("read", path);
    if (count == 0) return text;
    text.append(buffer, static_cast<size_t>(count));
    if (text.size() > kPrivateFileBytesMax) {
      return Error::config(path.string() + ": longer than " + std::to_string(kPrivateFileBytesMax) +
                           " octets");
    }
  }
}

Result<> remove_private_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return failed("remove", path);
  }
  return sync_folder_of(path);
}

Result<> make_private_folder(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (error) return Error::config("make folder " + path.string() + ": " + error.message());
  if (::mkdir(path.c_str(), 0700) == 0) return sync_folder_of(path);
  if (errno != EEXIST || !std::filesystem::is_directory(path, error)) {
    return failed("make folder", path);
  }
  return {};
}

}  // namespace istmo::control
