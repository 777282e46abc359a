// Which folders have to be watched so that no change of a source goes unnoticed.
//
// Reads the disk, changes nothing. Any thread.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/result.h"
#include "control/source_reader.h"

namespace istmo::control {

// What matters in a folder: every name in it, or some.
struct FolderWatch {
  bool is_whole = false;
  std::set<std::string> names;
  friend bool operator==(const FolderWatch&, const FolderWatch&) = default;
};

using WatchPlan = std::map<std::string, FolderWatch>;  // by absolute path

// The folders of the source. Of those above them the way down: a folder that is removed and made
// again is seen from above. Of each symbolic link among the files, and on the way to the folders,
// every link that it leads through and the file at its end: `..data` of a Kubernetes volume is
// exchanged far from the names that lead through it. An error: a folder cannot be listed.
Result<WatchPlan> plan_watches(const SourcePaths& paths);

}  // namespace istmo::control
