// A compressed tar archive (ustar in gzip) of texts, made in memory: for `debug dump`. The only
// home of zlib.
//
// Source: POSIX.1-2017 pax, "ustar Interchange Format"; RFC 1952.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace istmo::control {

class Archive {
 public:
  static constexpr size_t kNameBytesMax = 100;

  // `folder`: in which all files are when it is unpacked. `time`: of all files, seconds since 1970.
  Archive(std::string folder, int64_t time) : folder_(std::move(folder)), time_(time) {}

  // A file, mode 0600. A name that is too long, with the folder, is cut.
  void add(std::string_view name, std::string_view text);
  // All of it, compressed.
  Result<std::string> take();

 private:
  const std::string folder_;
  const int64_t time_;
  std::string tar_;
};

}  // namespace istmo::control
