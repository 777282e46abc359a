// What a site counts, as the text that Prometheus reads. docs/reference/metrics.md lists the names.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/grant_server.h"
#include "control/observed.h"
#include "dataplane/proxy/report.h"

namespace istmo::control {

struct ProcessUsage {
  uint64_t resident_bytes = 0;
  double cpu_seconds = 0;
};
// Of this process, from the kernel.
ProcessUsage process_usage();

// All there is to tell; borrowed for the call.
struct SiteFigures {
  const SiteInfo& site;
  bool is_ready = false;
  uint64_t generation = 0;  // of the Snapshot that all workers run
  uint64_t errors = 0;      // problems of documents
  uint64_t warnings = 0;
  const std::vector<LinkState>& links;
  const GrantServerMetrics& grants;
  const std::vector<proxy::WorkerReport>& workers;
  const std::vector<proxy::ConnectorReport>& connectors;
  ProcessUsage process;
};

std::string metrics_text(const SiteFigures& figures);

}  // namespace istmo::control
