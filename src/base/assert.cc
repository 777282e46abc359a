#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace istmo::base {

void assert_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "istmo: assertion failed: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace istmo::base
