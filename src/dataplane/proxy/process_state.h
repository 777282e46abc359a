// What the workers of one process share: a few relaxed counters, so that limits and quotas are
// exact per process (D4). Owned by Dataplane, which outlives the workers. The counters of a
// listener survive its deletion: a listener of the same name goes on counting.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::proxy {

struct ListenerCounters {
  Gauge open;
  Counter opened;
  Counter refused;
  Counter bytes_in;
  Counter bytes_out;
};

class ProcessState {
 public:
  // Control thread, before the snapshot is published: points its listeners at their counters.
  void bind(Snapshot& snapshot) {
    for (auto& listener : snapshot.listeners) {
      auto& counters = listeners_[listener.name];
      if (!counters) counters = std::make_unique<ListenerCounters>();
      listener.counters = counters.get();
    }
  }

  Gauge streams_open;
  Gauge buffered_bytes;

 private:
  std::map<std::string, std::unique_ptr<ListenerCounters>> listeners_;
};

}  // namespace istmo::proxy
