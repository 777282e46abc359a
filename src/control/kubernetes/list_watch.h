// One collection of an API server's objects, kept up to date: list it, watch it from there, and
// begin again when the server has forgotten where that was.
//
// A pure state machine, on whichever thread drives it: it says what to ask and when, is told what
// came, and tells a sink what changed. Each object is told once per version, however often it is
// listed. Holds the name and version of every object, not the objects.
// Source: Kubernetes API Concepts (efficient detection of changes, watch bookmarks, 410 Gone).
//
//   listing -> watching -> watching ... -> listing (410) ...
//      |          |
//      +----------+--> waiting (backoff, or refused) --> where it was
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/rng.h"
#include "control/value.h"

namespace istmo::control {

// Which objects: all under `path` that the selectors select.
struct KubeCollection {
  std::string path;  // "/api/v1/namespaces/oeste/configmaps"
  std::string label_selector;
  std::string field_selector;
};

// "name" of the key "namespace/name" of an object.
std::string name_in_key(const std::string& key);

class CollectionSink {
 public:
  // New, or another version of one that was told. `key`: its name, in front of it "namespace/" if
  // it has one.
  virtual void on_object(const std::string& key, const Value& object) = 0;
  virtual void on_object_gone(const std::string& key) = 0;
  // All there is has been told: after the first list, and after each further one.
  virtual void on_synced() = 0;
  // The server says no: 403 (no right) or 404 (no such kind). Told once, until it says yes; it is
  // asked again, ever more rarely.
  virtual void on_refused(int status, const std::string& text) = 0;
  // The server cannot be reached or fails; it is tried again. Told once, until it is back.
  virtual void on_trouble(const std::string& text) = 0;

 protected:
  ~CollectionSink() = default;
};

class ListWatch {
 public:
  static constexpr uint32_t kPageObjects = 500;  // at first
  static constexpr Duration kBackoffMin = Duration::milliseconds(500);
  static constexpr Duration kBackoffMax = Duration::seconds(30);
  // An API server that has just started refuses everybody for some seconds, until it has read its
  // roles: what it gave before is told as refused after so many tries.
  static constexpr Duration kRefusedMin = Duration::seconds(1);
  static constexpr Duration kRefusedMax = Duration::seconds(600);
  static constexpr int kRefusalsPassedOver = 3;
  // A watch that ends sooner, and brought nothing, counts as a failure.
  static constexpr Duration kWatchMin = Duration::seconds(1);
  static constexpr uint32_t kWatchSecondsMin = 300;  // the server ends it after so long
  static constexpr uint32_t kWatchSecondsMax = 600;

  struct Ask {
    enum class Kind : uint8_t { list, watch };
    Kind kind = Kind::list;
    std::string target;  // path and query
  };

  ListWatch(KubeCollection collection, CollectionSink& sink, Rng& rng);

  // What to ask now. nullopt: an answer is awaited, or wake_at() has not come.
  std::optional<Ask> next(Instant now);
  Instant wake_at() const;  // never while an answer is awaited

  // --- answers -------------------------------------------------------------------------------
  void on_list(const Value& list, Instant now);
  // A line of a watch, read as JSON.
  void on_event(const Value& event, Instant now);
  void on_watch_end(Instant now);
  // Of a list or a watch: another status than 200, with what the body says.
  void on_status(int status, const std::string& text, Instant now);
  // No answer, or one that cannot be read.
  void on_failure(const std::string& text, Instant now);
  // A list or an event is more than can be taken at once. Lists are asked for in smaller pages
  // from now on, down to one object; what a watch cannot tell is had by a list.
  void on_too_large(const std::string& text, Instant now);

  bool is_synced() const { return is_synced_; }
  size_t size() const { return known_.size(); }
  const KubeCollection& collection() const { return collection_; }

 private:
  enum class Step : uint8_t { list, watch };
  struct Known {
    std::string version;
    uint64_t round = 0;  // the list that had it last
  };

  void take(const Value& object);
  void list_again(Instant now);
  void wait(Instant until);
  void back_off(Instant now, Duration at_least = {});
  void fail(const std::string& text, Instant now);
  void on_answered();

  const KubeCollection collection_;
  CollectionSink& sink_;
  Rng& rng_;
  Step step_ = Step::list;
  bool is_asked_ = false;
  bool is_synced_ = false;
  int refusals_ = 0;  // one after the other
  bool has_told_refusal_ = false;
  bool has_told_trouble_ = false;
  bool has_brought_ = false;  // this watch, anything
  Instant asked_at_;
  Instant wake_at_;
  Backoff backoff_{kBackoffMin, kBackoffMax};
  Backoff refused_backoff_{kRefusedMin, kRefusedMax};
  uint64_t round_ = 0;   // of listing
  std::string version_;  // up to which all is known
  std::string page_;     // "continue" of the next page
  uint32_t page_objects_ = kPageObjects;
  std::map<std::string, Known> known_;
};

}  // namespace istmo::control
