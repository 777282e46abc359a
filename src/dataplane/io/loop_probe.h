// Why io_uring is refused, in words. Pure, so that every case has a test.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace istmo::io {

struct Refusal {
  int error_number = 0;             // what io_uring_setup answered
  std::string_view kernel_release;  // uname -r: "6.1.0-18-amd64"
  std::optional<int> disabled;      // sysctl kernel.io_uring_disabled; none: no such sysctl
};

// "io_uring refused by seccomp (EPERM)" and the like: what, and what to do about it.
std::string explain(const Refusal& refusal);

}  // namespace istmo::io
