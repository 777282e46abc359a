#include "dataplane/transport/key_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/log.h"

namespace istmo::transport {

Result<KeyLog> KeyLog::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (descriptor < 0) return Error::from_errno(errno, "open TLS key log " + path);
  LOG_WARNING("TLS secrets are written to a file: who reads it can read all links", "file", path);
  return KeyLog(descriptor);
}

KeyLog::KeyLog(KeyLog&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

KeyLog& KeyLog::operator=(KeyLog&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

KeyLog::~KeyLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void KeyLog::write_line(std::string_view line) const {
  std::string text(line);
  text += '\n';
  ssize_t written;
  do {
    written = ::write(descriptor_, text.data(), text.size());
  } while (written < 0 && errno == EINTR);
}

}  // namespace istmo::transport
