// What a token file holds: a token to redeem, or (long-lived) the documents of a link.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "control/desired.h"

namespace istmo::control {

// Either `token`, or `link` and `secret`.
struct TokenFile {
  std::optional<AccessTokenDocument> token;
  std::optional<LinkDocument> link;
  std::optional<SecretDocument> secret;
};

Result<TokenFile> read_token_file(const std::string& file);

}  // namespace istmo::control
