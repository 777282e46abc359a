// A file of TLS secrets in the NSS key log format, for looking at links with a packet analyser.
//
// Opened and owned by whoever starts the data plane, who lets it live longer than every
// TlsContext that refers to it. Workers write to it together: each line is one append of the
// kernel's.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "base/result.h"

namespace istmo::transport {

class KeyLog {
 public:
  // Appends to `path`, a regular file of this user's with mode 0600: it is created so, or made so.
  // Warns in the log: who reads the file reads the traffic.
  static Result<KeyLog> open(const std::string& path);
  KeyLog(KeyLog&& other) noexcept;
  KeyLog& operator=(KeyLog&& other) noexcept;
  ~KeyLog();

  // Any thread. A line that cannot be written is lost; the connection is not.
  void write_line(std::string_view line) const;

 private:
  explicit KeyLog(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
  mutable std::atomic<bool> is_cut_ = false;  // the file ends with a piece of a line
};

}  // namespace istmo::transport
