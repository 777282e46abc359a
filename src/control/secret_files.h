// Credentials of Certificate documents as files for other programs of the machine:
// runtime/certs/<name>/ca.crt, tls.crt and tls.key, as Skupper has them. Private to the user; only
// what changed is written, and folders of what is gone are removed.
//
// Owned by the platform, control thread only. The files stay when it ends.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {

class SecretFiles {
 public:
  explicit SecretFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // By name: all that should be there. After an error not all is; asking again tries again.
  Result<> write(const std::map<std::string, proxy::Credentials>& secrets);

 private:
  const std::filesystem::path folder_;
  std::optional<std::map<std::string, proxy::Credentials>> written_;  // nothing: not known
};

}  // namespace istmo::control
