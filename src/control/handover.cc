#include "control/handover.h"

#include <algorithm>

namespace istmo::control {

void Handover::update(const std::vector<Document>& given, Desired& desired, Instant now) {
  for (const Document& document : given) {
    passing_.insert_or_assign(id_of(document), Passing{document, now + kPatience});
  }
  // What was seen there is the user's, to be deleted as well.
  std::erase_if(passing_, [&](const auto& entry) {
    return desired.find(entry.first) || entry.second.until <= now;
  });
  for (const auto& [id, passing] : passing_) desired.put(passing.document);
}

Instant Handover::next_deadline() const {
  Instant next = Instant::never();
  for (const auto& [id, passing] : passing_) next = std::min(next, passing.until);
  return next;
}

}  // namespace istmo::control
