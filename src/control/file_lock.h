// An exclusive lock on a file that is made for it and removed with it. Held for as long as the
// object lives, and freed by the kernel when its process dies.
#pragma once

#include <filesystem>
#include <functional>

#include "base/clock.h"
#include "base/result.h"

namespace istmo::control {

class FileLock {
 public:
  // Asked again and again while somebody else holds the lock, with the open file and the time that
  // passed: whether to wait on. May print.
  using WaitsOn = std::function<bool(int descriptor, Duration waited)>;
  // Error::limit when `waits_on` said no. What is locked is the file that has this path then: one
  // that its last holder removed meanwhile locks nobody out, so it does not count.
  static Result<FileLock> take(const std::filesystem::path& path, const WaitsOn& waits_on);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();
  int descriptor() const { return descriptor_; }

 private:
  FileLock(std::filesystem::path path, int descriptor);
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace istmo::control
