// What a site must remember, in Secrets of its namespace: one for each record, which all processes
// of the site share.
//
// A pure state machine, on whichever thread drives it: its StateStore side changes what counts here
// at once and says by on_work() that there is something to ask of the API server; it is told what
// watches and answers bring. A write is a comparison and a swap: a record is made by POST, and
// changed and removed only in the version that was seen last. Who comes second takes what is there,
// which the sink is told before those who wait are. Answers may be lost, and requests be done late:
// what is there is looked up then. What a watch tells is only a reason to look, so the order of its
// events does not matter.
//
// Nothing is asked before begin() has an owner and all Secrets are known. Until then, and without
// an owner for good, what is written counts here alone. Source: Kubernetes API Concepts
// (resourceVersion, preconditions of updates and deletions).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "control/kubernetes/object_owner.h"
#include "control/kubernetes/request_queue.h"
#include "control/state_store.h"
#include "control/value.h"

namespace istmo::control {

inline constexpr const char* kStateLabel = "istmo.dev/state";  // its value: "true"

// The Secret of a record: "istmo-state-grants-<uid>".
std::string state_secret_name(const std::string& record);

class ClusterStateSink {
 public:
  virtual void on_work() = 0;  // next() may have something

 protected:
  ~ClusterStateSink() = default;
};

class ClusterState final : public StateStore {
 public:
  static constexpr uint32_t kWritesPerSecond = 200;
  static constexpr uint32_t kWritesAtOnce = 100;
  static constexpr uint32_t kInFlightMax = 4;
  static constexpr size_t kRecordBytesMax = 512 * 1024;  // a Secret holds 1 MiB
  static constexpr size_t kRecordsMax = 20'000;
  static constexpr Duration kBackoffMin = Duration::milliseconds(250);
  static constexpr Duration kBackoffMax = Duration::seconds(10);
  static constexpr Duration kRefusedMin = Duration::milliseconds(500);  // of one record
  static constexpr Duration kRefusedMax = Duration::seconds(60);
  // See ObjectKeeper::kRefusalsPassedOver.
  static constexpr int kRefusalsPassedOver = 3;

  struct Request {
    std::string record;
    std::string method;
    std::string target;  // path and query
    Value body;          // JSON; null: none
  };

  ClusterState(std::string namespace_name, Rng& rng, ClusterStateSink& sink)
      : namespace_name_(std::move(namespace_name)),
        work_(sink),
        queue_({.per_second = kWritesPerSecond,
                .at_once = kWritesAtOnce,
                .in_flight_max = kInFlightMax,
                .backoff_min = kBackoffMin,
                .backoff_max = kBackoffMax},
               rng) {}

  // --- StateStore ------------------------------------------------------------------------------
  bool is_shared() const override { return true; }
  bool is_ready() const override { return is_synced_ || !refusal_.empty(); }
  void set_sink(StateStoreSink& sink) override { sink_ = &sink; }
  Result<std::vector<std::string>> list(const std::string& folder) const override;
  Result<std::string> read(const std::string& name) const override;
  Result<> write(const std::string& name, std::string_view text) override;
  Result<> remove(const std::string& name) override;
  std::string place_of(const std::string& name) const override;
  void when_durable(DurableWait& wait) override;
  bool is_stored(const std::string& name) const override;
  Result<> reserve(const std::string& name) override;
  void release(const std::string&) override {}

  // --- whose it is -----------------------------------------------------------------------------
  // The first owner is the one for good: with another it is another site, after a restart.
  void set_owner(const ObjectOwner& owner);
  const std::optional<ObjectOwner>& owner() const { return owner_; }
  // Of the Secrets that are there, before there is an owner: if they have one and the same.
  std::optional<ObjectOwner> owner_of_records() const;

  // Nothing is written while it is held; what is there is still looked up.
  void set_held(bool is_held);

  // --- what is there ---------------------------------------------------------------------------
  void on_object(const Value& secret);
  void on_gone(const std::string& secret_name);
  void on_synced();
  // The Secrets cannot be watched.
  void on_refused(const std::string& text);

  // --- asking ----------------------------------------------------------------------------------
  std::optional<Request> next(Instant now);
  Instant wake_at(Instant now) const;
  void on_reply(const std::string& record, int status, const Value& body, Instant now);
  // No answer; it may have been done, or be done later.
  void on_failure(const std::string& record, Instant now);

  // All that counts here is there.
  bool is_settled() const { return unsettled_.empty() && queue_.in_flight() == 0; }
  // What the server refuses, and why; empty: nothing.
  const std::string& problem() const { return refusal_.empty() ? problem_ : refusal_; }

 private:
  enum class Step : uint8_t { none, look, make, replace, remove };
  using Text = std::optional<std::string>;
  struct Stored {
    std::string text;
    std::string version;
    std::string uid;
  };
  struct Found {
    std::string record;
    ObjectOwner owner;
    Stored stored;
  };
  struct Record {
    Text local;                   // what counts here; nothing: no such record
    std::optional<Stored> base;   // what is there, as it was seen last
    bool must_look = false;       // what is there has to be asked first
    Step asked = Step::none;      // whose answer is awaited
    Text sent;                    // by the last writing
    bool is_in_doubt = false;     // whether that was done
    uint64_t sent_number = 0;     // the last change that it held
    uint64_t changed_number = 0;  // the first change that is not known to be there; 0: all are
    std::string told_version;     // by the watch while an answer is awaited
    uint8_t refusals = 0;         // one after the other
    Instant retry_at;             // not before
  };
  struct Lost {
    uint64_t from;  // who waits for this change, or a later one
    Error error;
  };

  static std::optional<Found> read_secret(const Value& secret);
  static Text text_of(const std::optional<Stored>& stored);
  static bool is_dirty(const Record& record) { return record.local != text_of(record.base); }
  void change(const std::string& name, Text text);
  void reconsider_all();
  Record& seen(Found& found);
  Value secret_of(const std::string& name, const Record& record) const;
  Step step_of(const Record& record) const;
  Request request_for(const std::string& name, const Record& record, Step step) const;
  Step answered(Record& record);
  void on_done(const std::string& name, Record& record, Step step, const Value& body, Instant now);
  void on_refused(Record& record, Step step, const std::string& text, int status, Instant now);
  static void pause(Record& record, Instant now);
  void on_foreign(const std::string& name, Record& record, Instant now);
  void settle(const std::string& name, Record& record, std::optional<Stored> found);
  void set_base(const std::string& name, Record& record, std::optional<Stored> stored,
                uint64_t number);
  void reconsider(const std::string& name, Record& record);
  void tell();
  uint64_t first_change() const;

  const std::string namespace_name_;
  ClusterStateSink& work_;
  StateStoreSink* sink_ = nullptr;
  std::optional<ObjectOwner> owner_;
  bool is_held_ = false;
  bool is_synced_ = false;
  bool has_told_full_ = false;
  std::string refusal_;
  std::string problem_;
  std::map<std::string, Found> unclaimed_;  // by Secret, before there is an owner
  std::map<std::string, Record> records_;
  std::map<std::string, std::string> record_of_;  // by Secret
  std::set<std::string> unsettled_;               // records whose changes are not known to be there
  uint64_t changes_ = 0;
  List<DurableWait> waits_;
  std::vector<std::string> changed_;  // to be told
  std::vector<Lost> lost_;            // to be told
  bool is_any_stored_ = false;        // to be told
  RequestQueue<std::string> queue_;
};

}  // namespace istmo::control
