#include "control/site_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <map>
#include <set>

#include "control/metrics_text.h"

namespace istmo::control {

namespace {

using proxy::WorkerReport;
constexpr MetricType kCounter = MetricType::counter;
constexpr MetricType kGauge = MetricType::gauge;

template <class Report>
struct Column {
  const char* name;
  MetricType type;
  const char* help;
  uint64_t Report::* value;
};

// One family for each column, with one sample for each row.
template <class Report, class Rows, size_t kCount, class LabelOf>
void add_table(MetricsText& text, const Rows& rows, const Column<Report> (&columns)[kCount],
               std::string_view label, LabelOf&& label_of) {
  for (const Column<Report>& column : columns) {
    text.family(column.name, column.type, column.help);
    for (const Report& row : rows) text.sample({{label, label_of(row)}}, row.*column.value);
  }
}

void add_site(MetricsText& text, const SiteFigures& figures) {
  const SiteInfo& site = figures.site;
  text.family("istmo_build_info", kGauge, "The program; always 1.");
  text.sample({{"version", site.version}}, uint64_t{1});
  text.family("istmo_site_info", kGauge, "The site; always 1.");
  text.sample({{"site", site.name},
               {"site_id", site.id},
               {"namespace", site.namespace_name},
               {"platform", site.platform}},
              uint64_t{1});
  text.single("istmo_ready", kGauge, "Whether /readyz says so.", uint64_t{figures.is_ready});
  text.single("istmo_snapshot_generation", kGauge,
              "Number of the configuration that all workers run.", figures.generation);
  text.family("istmo_document_problems", kGauge, "What stands against the documents of the site.");
  text.sample({{"severity", "error"}}, figures.errors);
  text.sample({{"severity", "warning"}}, figures.warnings);
  text.single("process_resident_memory_bytes", kGauge, "Memory of the process that is in RAM.",
              figures.process.resident_bytes);
  text.single("process_cpu_seconds_total", kCounter, "CPU time of all threads of the process.",
              figures.process.cpu_seconds);
}

void add_workers(MetricsText& text, const std::vector<WorkerReport>& workers) {
  static constexpr Column<WorkerReport> kColumns[] = {
      {"istmo_worker_streams_open", kGauge, "Open exchanges.", &WorkerReport::streams_open},
      {"istmo_worker_received_bytes_total", kCounter,
       "Octets from clients, of exchanges that have ended.", &WorkerReport::bytes_in},
      {"istmo_worker_sent_bytes_total", kCounter,
       "Octets to clients, of exchanges that have ended.", &WorkerReport::bytes_out},
      {"istmo_worker_turns_total", kCounter, "Rounds of the loop.", &WorkerReport::turns},
      {"istmo_worker_accept_limit_hits_total", kCounter,
       "Times that accepting stopped for want of descriptors.", &WorkerReport::accept_limit_hits},
      {"istmo_worker_receive_starvations_total", kCounter, "Receives that found no free block.",
       &WorkerReport::starvations},
      {"istmo_worker_receive_blocks_lent", kGauge, "Receive blocks that hold octets.",
       &WorkerReport::blocks_lent},
      {"istmo_worker_receive_blocks_copied_total", kCounter,
       "Receives that were copied because few blocks were free.", &WorkerReport::blocks_copied},
  };
  text.family("istmo_worker_info", kGauge, "The worker and its engine; always 1.");
  for (const WorkerReport& worker : workers) {
    text.sample({{"worker", std::to_string(worker.worker)}, {"io", worker.io}}, uint64_t{1});
  }
  add_table<WorkerReport>(text, workers, kColumns, "worker",
                          [](const WorkerReport& worker) { return std::to_string(worker.worker); });
  uint64_t buffered = 0;
  std::array<uint64_t, proxy::kCloseReasons> closed{};
  for (const WorkerReport& worker : workers) {
    buffered += worker.buffered_bytes;
    for (size_t reason = 0; reason < closed.size(); ++reason) {
      closed[reason] += worker.closed_total[reason];
    }
  }
  text.single("istmo_buffered_bytes", kGauge, "Octets that wait in all queues.", buffered);
  text.family("istmo_streams_closed_total", kCounter, "Exchanges that ended, by reason.");
  for (size_t reason = 0; reason < closed.size(); ++reason) {
    text.sample({{"reason", to_string(static_cast<proxy::CloseReason>(reason))}}, closed[reason]);
  }
}

// Counters of a listener are the process's: the sum over its workers.
void add_listeners(MetricsText& text, const std::vector<WorkerReport>& workers) {
  using proxy::ListenerReport;
  std::map<std::string, ListenerReport> sums;
  for (const WorkerReport& worker : workers) {
    for (const ListenerReport& report : worker.listeners) {
      const auto [found, is_new] = sums.try_emplace(report.name, report);
      if (is_new) continue;
      ListenerReport& sum = found->second;
      sum.is_bound = sum.is_bound && report.is_bound;
      sum.connections_open += report.connections_open;
      sum.connections_total += report.connections_total;
      sum.refused_total += report.refused_total;
      sum.bytes_in += report.bytes_in;
      sum.bytes_out += report.bytes_out;
    }
  }
  static constexpr Column<ListenerReport> kColumns[] = {
      {"istmo_listener_connections_open", kGauge, "Open connections of clients.",
       &ListenerReport::connections_open},
      {"istmo_listener_connections_total", kCounter, "Connections of clients that were accepted.",
       &ListenerReport::connections_total},
      {"istmo_listener_refused_total", kCounter, "Connections that were refused at a limit.",
       &ListenerReport::refused_total},
      {"istmo_listener_received_bytes_total", kCounter,
       "Octets from clients, of connections that have ended.", &ListenerReport::bytes_in},
      {"istmo_listener_sent_bytes_total", kCounter,
       "Octets to clients, of connections that have ended.", &ListenerReport::bytes_out},
  };
  std::vector<ListenerReport> rows;
  for (auto& [name, sum] : sums) rows.push_back(sum);
  text.family("istmo_listener_bound", kGauge, "Whether all workers listen.");
  for (const ListenerReport& row : rows) {
    text.sample({{"listener", row.name}}, uint64_t{row.is_bound});
  }
  add_table<ListenerReport>(
      text, rows, kColumns, "listener",
      [](const ListenerReport& row) -> const std::string& { return row.name; });
}

void add_connectors(MetricsText& text, const SiteFigures& figures) {
  using proxy::ConnectorReport;
  static constexpr Column<ConnectorReport> kColumns[] = {
      {"istmo_connector_streams_open", kGauge, "Open exchanges with its backends.",
       &ConnectorReport::streams_open},
      {"istmo_connector_streams_total", kCounter,
       "Exchanges that were given to one of its backends; what one refuses is given to another.",
       &ConnectorReport::streams_total},
      {"istmo_connector_failures_total", kCounter, "Connects to its backends that failed.",
       &ConnectorReport::failures_total},
      {"istmo_connector_received_bytes_total", kCounter,
       "Octets from clients, of exchanges that have ended.", &ConnectorReport::bytes_in},
      {"istmo_connector_sent_bytes_total", kCounter,
       "Octets to clients, of exchanges that have ended.", &ConnectorReport::bytes_out},
  };
  add_table<ConnectorReport>(
      text, figures.connectors, kColumns, "connector",
      [](const ConnectorReport& row) -> const std::string& { return row.name; });
  std::map<std::string, std::set<std::string>> backends, set_aside;
  for (const WorkerReport& worker : figures.workers) {
    for (const proxy::BackendReport& backend : worker.backends) {
      backends[backend.connector].insert(backend.address);
      if (backend.is_set_aside) set_aside[backend.connector].insert(backend.address);
    }
  }
  text.family("istmo_connector_backends", kGauge, "Addresses that serve it.");
  for (const ConnectorReport& row : figures.connectors) {
    text.sample({{"connector", row.name}}, uint64_t{backends[row.name].size()});
  }
  text.family("istmo_connector_backends_set_aside", kGauge,
              "Addresses that keep refusing, as some worker sees them.");
  for (const ConnectorReport& row : figures.connectors) {
    text.sample({{"connector", row.name}}, uint64_t{set_aside[row.name].size()});
  }
}

void add_links(MetricsText& text, const std::vector<LinkState>& links) {
  struct Column {
    const char* name;
    const char* help;
    uint64_t (*value)(const LinkState&);
  };
  static constexpr Column kColumns[] = {
      {"istmo_link_up", "Whether a connection of the link is open.",
       [](const LinkState& link) -> uint64_t { return link.is_up(); }},
      {"istmo_link_connections_open", "Open connections of the link.",
       [](const LinkState& link) -> uint64_t { return link.connections_open; }},
      {"istmo_link_connections_wanted", "Connections that the link should have.",
       [](const LinkState& link) -> uint64_t { return link.connections_wanted; }},
      {"istmo_link_cost", "Cost of the link.",
       [](const LinkState& link) -> uint64_t { return link.cost; }},
  };
  for (const Column& column : kColumns) {
    text.family(column.name, kGauge, column.help);
    for (const LinkState& link : links) {
      text.sample({{"link", link.link},
                   {"direction", link.is_incoming ? "incoming" : "outgoing"},
                   {"remote_site", link.site_name},
                   {"remote_site_id", link.site_id}},
                  column.value(link));
    }
  }
}

void add_grants(MetricsText& text, const GrantServerMetrics& grants) {
  text.family("istmo_grant_requests_total", kCounter, "What came of requests to redeem a token.");
  const std::pair<const char*, const Counter&> results[] = {
      {"redeemed", grants.redeemed},
      {"refused", grants.refused},
      {"bad_request", grants.bad_requests},
      {"handshake_failed", grants.handshakes_failed},
      {"limited", grants.limited},
      {"timeout", grants.timeouts},
      {"failed", grants.failed},
  };
  for (const auto& [result, counter] : results) text.sample({{"result", result}}, counter.value());
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

ProcessUsage process_usage() {
  ProcessUsage usage;
  std::ifstream memory("/proc/self/statm");  // in pages: all of it, what is in RAM, ...
  uint64_t size = 0, resident = 0;
  if (memory >> size >> resident) {
    usage.resident_bytes = resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  rusage times{};
  if (::getrusage(RUSAGE_SELF, &times) == 0) {
    usage.cpu_seconds = seconds_of(times.ru_utime) + seconds_of(times.ru_stime);
  }
  return usage;
}

std::string metrics_text(const SiteFigures& figures) {
  MetricsText text;
  add_site(text, figures);
  add_workers(text, figures.workers);
  add_listeners(text, figures.workers);
  add_connectors(text, figures);
  add_links(text, figures.links);
  add_grants(text, figures.grants);
  return text.text();
}

}  // namespace istmo::control
