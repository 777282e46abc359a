// A site "west" and its neighbour "east" as compile() and derive_status() see them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "control/compile.h"
#include "control/status.h"
#include "control_fixture.h"

namespace istmo::control {

inline Observed observed() {
  Observed observed;
  observed.site = {"west-id", "west", "oeste", "linux", "0.1.0"};
  observed.service_host = "127.5.6.7";
  observed.published_generation = 1;
  observed.credentials["creds"] = {"cert", "key", "ca"};
  observed.credentials[kSiteServerSecret] = {"cert", "key", "ca"};
  return observed;
}

inline RemoteSite east_with(std::vector<ServiceInfo> services) {
  RemoteSite east;
  east.state.site = {"east-id", "east", "leste", "linux", "0.1.0"};
  east.state.services = std::move(services);
  return east;
}

inline const std::string kListener =
    document("Listener", "backend", "{routingKey: k, host: 127.0.0.1, port: 80}");
inline const std::string kConnector =
    document("Connector", "server", "{routingKey: k, host: ::1, port: 81}");
inline const std::string kLink =
    document("Link", "l",
             "{endpoints: [{name: inter-router, host: 10.0.0.1, port: '55671'}], "
             "tlsCredentials: creds, cost: 4}");

inline Value status_of(const std::vector<ObjectStatus>& objects, std::string kind,
                       std::string name) {
  for (const auto& object : objects) {
    if (object.id == ObjectId{kind, name}) return object.status;
  }
  BOOST_FAIL("no status of " + kind + " " + name);
  return {};
}
inline std::string text_of(const Value& status, std::string_view key) {
  const Value* value = status.find(key);
  return value ? value->text() : "(none)";
}
inline std::string summary(const Value& status) {
  return text_of(status, "status") + ": " + text_of(status, "message");
}
inline Value derive_one(const std::string& text, const Observed& seen, std::string kind,
                        std::string name) {
  const Desired desired = desired_from(text);
  const Compiled compiled = compile(desired, seen);
  return status_of(derive_status(desired, seen, compiled, compiled.problems, {}, "T1"), kind, name);
}

}  // namespace istmo::control
