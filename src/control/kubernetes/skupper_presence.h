// Whether Skupper's own controller looks after the namespace: ConfigMap `skupper` there is how it
// is told to. Istmo then writes nothing.
//
// Owned by the Kubernetes platform, on its loop's thread; borrows loop, server, sink and generator.
// Ends with stop(), then is_idle() on the loop.
#pragma once

#include <string>

#include "control/kubernetes/watched_collection.h"

namespace istmo::control {

inline constexpr const char* kSkupperConfigMap = "skupper";

// For people: that it is there.
std::string skupper_presence_text(const std::string& namespace_name);

class SkupperPresenceSink {
 public:
  virtual void on_skupper_presence() = 0;  // may_write() is another than before

 protected:
  ~SkupperPresenceSink() = default;
};

class SkupperPresence final : private CollectionSink {
 public:
  SkupperPresence(io::Loop& loop, ApiServer& server, SkupperPresenceSink& sink, Rng& rng);

  void start() { watch_.start(); }
  void stop() { watch_.stop(); }
  bool is_idle() const { return watch_.is_idle(); }

  bool is_there() const { return is_there_; }
  // False also until it is known.
  bool may_write() const { return is_answered_ && !is_there_; }

 private:
  void on_object(const std::string& key, const Value& object) override;
  void on_object_gone(const std::string& key) override;
  void on_synced() override { on_answered(); }
  void on_refused(int status, const std::string& text) override;
  void on_trouble(const std::string&) override {}  // that of the other watches is told
  void on_answered();

  const std::string namespace_name_;
  SkupperPresenceSink& sink_;
  bool is_answered_ = false;
  bool is_there_ = false;
  WatchedCollection watch_;
};

}  // namespace istmo::control
