// Memory that holds code.
#pragma once

namespace istmo {

// Lets go of the pages with code of the shared library that has `function`, after all of it has run
// once and most will not again: what is used is mapped anew from the file. Changes nothing but
// resident memory. Any thread, also while others run that code.
// Source: madvise(2), MADV_DONTNEED of a private mapping of a file that nobody wrote to.
void release_code_pages(const void* function);

}  // namespace istmo
