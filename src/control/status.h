// The status of every object, derived from what runs: documents, problems, links, neighbours,
// grants. Never guessed. Conditions, status and message are Skupper's (v2alpha1).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/compile.h"
#include "control/desired.h"
#include "control/observed.h"
#include "control/value.h"

namespace istmo::control {

struct ObjectStatus {
  Document document;  // an object that never was valid has only kind, name and origin
  Value status;       // conditions, status, message, and what the kind adds
};

// All objects: those of `desired`, and those that have an error and no valid version.
// `problems` are the store's and compile's together. `now` (RFC 3339) is the time of conditions
// that are new or changed; unchanged ones keep the time that they have in `previous`.
std::vector<ObjectStatus> derive_status(const Desired& desired, const Observed& observed,
                                        const Compiled& compiled,
                                        const std::vector<Problem>& problems,
                                        const std::vector<ObjectStatus>& previous,
                                        const std::string& now);

// RFC 3339 of the wall clock, UTC, whole seconds.
std::string wall_clock_text();

// Writes runtime/resources/<Kind>-<name>.yaml by rename, only what changed, and removes the files
// of objects that are gone. Owned by the controller, control thread only.
class StatusWriter {
 public:
  explicit StatusWriter(std::string directory) : directory_(std::move(directory)) {}
  // Makes the folder if needed. Files of an earlier run that no object explains are removed.
  // Secrets are not written. An error names the first file that failed; the rest is written.
  Result<> write(const std::vector<ObjectStatus>& objects);

 private:
  std::string directory_;
  std::map<std::string, std::string> written_;  // file name -> text
  bool has_read_directory_ = false;
};

}  // namespace istmo::control
