#include "control/cli/usage.h"

#include <algorithm>
#include <numeric>

#include "control/admin.h"
#include "control/durations.h"
#include "control/health_server.h"
#include "control/paths.h"
#include "control/plain_text.h"
#include "dataplane/io/socket.h"

namespace istmo::control {

namespace {

constexpr size_t kTyposMax = 2;

const std::vector<std::string> kTargetTypes{"host",      "deployment", "statefulset",
                                            "daemonset", "pods",       "service"};

template <class T>
std::string wrong(const Result<T>& result) {
  return result ? std::string() : result.error().text();
}

Result<uint16_t> checked_port(std::string_view text) {
  if (const auto port = port_from(text)) return *port;
  return Error::config("'" + std::string(text) + "' is not a port (1 to 65535)");
}

// How many letters to add, drop or change (Levenshtein).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, changed});
    }
  }
  return row.back();
}

}  // namespace

namespace usage {

std::string duration(const std::string& text) {
  const auto duration = parse_duration(text);
  if (duration && duration->ns < 0) return text + " is negative";
  return wrong(duration);
}

std::string positive_duration(const std::string& text) {
  const auto duration = parse_duration(text);
  if (duration && duration->ns <= 0) return text + " is not longer than 0s";
  return wrong(duration);
}

std::string waiting_time(const std::string& text) {
  const auto time = parse_waiting_time(text);
  if (time && time->ns < 0) return text + " is negative";
  return wrong(time);
}

std::string port_pair(const std::string& text) { return wrong(parse_port_pair(text)); }

std::string host(const std::string& text) {
  return is_host(text) ? std::string() : "'" + text + "' is neither a host name nor an address";
}

std::string plain_text(const std::string& text) {
  const bool is_plain =
      std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) > 0x20 && c != 0x7f; });
  if (text.empty()) return "must not be empty";
  return is_plain ? std::string() : "'" + text + "' must not have blanks or control characters";
}

std::string service_host(const std::string& text) { return wrong(io::Address::parse(text, 0)); }
std::string resource_name(const std::string& text) { return wrong(check_resource_name(text)); }
std::string gateway_name(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return resource_name(text);
  const std::string problem = namespace_name(text.substr(0, slash));
  return problem.empty() ? resource_name(text.substr(slash + 1)) : problem;
}
std::string namespace_name(const std::string& text) { return wrong(check_namespace_name(text)); }
std::string admin_address(const std::string& text) { return wrong(AdminAddress::parse(text)); }
std::string health_address(const std::string& text) { return wrong(HealthAddress::parse(text)); }

}  // namespace usage

std::vector<std::string> reversed_words(int argc, const char* const* argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  std::ranges::reverse(words);
  return words;
}

std::string wrong_combination(const Arguments& arguments) {
  const ExposeArguments& expose = arguments.expose;
  if (arguments.verb == Verb::expose || arguments.verb == Verb::unexpose) {
    const auto target = parse_target(expose.target);
    if (!target) return target.error().text();
    // Workloads of a cluster have a name and ports of their own.
    const bool has_name = target->type != "host" && target->type != "pods";
    if (arguments.verb == Verb::expose && !has_name) {
      if (expose.address.empty()) return "--address is required";
      if (expose.ports.empty()) return "--port is required";
    }
  }
  if (expose.target_ports.size() > expose.ports.size()) {
    return "there are more --target-port than --port";
  }
  if (arguments.verb != Verb::run) return {};
  const bool is_in_cluster = arguments.platform == "kubernetes";
  if (is_in_cluster && !arguments.run.path.empty()) {
    return "with --platform kubernetes the documents are the namespace's: leave " +
           arguments.run.path + " out";
  }
  if (!is_in_cluster && arguments.run.path.empty()) {
    return "path is required: a folder of documents, or a file (or --platform kubernetes)";
  }
  return {};
}

Result<Duration> parse_waiting_time(const std::string& text) {
  if (text.empty()) return Duration{};
  const bool is_number = text.find_first_not_of("0123456789") == std::string::npos;
  return parse_duration(is_number ? text + "s" : text);
}

std::string usual_host(const std::string& host) {
  const auto address = io::Address::parse(host, 0);
  return address ? address->host() : in_lower_case(host);
}

Result<ExposeTarget> parse_target(const std::vector<std::string>& words) {
  const std::string& first = words.front();
  const size_t slash = first.find('/');
  ExposeTarget target;
  if (words.size() == 2) target = {first, words[1]};
  else if (slash != std::string::npos) target = {first.substr(0, slash), first.substr(slash + 1)};
  if (std::ranges::find(kTargetTypes, target.type) == kTargetTypes.end() || target.name.empty()) {
    return Error::config("'" + first +
                         "' is not a target: write host/ADDRESS, or in a cluster "
                         "deployment/NAME, statefulset/NAME, daemonset/NAME, service/NAME or "
                         "pods/LABEL=VALUE");
  }
  if (target.type == "pods") return target;
  if (target.type != "host") {
    TRY(check_resource_name(target.name));
    return target;
  }
  if (const std::string problem = usage::host(target.name); !problem.empty()) {
    return Error::config(problem);
  }
  target.name = usual_host(target.name);
  return target;
}

Result<PortPair> parse_port_pair(const std::string& text) {
  const size_t colon = text.find(':');
  PortPair pair{.port = TRY(checked_port(std::string_view(text).substr(0, colon)))};
  pair.target_port = pair.port;
  if (colon != std::string::npos) {
    pair.target_port = TRY(checked_port(std::string_view(text).substr(colon + 1)));
  }
  return pair;
}

std::string closest_word(const std::string& text, const std::vector<std::string>& words) {
  std::string closest;
  size_t least = kTyposMax + 1;
  for (const std::string& word : words) {
    const size_t typos = distance(text, word);
    if (typos < least && typos < word.size()) {
      least = typos;
      closest = word;
    }
  }
  return closest;
}

}  // namespace istmo::control
