// The documents that one site gives to another: AccessToken, and Link with its Secret.
//
// Pure functions; facts/skupper.md Appendix A has the shapes. A token has one `url`; the further
// ones stand, separated by commas, in the annotation kUrlsAnnotation, which Skupper ignores.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/desired.h"
#include "control/site_state.h"

namespace istmo::control {

inline constexpr const char* kUrlsAnnotation = "istmo.io/urls";

struct LinkAddress {
  std::string host;
  uint16_t port = 0;
};

// `places` in the order in which they are to be tried.
std::vector<std::string> grant_urls(const std::vector<LinkAddress>& places,
                                    std::string_view grant_uid);

// `urls` is not empty. `link_cost`: the cost of the Link that the other site makes.
AccessTokenDocument make_access_token(const std::string& name, const Grant& grant,
                                      const std::vector<std::string>& urls, const std::string& ca,
                                      std::optional<uint32_t> link_cost);

// All URLs of a token, `url` first, each once.
std::vector<std::string> token_urls(const AccessTokenDocument& token);

struct HttpsUrl {
  std::string host;  // without brackets
  uint16_t port = 443;
  std::string path;  // starts with '/'
};
Result<HttpsUrl> parse_https_url(std::string_view url);

// Secret `name` (kubernetes.io/tls) and Link `name` with one endpoint per address, tried in turn.
std::vector<Document> make_link_documents(const std::string& name,
                                          const proxy::Credentials& credentials,
                                          const std::vector<LinkAddress>& addresses, uint32_t cost);

}  // namespace istmo::control
