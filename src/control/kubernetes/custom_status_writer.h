// CustomStatuses on connections of its own: asks when it is time and tells what came.
//
// Owned by the Kubernetes platform, on its loop's thread; borrows loop, server and generator. Ends
// with stop(), then is_idle() on the loop.
#pragma once

#include <utility>
#include <vector>

#include "base/rng.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/custom_statuses.h"

namespace istmo::control {

class CustomStatusWriter {
 public:
  CustomStatusWriter(io::Loop& loop, ApiServer& server, Rng& rng)
      : loop_(loop),
        statuses_(server.access().namespace_name, rng),
        calls_(loop, server, CustomStatuses::kInFlightMax) {}

  void on_object(const ObjectId& id, const Value& object) {
    statuses_.on_object(id, object);
    go_on();
  }
  void on_gone(const ObjectId& id) { statuses_.on_gone(id); }
  // Nothing is asked for before the first of these: another replica may act for the site.
  void want(const std::vector<ObjectStatus>& statuses) {
    statuses_.want(statuses);
    if (std::exchange(is_paused_, false)) statuses_.forget_written();
    go_on();
  }
  void pause() { is_paused_ = true; }
  void stop();
  bool is_idle() const { return calls_.is_idle() && !timer_.is_armed(); }

 private:
  void go_on() { loop_.defer(ask_); }
  void ask();

  io::Loop& loop_;
  CustomStatuses statuses_;
  ApiCalls calls_;
  bool is_paused_ = true;
  io::DeferredOf<CustomStatusWriter, &CustomStatusWriter::ask> ask_{*this};
  io::TimerOf<CustomStatusWriter, &CustomStatusWriter::go_on> timer_{*this};
};

}  // namespace istmo::control
