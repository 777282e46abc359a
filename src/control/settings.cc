#include "control/settings.h"

#include <algorithm>
#include <charconv>

#include "control/durations.h"
#include "control/plain_text.h"

namespace istmo::control {
namespace {

template <class Number>
Result<Number> number_up_to(const std::string& text, Number low, Number high) {
  Number number = 0;
  const char* end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data(), end, number);
  if (failure != std::errc() || at != end || number < low || number > high) {
    return Error::config("must be a number from " + std::to_string(low) + " to " +
                         std::to_string(high) + ", not \"" + text.substr(0, 32) + "\"");
  }
  return number;
}

Result<Duration> timeout_of(const std::string& text) {
  const Duration duration = TRY(parse_duration(text));
  if (duration < Duration{} || duration > Duration::seconds(366 * 24 * 3600)) {
    return Error::config("must be from 0s (none) to one year, not " + text.substr(0, 32));
  }
  return duration;
}

Result<bool> truth_of(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return Error::config("must be \"true\" or \"false\", not \"" + text.substr(0, 32) + "\"");
}

Result<std::vector<std::string>> hosts_of(std::string_view text) {
  std::vector<std::string> hosts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string host(text.substr(0, end));
    if (!is_host(host))
      return Error::config("'" + host + "' is neither a host name nor an address");
    hosts.push_back(host);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return hosts;
}

}  // namespace

std::vector<std::string_view> known_settings(std::string_view kind) {
  std::vector<std::string_view> known;
  const bool is_listener = kind == "Listener" || kind == "MultiKeyListener";
  if (is_listener || kind == "Connector" || kind == "AttachedConnector") {
    known = {kSettingConnectTimeout, kSettingIdleTimeout, kSettingHalfCloseTimeout,
             kSettingKeepalive, kSettingDropTcpConnections};
  }
  if (kind == "Site") {
    known = {kSettingStreamsMax, kSettingBufferedBytesMax, kSettingIngressHosts, kSettingTransit};
  }
  if (is_listener) known.push_back(kSettingMaxConnections);
  if (kind == "AttachedConnectorBinding") known = {kSettingDropTcpConnections};
  if (kind == "Connector" || kind == "AttachedConnectorBinding") {
    known.push_back(kSettingPublishPort);
  }
  return known;
}

std::vector<std::string_view> ineffective_settings(std::string_view kind) {
  if (kind == "Site") {
    return {"router-logging",
            "router-data-connection-count",
            "size",
            "tls-prior-valid-revisions",
            "routerLogging",
            "routerDataConnections",
            "ingressClassName"};
  }
  if (kind == "Link") return {"proxy-configuration"};
  if (kind == "RouterAccess") return {"ingressClassName"};
  return {};
}

Result<> apply_site_setting(proxy::Limits& limits, const std::string& key,
                            const std::string& value) {
  constexpr uint32_t kBytesMin = 1024 * 1024;  // a few windows, or nothing would pass
  if (key == kSettingStreamsMax) {
    limits.streams_max = TRY(number_up_to<uint32_t>(value, 1, UINT32_MAX));
  } else if (key == kSettingBufferedBytesMax) {
    limits.buffered_bytes_max = TRY(number_up_to<uint64_t>(value, kBytesMin, uint64_t{1} << 50));
  } else if (key == kSettingIngressHosts) {
    TRY(hosts_of(value));
  } else if (key == kSettingTransit) {
    TRY(truth_of(value));
  }
  return {};
}

proxy::Limits site_limits(const Settings& settings) {
  proxy::Limits limits;
  for (const auto& [key, value] : settings) {
    proxy::Limits changed = limits;
    if (apply_site_setting(changed, key, value)) limits = changed;
  }
  return limits;
}

std::vector<std::string> ingress_hosts_setting(const Settings& settings) {
  const auto found = settings.find(kSettingIngressHosts);
  if (found == settings.end()) return {};
  return hosts_of(found->second).value_or(std::vector<std::string>());
}

bool allows_transit(const Settings& settings) {
  const auto found = settings.find(kSettingTransit);
  return found == settings.end() || truth_of(found->second).value_or(true);
}

Result<> apply_setting(TrafficSettings& traffic, const std::string& key, const std::string& value) {
  proxy::TcpSettings& tcp = traffic.tcp;
  if (key == kSettingConnectTimeout) {
    tcp.connect_timeout = TRY(timeout_of(value));
    if (tcp.connect_timeout == Duration{}) return Error::config("must be more than 0s");
  } else if (key == kSettingIdleTimeout) {
    tcp.idle_timeout = TRY(timeout_of(value));
  } else if (key == kSettingHalfCloseTimeout) {
    tcp.half_close_timeout = TRY(timeout_of(value));
  } else if (key == kSettingKeepalive) {
    tcp.keepalive = TRY(timeout_of(value));
  } else if (key == kSettingMaxConnections) {
    traffic.connections_max = TRY(number_up_to<uint32_t>(value, 0, UINT32_MAX));
  } else if (key == kSettingDropTcpConnections) {
    traffic.drops_connections = TRY(truth_of(value));
  } else if (key == kSettingPublishPort) {
    traffic.publish_port = static_cast<uint16_t>(TRY(number_up_to<uint32_t>(value, 1, 65535)));
  }
  return {};
}

TrafficSettings traffic_settings(const Settings& settings) {
  TrafficSettings traffic;
  for (const auto& [key, value] : settings) {
    TrafficSettings changed = traffic;
    if (apply_setting(changed, key, value)) traffic = changed;
  }
  return traffic;
}

}  // namespace istmo::control
