#include "control/site_metrics.h"

#include <boost/test/unit_test.hpp>

#include "control/metrics_text.h"

using namespace istmo;
using namespace istmo::control;

namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

// A site with two workers that have counted something.
class Site {
 public:
  Site() {
    site.name = "west";
    site.version = "1.2";
    for (uint32_t index : {0u, 1u}) {
      proxy::WorkerReport& report = workers.emplace_back();
      report.worker = index;
      report.io = "epoll";
      report.streams_open = 2 + index;
      report.closed_total[static_cast<int>(proxy::CloseReason::shutdown)] = 3 + index;
    }
    workers[0].buffered_bytes = 77;
    // Only worker 0 tells what the process has counted.
    workers[0].listeners.push_back({.name = "in", .is_bound = true, .connections_total = 9});
    workers[1].listeners.push_back({.name = "in", .is_bound = true});
    connectors.push_back({.name = "out", .streams_total = 5, .bytes_in = 6, .bytes_out = 7});
  }
  std::string text() const {
    return metrics_text({.site = site,
                         .is_ready = true,
                         .generation = 4,
                         .errors = 1,
                         .links = links,
                         .grants = grants,
                         .workers = workers,
                         .connectors = connectors,
                         .process = {.resident_bytes = 4096, .cpu_seconds = 1.5}});
  }

  SiteInfo site;
  std::vector<LinkState> links;
  GrantServerMetrics grants;
  std::vector<proxy::WorkerReport> workers;
  std::vector<proxy::ConnectorReport> connectors;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(site_metrics)

BOOST_AUTO_TEST_CASE(a_family_has_its_help_its_type_and_its_samples) {
  MetricsText text;
  text.family("a_total", MetricType::counter, "What a is.");
  text.sample({{"x", "1"}, {"y", ""}}, uint64_t{7});
  text.sample({}, 0.25);
  text.single("b", MetricType::gauge, "What b is.", uint64_t{18446744073709551615u});
  BOOST_TEST(text.text() ==
             "# HELP a_total What a is.\n# TYPE a_total counter\n"
             "a_total{x=\"1\",y=\"\"} 7\na_total 0.25\n"
             "# HELP b What b is.\n# TYPE b gauge\nb 18446744073709551615\n");
}

BOOST_AUTO_TEST_CASE(no_label_value_ends_early) {
  MetricsText text;
  text.family("a", MetricType::gauge, "A.");
  text.sample({{"x", "q\"} 1\nb\\"}}, uint64_t{0});
  BOOST_TEST(has_line(text.text(), R"(a{x="q\"} 1\nb\\"} 0)"));
}

BOOST_AUTO_TEST_CASE(the_site_and_its_process_are_told) {
  const std::string text = Site().text();
  BOOST_TEST(has_line(text, "istmo_build_info{version=\"1.2\"} 1"));
  BOOST_TEST(has_line(text, "istmo_ready 1"));
  BOOST_TEST(has_line(text, "istmo_snapshot_generation 4"));
  BOOST_TEST(has_line(text, "istmo_document_problems{severity=\"error\"} 1"));
  BOOST_TEST(has_line(text, "process_resident_memory_bytes 4096"));
  BOOST_TEST(has_line(text, "process_cpu_seconds_total 1.5"));
}

BOOST_AUTO_TEST_CASE(what_is_the_processes_is_summed_over_workers) {
  Site site;
  BOOST_TEST(has_line(site.text(), "istmo_worker_streams_open{worker=\"1\"} 3"));
  BOOST_TEST(has_line(site.text(), "istmo_streams_closed_total{reason=\"shutdown\"} 7"));
  BOOST_TEST(has_line(site.text(), "istmo_buffered_bytes 77"));
  BOOST_TEST(has_line(site.text(), "istmo_listener_connections_total{listener=\"in\"} 9"));
  BOOST_TEST(has_line(site.text(), "istmo_listener_bound{listener=\"in\"} 1"));
  site.workers[1].listeners[0].is_bound = false;
  BOOST_TEST(has_line(site.text(), "istmo_listener_bound{listener=\"in\"} 0"));
}

BOOST_AUTO_TEST_CASE(a_backend_counts_once_however_many_workers_have_it) {
  Site site;
  for (proxy::WorkerReport& worker : site.workers) {
    worker.backends.push_back({.connector = "out", .address = "10.0.0.1:1"});
    worker.backends.push_back({.connector = "out", .address = "10.0.0.2:1"});
  }
  site.workers[1].backends[0].is_set_aside = true;
  BOOST_TEST(has_line(site.text(), "istmo_connector_backends{connector=\"out\"} 2"));
  BOOST_TEST(has_line(site.text(), "istmo_connector_backends_set_aside{connector=\"out\"} 1"));
  BOOST_TEST(has_line(site.text(), "istmo_connector_streams_total{connector=\"out\"} 5"));
  BOOST_TEST(has_line(site.text(), "istmo_connector_sent_bytes_total{connector=\"out\"} 7"));
}

BOOST_AUTO_TEST_CASE(links_and_grants_are_told) {
  Site site;
  site.links.push_back({.link = "east", .site_id = "id", .site_name = "e", .connections_open = 2});
  site.links.push_back({.link = "", .is_incoming = true, .site_id = "id", .site_name = "e"});
  site.grants.redeemed.add();
  const std::string text = site.text();
  BOOST_TEST(has_line(text,
                      "istmo_link_up{link=\"east\",direction=\"outgoing\",remote_site=\"e\","
                      "remote_site_id=\"id\"} 1"));
  BOOST_TEST(has_line(text,
                      "istmo_link_up{link=\"\",direction=\"incoming\",remote_site=\"e\","
                      "remote_site_id=\"id\"} 0"));
  BOOST_TEST(has_line(text, "istmo_grant_requests_total{result=\"redeemed\"} 1"));
  BOOST_TEST(has_line(text, "istmo_grant_requests_total{result=\"timeout\"} 0"));
}

BOOST_AUTO_TEST_CASE(this_process_uses_memory_and_time) {
  const ProcessUsage usage = process_usage();
  BOOST_TEST(usage.resident_bytes > 1024 * 1024);
  BOOST_TEST(usage.cpu_seconds > 0);
}

BOOST_AUTO_TEST_SUITE_END()
