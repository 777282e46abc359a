// A ClusterState on connections of its own: watches the Secrets of the site's state, and writes
// what is to be written.
//
// Owned by the Kubernetes platform, on its loop's thread; borrows loop, server, generator and sink.
// After stop() what waits to be written still is, for a bounded time; then is_idle() on the loop.
#pragma once

#include <string>

#include "base/rng.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/cluster_state.h"
#include "control/kubernetes/watched_collection.h"
#include "control/site_platform.h"

namespace istmo::control {

class StateSecrets final : private ClusterStateSink, private CollectionSink {
 public:
  static constexpr Duration kLastWrites = Duration::milliseconds(1500);

  StateSecrets(io::Loop& loop, ApiServer& server, Rng& rng, PlatformSink& sink);

  void start() { watch_.start(); }
  void stop();
  bool is_idle() const;
  ClusterState& state() { return state_; }
  const ClusterState& state() const { return state_; }

 private:
  void on_work() override;
  void on_object(const std::string& key, const Value& object) override;
  void on_object_gone(const std::string& key) override;
  void on_synced() override { state_.on_synced(); }
  void on_refused(int status, const std::string& text) override;
  void on_trouble(const std::string& text) override;
  void ask();
  void on_reply(const std::string& record, const ApiReply& reply);
  void give_up();

  enum class Phase : uint8_t { running, ending, ended };

  io::Loop& loop_;
  PlatformSink& sink_;
  Phase phase_ = Phase::running;
  bool has_told_trouble_ = false;  // until it is over
  std::string told_problem_;
  ClusterState state_;
  WatchedCollection watch_;
  ApiCalls calls_;
  io::DeferredOf<StateSecrets, &StateSecrets::ask> ask_{*this};
  io::TimerOf<StateSecrets, &StateSecrets::on_work> timer_{*this};
  io::TimerOf<StateSecrets, &StateSecrets::give_up> end_timer_{*this};
};

}  // namespace istmo::control
