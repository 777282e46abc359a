// Writes runtime/resources/<Kind>-<name>.yaml by rename, only what changed, and removes the files
// of objects that are gone. Secrets are not written.
//
// Owned by the controller, control thread only. The files stay when it ends.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/status.h"

namespace istmo::control {

class StatusWriter {
 public:
  explicit StatusWriter(std::string directory) : directory_(std::move(directory)) {}

  // Makes the folder if needed. Files of an earlier run that no object explains are removed.
  // An error names the first file that failed; the rest is written, and tried again next time.
  Result<> write(const std::vector<ObjectStatus>& objects);

 private:
  Result<> read_directory();
  Result<> write_file(const std::string& name, const std::string& text);

  const std::string directory_;
  std::map<std::string, std::string> written_;  // file name -> text
  bool has_read_directory_ = false;
};

}  // namespace istmo::control
