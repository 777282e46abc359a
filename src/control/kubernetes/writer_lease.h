// Which of several replicas acts for the site: the holder of Lease `istmo`. One replica alone asks
// nobody. A holder that says nothing for kValid loses it; it stops to act before that.
//
// Sans I/O: time and answers in, requests out, one at a time. Owned by the platform, control thread
// only. Source: Kubernetes, "Leases"; the rules are those of its own controllers.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "control/kubernetes/api_calls.h"
#include "control/value.h"

namespace istmo::control {

class WriterLease {
 public:
  static constexpr Duration kValid = Duration::seconds(15);
  static constexpr Duration kActs = Duration::seconds(10);  // after it asked for what it was given
  static constexpr Duration kPause = Duration::seconds(5);  // between two requests
  static constexpr Duration kPauseForbidden = Duration::seconds(60);

  // `identity`: of this process, as no other has it.
  WriterLease(std::string namespace_name, std::string identity);

  // Whether there are other replicas.
  void set_contended(bool is_contended, Instant now);
  // This process ends: somebody else may have it at once.
  void release(Instant now);

  std::optional<ApiRequest> next(Instant now);
  void on_reply(const ApiReply& reply, Instant now);
  // When next() has something, or is_held() may be another than before; never(): after on_reply().
  Instant wake_at() const;

  bool is_held(Instant now) const {
    const bool is_over = step_ == Step::release || step_ == Step::released;
    return !is_over && (!is_contended_ || now < held_until_);
  }
  // The gateway has no right to Leases; is_held() is false then.
  bool is_forbidden() const { return is_forbidden_; }

 private:
  enum class Step : uint8_t { look, make, take, renew, release, released };
  void on_seen(const Value& lease, Instant now);
  void on_held(const Value& lease, Instant now);
  void go_to(Step step, Instant at);
  Value changed_lease() const;

  const std::string namespace_name_;
  const std::string identity_;
  bool is_contended_ = false;
  bool is_forbidden_ = false;
  std::optional<Step> asked_;  // whose answer is awaited
  Step step_ = Step::look;
  Instant next_at_;
  Instant asked_at_;
  Instant held_until_;
  Value lease_;          // as it was seen or written last
  std::string version_;  // of it
  Instant seen_at_;      // when that version was new
};

}  // namespace istmo::control
