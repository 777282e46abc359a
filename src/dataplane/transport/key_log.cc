#include "dataplane/transport/key_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/log.h"

namespace istmo::transport {
namespace {

// A file that existed keeps the mode that it had, and whoever could read it would read all links.
Result<> make_private(int descriptor, const std::string& name) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) return Error::from_errno(errno, "look at " + name);
  if (!S_ISREG(status.st_mode)) return Error::config(name + " is no regular file");
  if (status.st_uid != ::geteuid()) {
    return Error::config(name + " belongs to another user: name a file of your own");
  }
  if ((status.st_mode & 077) == 0) return {};
  if (::fchmod(descriptor, 0600) != 0) return Error::from_errno(errno, "make private " + name);
  return {};
}

}  // namespace

Result<KeyLog> KeyLog::open(const std::string& path) {
  const std::string name = "TLS key log " + path;
  // O_NONBLOCK: a pipe would wait for its reader here.
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  KeyLog log(::open(path.c_str(), kFlags, 0600));
  if (log.descriptor_ < 0 && errno == ELOOP) {
    return Error::config(name + " is a symbolic link: name the file itself");
  }
  if (log.descriptor_ < 0) return Error::from_errno(errno, "open " + name);
  TRY(make_private(log.descriptor_, name));
  LOG_WARNING("TLS secrets are written to a file: who reads it can read all links", "file", path);
  return log;
}

KeyLog::KeyLog(KeyLog&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), is_cut_(other.is_cut_.load()) {}

KeyLog& KeyLog::operator=(KeyLog&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  is_cut_ = other.is_cut_.load();
  return *this;
}

KeyLog::~KeyLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

// A write that comes short (the disk is full) leaves a piece of a line. The next one ends it, for a
// reader to skip, and this line is tried once more as a whole.
void KeyLog::write_line(std::string_view line) const {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const bool was_cut = is_cut_.exchange(false);
    std::string text = was_cut ? "\n" : "";
    text.append(line).append("\n");
    ssize_t written;
    do {
      written = ::write(descriptor_, text.data(), text.size());
    } while (written < 0 && errno == EINTR);
    if (written == static_cast<ssize_t>(text.size())) return;
    if (written > 0 || was_cut) is_cut_ = true;
    if (written <= 0) return;
  }
}

}  // namespace istmo::transport
