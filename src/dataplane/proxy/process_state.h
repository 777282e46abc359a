// What the workers of one process share: a few relaxed counters, so that limits and quotas are
// exact per process (D4). Owned by Dataplane, which outlives the workers. The counters of a
// listener or connector survive its deletion: one of the same name goes on counting.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "dataplane/proxy/report.h"
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

struct ConnectorCounters {
  Gauge open;        // exchanges that chose one of its backends and have not left it
  Counter opened;    // all of these
  Counter failures;  // connects that failed, but for want of something on this machine
  Counter bytes_in;  // of exchanges that have ended
  Counter bytes_out;
};

class ProcessState {
 public:
  // Control thread, before the snapshot is published: points its listeners and connectors at their
  // counters.
  void bind(Snapshot& snapshot) {
    for (auto& listener : snapshot.listeners) {
      listener.counters = &counters_of(listeners_, listener.name);
    }
    for (auto& connector : snapshot.connectors) {
      connector.counters = &counters_of(connectors_, connector.name);
    }
  }

  // Control thread. Of every connector that there was.
  std::vector<ConnectorReport> connector_reports() const {
    std::vector<ConnectorReport> reports;
    for (const auto& [name, counters] : connectors_) {
      reports.push_back({.name = name,
                         .streams_open = static_cast<uint64_t>(counters->open.value()),
                         .streams_total = counters->opened.value(),
                         .failures_total = counters->failures.value(),
                         .bytes_in = counters->bytes_in.value(),
                         .bytes_out = counters->bytes_out.value()});
    }
    return reports;
  }

  // Sockets with a descriptor from this number on are not served: each client needs a descriptor
  // for its backend too, and the rest of the process has to go on. The kernel gives the lowest free
  // one. Set before the workers start.
  int descriptors_served_max = INT32_MAX;

  Gauge streams_open;
  Gauge buffered_bytes;
  SiteConnections site_connections;  // links that were accepted

 private:
  template <class Counters>
  using ByName = std::map<std::string, std::unique_ptr<Counters>>;

  template <class Counters>
  static Counters& counters_of(ByName<Counters>& all, const std::string& name) {
    auto& counters = all[name];
    if (!counters) counters = std::make_unique<Counters>();
    return *counters;
  }

  ByName<ListenerCounters> listeners_;
  ByName<ConnectorCounters> connectors_;
};

}  // namespace istmo::proxy
