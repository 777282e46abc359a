// Keeps the objects that a site has in its namespace as they should be: makes what is missing,
// brings back what differs, takes away what is not wanted any more, and leaves alone what is
// somebody else's.
//
// A pure state machine, on whichever thread drives it: it is told what should be and what is (by
// watches and by answers), and says what to ask of the API server. Every request may be repeated,
// and an answer may be lost: nothing depends on it.
//
// An object is ours if it carries our label and our owner; of those, the kept ones carry a digest
// of what was wanted. A Secret without it is somebody's whose content must not be lost (a link's,
// or a record of the state), and counts as foreign. New ones are made by POST, so that an object of
// the same name is never taken over. Ours are changed by server-side apply, with their uid and
// never by force. Source: Kubernetes API Concepts and Server-Side Apply (managedFields, conflicts).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/rng.h"
#include "control/desired.h"
#include "control/kubernetes/object_owner.h"
#include "control/kubernetes/request_queue.h"
#include "control/value.h"

namespace istmo::control {

inline constexpr const char* kManagedByLabel = "app.kubernetes.io/managed-by";
inline constexpr const char* kManagedBy = "istmo";  // its value, and our field manager
// The label selector of what is ours.
inline std::string managed_by_us() { return std::string(kManagedByLabel) + "=" + kManagedBy; }
inline constexpr const char* kContentAnnotation = "istmo.dev/content";

class ObjectKeeper {
 public:
  static constexpr uint32_t kWritesPerSecond = 200;
  static constexpr uint32_t kWritesAtOnce = 100;
  static constexpr uint32_t kInFlightMax = 4;
  static constexpr Duration kObjectPause = Duration::milliseconds(500);  // between writes of one
  static constexpr Duration kRefusedPause = Duration::seconds(600);      // at most
  // A right that is missing is told after so many tries: see ListWatch::kRefusalsPassedOver.
  static constexpr int kRefusalsPassedOver = 3;
  static constexpr Duration kBackoffMin = Duration::milliseconds(500);
  static constexpr Duration kBackoffMax = Duration::seconds(30);

  struct Request {
    ObjectId object;
    std::string method;
    std::string target;  // path and query
    std::string content_type;
    Value body;  // null: none
  };

  // `kinds`: that find_kube_kind() has, each of which is watched.
  ObjectKeeper(std::string namespace_name, std::set<std::string> kinds, Rng& rng);

  // --- what should be --------------------------------------------------------------------------
  // Nothing is written before there is an owner, or while there is none.
  void set_owner(std::optional<ObjectOwner> owner);
  // All of it: apiVersion, kind, metadata.name and the content of each. The label, the owner and
  // the digest are added here. What was wanted before and is not here is taken away.
  void want(const std::map<ObjectId, Value>& objects);

  // --- what is ---------------------------------------------------------------------------------
  // Of a watch. Nothing of a kind is written before on_synced() has said that all of it is known.
  void on_object(const ObjectId& id, const Value& object);
  void on_gone(const ObjectId& id);
  void on_synced(const std::string& kind);

  // --- asking ----------------------------------------------------------------------------------
  // What to ask now. At most kInFlightMax wait for an answer, none twice for one object.
  std::optional<Request> next(Instant now);
  // When next() has something if nothing comes before; never: it has nothing.
  Instant wake_at(Instant now) const { return queue_.wake_at(now); }
  // `body`: what came as JSON, null if that is none.
  void on_reply(const ObjectId& id, int status, const Value& body, Instant now);
  // No answer; it may have been done.
  void on_failure(const ObjectId& id, Instant now);

  // --- for status ------------------------------------------------------------------------------
  // What the server refuses or somebody else has, and why. (What only waits for the server is not
  // among it.)
  const std::map<ObjectId, std::string>& problems() const { return problems_; }
  // True, once: problems() is another than before.
  bool take_news() { return std::exchange(has_news_, false); }

 private:
  enum class Step : uint8_t { none, look, make, take_over_fields, apply, remove };
  struct Kept {
    std::optional<Value> content;  // as it was asked for
    std::optional<Value> wanted;   // with label, owner and digest
    std::string digest;            // of `wanted`
    std::optional<Value> seen;     // carries our label
    bool is_foreign = false;       // what is there does not
    bool must_look = false;        // what is there has to be asked first
    Step asked = Step::none;       // whose answer is awaited
    uint8_t refusals = 0;          // one after the other
    Instant pace_at;               // not before
    Instant retry_at;              // nor before: it was refused
  };
  struct Refusal {
    int status;
    const std::string& message;
  };

  void want(const ObjectId& id, Kept& kept, std::optional<Value> wanted, std::string digest);
  static bool is_kept(const Kept& kept);
  bool is_owned(const Value& object) const;
  bool is_somebody_elses(const ObjectId& id, const Kept& kept) const;
  Value dressed(const ObjectId& id, const Value& object, const std::string& digest) const;
  Step step_of(const ObjectId& id, const Kept& kept) const;
  Request request_for(const ObjectId& id, const Kept& kept, Step step) const;
  static void see(Kept& kept, const Value& object);
  void reconsider(const ObjectId& id, Kept& kept);
  static void forget(Kept& kept);
  void set_problem(const ObjectId& id, std::string text);
  Step answered(Kept& kept);
  void on_done(const ObjectId& id, Kept& kept, Step step, const Value& body, Instant now);
  void on_refused(const ObjectId& id, Kept& kept, Step step, const Refusal& refusal, Instant now);

  const std::string namespace_name_;
  std::optional<ObjectOwner> owner_;
  const std::set<std::string> kinds_;
  std::set<std::string> synced_;  // kinds
  std::map<ObjectId, Kept> objects_;
  std::map<ObjectId, std::string> problems_;
  bool has_news_ = false;
  RequestQueue<ObjectId> queue_;
};

// All of `wanted` is in `object`: what is left out there is the server's to fill. Lists are the
// same item by item; what is empty may be missing.
bool is_contained(const Value& wanted, const Value& object);

}  // namespace istmo::control
