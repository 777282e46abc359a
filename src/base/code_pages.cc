#include "base/code_pages.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace istmo {
namespace {

// Pages that were written to hold relocations, which the file does not.
bool is_code(const ElfW(Phdr) & segment) {
  return segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0 &&
         (segment.p_flags & PF_W) == 0;
}

int release_if_it_has(dl_phdr_info* library, size_t, void* function) {
  const auto wanted = reinterpret_cast<uintptr_t>(function);
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = library->dlpi_phdr[i];
    const uintptr_t begin = library->dlpi_addr + segment.p_vaddr;
    const uintptr_t end = begin + segment.p_memsz;
    if (!is_code(segment) || wanted < begin || wanted >= end) continue;
    const uintptr_t first = begin / page * page;
    madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
    return 1;
  }
  return 0;
}

}  // namespace

void release_code_pages(const void* function) {
  dl_iterate_phdr(release_if_it_has, const_cast<void*>(function));
}

}  // namespace istmo
