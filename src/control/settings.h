// The settings keys that Istmo knows in `spec.settings`, all written as strings.
//
//   Listener, MultiKeyListener, Connector: connectTimeout, idleTimeout, halfCloseTimeout, keepalive
//   (Go durations, "0s" = none), dropTcpConnections ("true", "false"); the first two:
//   maxConnections; Connector: publishPort, the port at which linked sites offer the service by
//   themselves (`expose`).
//   Site: streamsMax, bufferedBytesMax, the bounds of the process; ingressHosts, names and
//   addresses under which other sites reach this one, separated by commas; transit ("true",
//   "false"), whether sites that are linked with this one reach each other over it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/desired.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {

inline constexpr const char* kSettingConnectTimeout = "connectTimeout";
inline constexpr const char* kSettingIdleTimeout = "idleTimeout";
inline constexpr const char* kSettingHalfCloseTimeout = "halfCloseTimeout";
inline constexpr const char* kSettingKeepalive = "keepalive";
inline constexpr const char* kSettingMaxConnections = "maxConnections";
inline constexpr const char* kSettingDropTcpConnections = "dropTcpConnections";
inline constexpr const char* kSettingPublishPort = "publishPort";
inline constexpr const char* kSettingStreamsMax = "streamsMax";
inline constexpr const char* kSettingBufferedBytesMax = "bufferedBytesMax";
inline constexpr const char* kSettingIngressHosts = "ingressHosts";
inline constexpr const char* kSettingTransit = "transit";

// Settings of a Listener or a Connector, understood.
struct TrafficSettings {
  proxy::TcpSettings tcp;
  uint32_t connections_max = 0;
  bool drops_connections = false;
  std::optional<uint16_t> publish_port;
};

// Keys that `kind` understands.
std::vector<std::string_view> known_settings(std::string_view kind);
// Skupper's keys that mean nothing here: accepted, with a warning that they have no effect.
std::vector<std::string_view> ineffective_settings(std::string_view kind);
// Applies one setting of a Site; otherwise like apply_setting().
Result<> apply_site_setting(proxy::Limits& limits, const std::string& key,
                            const std::string& value);
proxy::Limits site_limits(const Settings& settings);
// Of a Site; those that are none were refused before.
std::vector<std::string> ingress_hosts_setting(const Settings& settings);
bool allows_transit(const Settings& settings);
// Applies one setting; Error::config says what the value should look like. Other keys: no effect.
Result<> apply_setting(TrafficSettings& traffic, const std::string& key, const std::string& value);
// All of them; values that cannot be understood keep the default (reading refused them before).
TrafficSettings traffic_settings(const Settings& settings);

}  // namespace istmo::control
