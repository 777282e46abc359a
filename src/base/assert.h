// Assertions that stay on in release builds.
//
// ASSERT states what only a bug of ours can break. Input from outside (the network, files, the
// kernel's answers) is checked and answered with an Error, never asserted.
#pragma once

namespace istmo::base {

[[noreturn]] void assert_failed(const char* condition, const char* file, int line);

}  // namespace istmo::base

#define ASSERT(condition)             \
  (__builtin_expect(!!(condition), 1) \
       ? void(0)                      \
       : ::istmo::base::assert_failed(#condition, __FILE__, __LINE__))
