// The status of every object, derived from what runs: documents, problems, links, neighbours,
// grants. Never guessed. Conditions, status and message are Skupper's (v2alpha1).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/compile.h"
#include "control/desired.h"
#include "control/observed.h"
#include "control/value.h"

namespace istmo::control {

struct ObjectStatus {
  ObjectId id;
  std::optional<Document> document;  // none: no version of it ever was valid
  Value status;                      // conditions, status, message, and what the kind adds
  Value to_value() const;            // the document with its status
  friend bool operator==(const ObjectStatus&, const ObjectStatus&) = default;
};

// All objects: those of `desired`, the implied RouterAccess, and those that have an error and no
// valid version. `problems` are the store's and compile's together. `now` (RFC 3339) is the time
// of conditions that are new or changed; others keep the time that they have in `previous`.
std::vector<ObjectStatus> derive_status(const Desired& desired, const Observed& observed,
                                        const Compiled& compiled,
                                        const std::vector<Problem>& problems,
                                        const std::vector<ObjectStatus>& previous,
                                        const std::string& now);

// RFC 3339 of the wall clock, UTC, whole seconds.
std::string wall_clock_text();

}  // namespace istmo::control
