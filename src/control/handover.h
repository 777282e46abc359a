// What tokens gave, on its way from the site's state to documents of the surroundings. Another
// process of the site may take it out of the state before this one sees it there: for that while
// it still counts.
//
// Owned by the controller, control thread only.
#pragma once

#include <map>
#include <vector>

#include "base/clock.h"
#include "control/desired.h"

namespace istmo::control {

class Handover {
 public:
  static constexpr Duration kPatience = Duration::seconds(10);

  // `given`: what the state has and `desired` has not. Puts it there, and what was given before and
  // is neither in the state nor in `desired` yet.
  void update(const std::vector<Document>& given, Desired& desired, Instant now);
  Instant next_deadline() const;

 private:
  struct Passing {
    Document document;
    Instant until;
  };
  std::map<ObjectId, Passing> passing_;
};

}  // namespace istmo::control
