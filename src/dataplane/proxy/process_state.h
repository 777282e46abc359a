// What the workers of one process share: a few relaxed counters, so that limits and quotas are
// exact per process (D4). Owned by Dataplane, which outlives the workers. The counters of a
// listener survive its deletion: a listener of the same name goes on counting.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "dataplane/proxy/site_connections.h"
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

  // Sockets with a descriptor from this number on are not served: each client needs a descriptor
  // for its backend too, and the rest of the process has to go on. The kernel gives the lowest free
  // one. Set before the workers start.
  int descriptors_served_max = INT32_MAX;

  Gauge streams_open;
  Gauge buffered_bytes;
  SiteConnections site_connections;  // links that were accepted

 private:
  std::map<std::string, std::unique_ptr<ListenerCounters>> listeners_;
};

}  // namespace istmo::proxy
