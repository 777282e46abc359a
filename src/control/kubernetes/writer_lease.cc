#include "control/kubernetes/writer_lease.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "base/assert.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/site_manifest.h"

namespace istmo::control {
namespace {

constexpr int kForbidden = 403;
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr Duration kRetry = Duration::seconds(1);

// MicroTime of the API: six digits of a second, always.
std::string micro_time() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[40];
  size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  size += static_cast<size_t>(
      std::snprintf(text + size, sizeof text - size, ".%06ldZ", now.tv_nsec / 1000));
  return {text, size};
}

}  // namespace

WriterLease::WriterLease(std::string namespace_name, std::string identity)
    : namespace_name_(std::move(namespace_name)), identity_(std::move(identity)) {}

void WriterLease::set_contended(bool is_contended, Instant now) {
  if (std::exchange(is_contended_, is_contended) == is_contended) return;
  held_until_ = Instant{};
  if (step_ != Step::released && step_ != Step::release) go_to(Step::look, now);
}

void WriterLease::release(Instant now) {
  const bool was_held = is_contended_ && is_held(now);
  is_contended_ = true;  // it writes no more
  held_until_ = Instant{};
  go_to(was_held ? Step::release : Step::released, now);
}

void WriterLease::go_to(Step step, Instant at) {
  step_ = step;
  next_at_ = at;
}

Instant WriterLease::wake_at() const {
  if (!is_contended_ || step_ == Step::released) return Instant::never();
  const Instant end = held_until_ == Instant{} ? Instant::never() : held_until_;
  return asked_ ? end : std::min(next_at_, end);
}

std::optional<ApiRequest> WriterLease::next(Instant now) {
  if (now >= held_until_) held_until_ = Instant{};
  if (!is_contended_ || asked_ || step_ == Step::released || now < next_at_) {
    return std::nullopt;
  }
  asked_ = step_;
  asked_at_ = now;
  const KubeKind& kind = *find_kube_kind("Lease");
  ApiRequest request{.method = "GET",
                     .target = object_path({"Lease", kGatewayName}, namespace_name_),
                     .content_type = {},
                     .body = {}};
  if (step_ == Step::look) return request;
  request.content_type = "application/json";
  request.body = changed_lease();
  request.method = step_ == Step::make ? "POST" : "PUT";
  if (step_ == Step::make) request.target = collection_path(kind, namespace_name_);
  return request;
}

Value WriterLease::changed_lease() const {
  Value lease = Value::map();
  Value spec = Value::map();
  if (step_ == Step::make) {
    lease.set("apiVersion", "coordination.k8s.io/v1");
    lease.set("kind", "Lease");
    Value& metadata = lease.set("metadata", Value::map());
    metadata.set("name", kGatewayName);
    metadata.set("labels", Value::map()).set(std::string(kManagedByLabel), kManagedBy);
  } else {
    lease = lease_;
    if (const Value* known = lease_.find("spec")) spec = *known;
  }
  const std::string now = micro_time();
  const std::string transitions = text_at(lease_, "spec", "leaseTransitions");
  if (step_ == Step::make || step_ == Step::take) {
    spec.set("acquireTime", now);
    spec.set("leaseTransitions", step_ == Step::make ? 0 : std::atoi(transitions.c_str()) + 1);
  }
  spec.set("holderIdentity", step_ == Step::release ? std::string() : identity_);
  spec.set("leaseDurationSeconds", kValid.to_milliseconds() / 1000);
  spec.set("renewTime", now);
  lease.set("spec", std::move(spec));
  return lease;
}

void WriterLease::on_reply(const ApiReply& reply, Instant now) {
  ASSERT(asked_.has_value());
  const Step asked = *std::exchange(asked_, std::nullopt);
  if (asked == Step::release) return go_to(Step::released, now);
  if (step_ == Step::release || step_ == Step::released) {  // it was to end meanwhile
    if (reply.is_done() && asked != Step::look) lease_ = reply.body;
    return;
  }
  is_forbidden_ = reply.status == kForbidden;
  if (is_forbidden_) {
    held_until_ = Instant{};
    return go_to(Step::look, now + kPauseForbidden);
  }
  if (reply.is_done())
    return asked == Step::look ? on_seen(reply.body, now) : on_held(reply.body, now);
  if (reply.status == kNotFound) {
    held_until_ = Instant{};
    return go_to(Step::make, asked == Step::make ? now + kRetry : now);
  }
  if (reply.status == kConflict) {  // somebody was faster
    held_until_ = Instant{};
    return go_to(Step::look, now);
  }
  // No answer, or none of use: it may have been done, so what is there has to be seen again.
  go_to(Step::look, now + kRetry);
}

void WriterLease::on_held(const Value& lease, Instant now) {
  lease_ = lease;
  version_ = text_at(lease, "metadata", "resourceVersion");
  held_until_ = is_contended_ ? asked_at_ + kActs : Instant{};
  go_to(Step::renew, now + kPause);
}

// Its times are of other clocks: what counts is for how long it has been the same.
void WriterLease::on_seen(const Value& lease, Instant now) {
  const std::string version = text_at(lease, "metadata", "resourceVersion");
  if (version != version_ || lease_.is_null()) seen_at_ = now;
  version_ = version;
  lease_ = lease;
  const std::string holder = text_at(lease, "spec", "holderIdentity");
  if (holder == identity_) return go_to(Step::renew, now);
  if (holder.empty() || now - seen_at_ >= kValid) return go_to(Step::take, now);
  go_to(Step::look, std::min(now + kPause, seen_at_ + kValid));
}

}  // namespace istmo::control
