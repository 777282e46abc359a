#include "control/kubernetes/api_json.h"

#include "control/https_channel.h"
#include "control/json.h"

namespace istmo::control {
namespace {

// A page of a list, as long as a channel lets a reply be. (The server sends a bookmark about every
// minute. etcd's objects have 1.5 MiB at most, of which JSON makes six times as much where each
// character is escaped: less than a line may be.)
constexpr TextLimits kLimits{.bytes_max = HttpsLimits().body_bytes_max,
                             .depth_max = 64,
                             .nodes_max = 2'000'000,
                             .scalar_bytes_max = HttpsLimits().body_bytes_max};
constexpr size_t kMessageBytesMax = 300;

}  // namespace

std::optional<Value> read_api_json(std::string_view text) {
  ParsedText parsed = parse_json(text, kLimits);
  if (parsed.error || parsed.documents.empty()) return std::nullopt;
  return std::move(parsed.documents.front());
}

std::string api_message(const std::string& body) {
  const auto status = read_api_json(body);
  const Value* message = status ? status->find("message") : nullptr;
  return (message ? message->text() : body).substr(0, kMessageBytesMax);
}

}  // namespace istmo::control
