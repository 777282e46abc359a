// What a command line may say: checks of values and of their combinations, so that a mistake is
// told before anything is done. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/cli/arguments.h"

namespace istmo::control {

// What there is to choose from.
inline const std::vector<std::string> kPlatforms{"linux", "kubernetes"};
inline const std::vector<std::string> kOutputs{"json", "yaml"};
inline const std::vector<std::string> kLogLevels{"debug", "info", "warning", "error"};
inline const std::vector<std::string> kIoModes{"auto", "uring", "epoll"};
inline const std::vector<std::string> kShells{"bash", "zsh", "fish"};
inline const std::vector<std::string> kLinkAccessTypes{
    "default",  "none",    "local",         "route",   "loadbalancer",
    "nodeport", "ingress", "ingress-nginx", "gateway", "contour-http-proxy"};

// For people: where a service may be.
inline constexpr const char* kTarget =
    "host/ADDRESS; in a cluster also deployment/NAME, statefulset/NAME, daemonset/NAME, "
    "service/NAME, pods/LABEL=VALUE";

// Each returns what is wrong with a value, or nothing: as CLI11 wants checks.
namespace usage {
std::string duration(const std::string& text);           // "1m30s", not negative
std::string positive_duration(const std::string& text);  // more than "0s"
std::string waiting_time(const std::string& text);       // a duration, or seconds
std::string port_pair(const std::string& text);          // "8080", or "8080:9090"
std::string host(const std::string& text);               // a name or a numeric address
std::string plain_text(const std::string& text);         // no blanks, no control characters
std::string service_host(const std::string& text);       // a numeric address
std::string resource_name(const std::string& text);
std::string gateway_name(const std::string& text);  // "NAME" or "NAMESPACE/NAME"
std::string namespace_name(const std::string& text);
std::string admin_address(const std::string& text);
std::string health_address(const std::string& text);  // "ADDRESS:PORT", or ":PORT"
}  // namespace usage

// What is wrong with arguments that are right one by one, or nothing.
std::string wrong_combination(const Arguments& arguments);

// Below the help of every verb: what stands in the help of `istmo` itself.
inline constexpr const char* kEverywhere =
    "Options of every command:\n"
    "  -n,--namespace NAMESPACE    The local site's namespace\n"
    "  --admin ADDRESS             Admin socket: unix:PATH or HOST:PORT\n"
    "  -p,--platform PLATFORM      Where the site lives: linux, kubernetes\n"
    "  --kubeconfig FILE           Access to a cluster (default: KUBECONFIG, ~/.kube/config)\n"
    "  --context NAME              Context of the kubeconfig (default: the current one)";

// `help link create` is `link create --help`. In the order in which CLI11 takes them: backwards.
std::vector<std::string> reversed_words(int argc, const char* const* argv);

// "60" is seconds, as in v1; "1m" is a duration.
Result<Duration> parse_waiting_time(const std::string& text);

// "host/10.0.0.1", or "host" "10.0.0.1".
struct ExposeTarget {
  std::string type;
  std::string name;  // of a host: as usual_host() has it; of pods: their labels
  std::string text() const { return type + "/" + name; }
};
Result<ExposeTarget> parse_target(const std::vector<std::string>& words);
// One spelling for each host: "::1" for "[::1]", names in lower case.
std::string usual_host(const std::string& host);

struct PortPair {
  uint16_t port = 0;
  uint16_t target_port = 0;
};
Result<PortPair> parse_port_pair(const std::string& text);

// The one of `words` that was perhaps meant by `text`; empty when none is close.
std::string closest_word(const std::string& text, const std::vector<std::string>& words);

}  // namespace istmo::control
