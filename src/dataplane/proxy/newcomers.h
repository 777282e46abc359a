// Connections at the link port of which nobody knows yet whose they are, the one that came first in
// front. They are few, in all and from one source; when there is no room the first one goes,
// because who means well says at once who he is, and who does not would keep all others out.
//
// A newcomer leaves the list when it is known, and when it ends.
#pragma once

#include <string>

#include "base/list.h"

namespace istmo::proxy {

struct Newcomer : ListNode<Newcomer> {
  std::string source;  // io::Address::source()
};

class Newcomers {
 public:
  static constexpr size_t kMax = 256;
  static constexpr size_t kOfSourceMax = 64;  // what a site with as many workers dials at once

  void add(Newcomer& newcomer, std::string source);
  // Who has to go before another one from `source` is added; nullptr: there is room.
  Newcomer* in_the_way_of(const std::string& source);

 private:
  List<Newcomer> waiting_;
};

}  // namespace istmo::proxy
