// What probes and Prometheus are told: the third part of controller.h.
#include <algorithm>
#include <utility>

#include "control/controller.h"
#include "control/metrics_text.h"
#include "control/site_metrics.h"

namespace istmo::control {

namespace {

// For how long a worker may not answer before the process is said to be stuck.
constexpr Duration kWorkerPatience = Duration::seconds(30);

HealthAnswer unavailable(std::string reason) {
  return {.status = 503, .text = std::move(reason) + "\n"};
}

}  // namespace

void Controller::on_health_request(HealthRequestId id, std::string_view path) {
  if (path == "/healthz") return health_.answer(id, health());
  if (path == "/readyz") return health_.answer(id, readiness());
  if (path != "/metrics") {
    return health_.answer(id, {.status = 404, .text = "there are /healthz, /readyz, /metrics\n"});
  }
  if (!dataplane_ || phase_ == Phase::ended) {
    return health_.answer(id, unavailable("the workers do not run"));
  }
  survey_.waiting.push_back(id);
  begin_survey();
}

// One question to the workers at a time, for all who ask meanwhile: a stuck worker collects no more
// than one. Nobody asks a site that nobody probes.
void Controller::begin_survey() {
  if (survey_.question != 0) return;
  survey_.question = next_question_++;
  survey_.asked = loop_.now();
  dataplane_->request_reports(survey_.question, false);
}

// That this is answered at all shows that the control loop turns.
HealthAnswer Controller::health() {
  if (!dataplane_ || phase_ == Phase::ended) return {.text = "ok\n"};
  begin_survey();
  const Duration silence = loop_.now() - survey_.asked;
  if (silence < kWorkerPatience) return {.text = "ok\n"};
  std::string workers;
  for (const uint32_t worker : dataplane_->silent_workers(survey_.question)) {
    workers += (workers.empty() ? "" : ", ") + std::to_string(worker);
  }
  return unavailable("worker " + workers + " has not answered for " +
                     std::to_string(silence.to_milliseconds() / 1000) + " s");
}

HealthAnswer Controller::readiness() const {
  if (phase_ == Phase::leaving || phase_ == Phase::draining || phase_ == Phase::ended) {
    return unavailable("draining");
  }
  const std::string standstill = platform_ ? platform_->standstill() : std::string();
  if (!dataplane_ && !standstill.empty()) return unavailable(standstill);
  if (!dataplane_) return unavailable("the documents, with one of kind Site, are not read yet");
  if (observed_.published_generation == 0) {
    return unavailable("the workers do not run the documents yet");
  }
  if (!were_backends_known_) return unavailable("the backends of Connectors are not known yet");
  if (!has_heard_siblings()) return unavailable("the other replicas have not told what they reach");
  return {.text = "ok\n"};
}

void Controller::end_survey(const std::vector<proxy::WorkerReport>& reports) {
  survey_.question = 0;
  const std::vector<HealthRequestId> waiting = std::exchange(survey_.waiting, {});
  if (waiting.empty()) return;
  std::vector<proxy::ConnectorReport> connectors = dataplane_->connector_reports();
  std::erase_if(connectors, [&](const proxy::ConnectorReport& connector) {
    return !compiled_.snapshot || !compiled_.snapshot->connector_documents.contains(connector.name);
  });
  const auto problems_of = [&](Severity severity) {
    return static_cast<uint64_t>(std::ranges::count(told_problems_, severity, &Problem::severity));
  };
  const HealthAnswer answer{.text = metrics_text({.site = observed_.site,
                                                  .is_ready = readiness().status == 200,
                                                  .generation = observed_.published_generation,
                                                  .errors = problems_of(Severity::error),
                                                  .warnings = problems_of(Severity::warning),
                                                  .links = links_.links(),
                                                  .grants = access_->grant_metrics(),
                                                  .workers = reports,
                                                  .connectors = connectors,
                                                  .process = process_usage()}),
                            .content_type = kMetricsContentType};
  for (const HealthRequestId id : waiting) health_.answer(id, answer);
}

}  // namespace istmo::control
