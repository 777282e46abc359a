// Writes the status of documents that are objects of their own kind: to their `status`
// subresource, and only when it is another one.
//
// A pure state machine, on whichever thread drives it, as ObjectKeeper is: told what should be and
// what is, it says what to ask. A definition may leave out fields that it does not know
// (Skupper's do): what was written counts as written, whatever of it comes back.
// Source: Kubernetes API Concepts, "Status subresource"; RFC 6902 (JSON Patch).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "control/desired.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/request_queue.h"
#include "control/status.h"
#include "control/value.h"

namespace istmo::control {

class CustomStatuses {
 public:
  static constexpr uint32_t kWritesPerSecond = 100;
  static constexpr uint32_t kWritesAtOnce = 50;
  static constexpr uint32_t kInFlightMax = 2;
  static constexpr Duration kBackoffMin = Duration::milliseconds(500);
  static constexpr Duration kBackoffMax = Duration::seconds(30);
  static constexpr Duration kForbiddenPause = Duration::seconds(600);

  struct Request {
    ObjectId object;
    ApiRequest request;
  };

  CustomStatuses(std::string namespace_name, Rng& rng)
      : namespace_name_(std::move(namespace_name)),
        queue_({.per_second = kWritesPerSecond,
                .at_once = kWritesAtOnce,
                .in_flight_max = kInFlightMax,
                .backoff_min = kBackoffMin,
                .backoff_max = kBackoffMax},
               rng) {}

  // --- what is, of watches ---------------------------------------------------------------------
  void on_object(const ObjectId& id, const Value& object);
  void on_gone(const ObjectId& id);
  bool has(const ObjectId& id) const { return objects_.contains(id); }

  // --- what should be --------------------------------------------------------------------------
  // Of all documents; those that are no objects here are passed over.
  void want(const std::vector<ObjectStatus>& statuses);
  // Another replica may have written meanwhile: all is written anew.
  void forget_written();

  // --- asking ----------------------------------------------------------------------------------
  // At most kInFlightMax wait for an answer, none twice for one object.
  std::optional<Request> next(Instant now);
  Instant wake_at(Instant now) const;  // never: it has nothing, or waits for an answer
  // Once for each request. `status`: of HTTP; 0: no answer. True: the server said no, for which
  // somebody is needed; told once while it goes on saying so.
  bool on_reply(const ObjectId& id, int status, Instant now);

 private:
  struct Object {
    std::string uid;
    uint64_t generation = 0;
    std::optional<ObjectStatus> wanted;
    Value status;   // what should be there
    Value written;  // what is, as far as we know
    bool is_asked = false;
  };

  void consider(const ObjectId& id, const Object& object);
  ApiRequest request_for(const ObjectId& id, const Object& object) const;

  const std::string namespace_name_;
  std::map<ObjectId, Object> objects_;
  RequestQueue<ObjectId> queue_;
  bool is_refused_ = false;  // the last one
};

}  // namespace istmo::control
