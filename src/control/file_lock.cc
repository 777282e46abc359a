#include "control/file_lock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr int kAskAgainMs = 5;

bool is_file_at(const fs::path& path, int descriptor) {
  struct stat opened{};
  struct stat named{};
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

FileLock::FileLock(fs::path path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

FileLock::FileLock(FileLock&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  ::unlink(path_.c_str());  // while it is locked: who waits for it sees that it is gone
  ::close(descriptor_);
}

Result<FileLock> FileLock::take(const fs::path& path, const WaitsOn& waits_on) {
  const Instant begin = monotonic_now();
  while (true) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) return Error::from_errno(errno, "open " + path.string());
    while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      if (!waits_on(descriptor, monotonic_now() - begin)) {
        ::close(descriptor);
        return Error::limit(path.string() + " is locked");
      }
      ::poll(nullptr, 0, kAskAgainMs);
    }
    if (is_file_at(path, descriptor)) return FileLock(path, descriptor);
    ::close(descriptor);
  }
}

}  // namespace istmo::control
