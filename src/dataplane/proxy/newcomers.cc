#include "dataplane/proxy/newcomers.h"

#include <utility>

namespace istmo::proxy {

void Newcomers::add(Newcomer& newcomer, std::string source) {
  newcomer.source = std::move(source);
  waiting_.push_back(newcomer);
}

Newcomer* Newcomers::in_the_way_of(const std::string& source) {
  size_t all = 0;
  size_t of_source = 0;
  Newcomer* first_of_source = nullptr;
  for (Newcomer* each = waiting_.first(); each; each = waiting_.next_of(*each)) {
    ++all;
    if (each->source != source) continue;
    if (!first_of_source) first_of_source = each;
    ++of_source;
  }
  if (of_source >= kOfSourceMax) return first_of_source;
  return all >= kMax ? waiting_.first() : nullptr;
}

}  // namespace istmo::proxy
