// Tells people what happened, as Events of the namespace: `kubectl get events` and `describe` show
// them. What comes too fast is left out, and so is what the API server does not take: the log has
// all of it.
//
// Owned by the platform, on its loop's thread; borrows loop and server. Ends with stop(), then
// is_idle() on the loop.
// Source: Kubernetes API, Event v1 core.
#pragma once

#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/object_owner.h"
#include "control/kubernetes/rate.h"
#include "control/site_platform.h"

namespace istmo::control {

class EventWriter {
 public:
  static constexpr uint32_t kEventsPerSecond = 1;
  static constexpr uint32_t kEventsAtOnce = 25;

  EventWriter(io::Loop& loop, ApiServer& server) : loop_(loop), calls_(loop, server, 1) {}

  // `about`: the object that shows it.
  void write(const ObjectOwner& about, const SiteNews& news);
  void stop() { calls_.stop(); }
  bool is_idle() const { return calls_.is_idle(); }

 private:
  io::Loop& loop_;
  ApiCalls calls_;
  Rate rate_{kEventsPerSecond, kEventsAtOnce};
  bool is_refused_ = false;  // told once
};

// The object as it is sent. `now`: RFC 3339.
Value event_object(const ObjectOwner& about, const SiteNews& news,
                   const std::string& namespace_name, const std::string& now);

}  // namespace istmo::control
