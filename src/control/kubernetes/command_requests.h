// Requests of commands to the gateway that runs, and its answers. A command has no way into a pod:
// it makes a ConfigMap with the request, every process of the site adds its answer under its own
// key, and the command takes the ConfigMap away.
//
// Owned by the platform, on its loop's thread; borrows loop and server. Ends with stop(), then
// is_idle() on the loop.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "control/admin_server.h"
#include "control/kubernetes/api_calls.h"

namespace istmo::control {

inline constexpr const char* kRequestLabel = "istmo.dev/request";  // its value: "true"
inline constexpr const char* kRequestKey = "request.json";
inline constexpr const char* kAnswerKeyPrefix = "answer-";  // and the replica

// Items beyond this are left out, and counted: an object has room for those of several processes.
inline constexpr size_t kRequestAnswerBytesMax = 150 * 1024;
// Further requests are passed over, and their commands say that there was no answer.
inline constexpr size_t kRequestAnswersMax = 16;  // that wait to be written

class CommandRequests {
 public:
  CommandRequests(io::Loop& loop, ApiServer& server) : calls_(loop, server, 1) {}

  // What the ConfigMap asks for, once; nothing: it is no request, or an old one.
  std::optional<Value> take(const std::string& name, const Value& config_map);
  void forget(const std::string& name) { taken_.erase(name); }
  void answer(const std::string& name, const std::string& replica, const AdminAnswer& answer);
  void stop() { calls_.stop(); }
  bool is_idle() const { return calls_.is_idle(); }

 private:
  ApiCalls calls_;
  std::set<std::string> taken_;
};

// The answers that are there, by replica.
std::map<std::string, Value> answers_in(const Value& config_map);

}  // namespace istmo::control
