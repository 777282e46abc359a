#include "dataplane/proxy/backend.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {

namespace {

std::string pod_at(const ConnectorConfig& config, size_t index) {
  return index < config.names.size() ? config.names[index] : std::string();
}

}  // namespace

Backend::Backend(Worker& worker, uint64_t id, const ConnectorConfig& config, size_t index)
    : worker_(worker),
      id_(id),
      connector_(config.name),
      routing_key_(config.routing_key),
      address_(config.addresses[index]),
      pod_(pod_at(config, index)),
      settings_(config.tcp),
      drops_connections_(config.drops_connections),
      counters_(*config.counters) {}

Backend::~Backend() { ASSERT(can_be_freed()); }

bool Backend::can_be_freed() const {
  return is_retired_ && streams_open_ == 0 && probe_op_.is_idle();
}

std::string Backend::title() const {
  return address_.to_string() + (pod_.empty() ? "" : " (" + pod_ + ")");
}

void Backend::update(const ConnectorConfig& config, size_t index) {
  pod_ = pod_at(config, index);
  settings_ = config.tcp;
  drops_connections_ = config.drops_connections;
}

void Backend::tell(const std::string& error) const {
  worker_.sink().on_backend_changed({.worker = worker_.index(),
                                     .connector = connector_,
                                     .address = address_.to_string(),
                                     .is_set_aside = is_set_aside_,
                                     .error = error});
}

void Backend::retire() {
  is_retired_ = true;
  if (std::exchange(is_set_aside_, false)) tell({});
  worker_.loop().timers().cancel(probe_timer_);
  worker_.loop().cancel(probe_op_);
}

void Backend::on_document_gone() {
  if (drops_connections_) end_all(CloseReason::connector_deleted);
}

void Backend::end_all(CloseReason reason) {
  // Ending a tunnel only starts its teardown: it leaves the list later, from the loop.
  Tunnel* tunnel = tunnels_.first();
  while (tunnel) {
    Tunnel* next = tunnels_.next_of(*tunnel);
    tunnel->end(reason);
    tunnel = next;
  }
}

void Backend::add(Tunnel& tunnel) {
  tunnels_.push_back(tunnel);
  ++streams_open_;
  ++streams_total_;
  counters_.open.add(1);
  counters_.opened.add();
}

void Backend::leave() {
  ASSERT(streams_open_ > 0);
  --streams_open_;
  counters_.open.add(-1);
  if (is_retired_) worker_.schedule_sweep();
}

void Backend::count(uint64_t bytes_in, uint64_t bytes_out) {
  counters_.bytes_in.add(bytes_in);
  counters_.bytes_out.add(bytes_out);
}

void Backend::on_connected() {
  failures_in_a_row_ = 0;
  probe_interval_ = kProbeFirst;
  if (!is_set_aside_) return;
  is_set_aside_ = false;
  worker_.loop().timers().cancel(probe_timer_);
  LOG_INFO("backend is back", "connector", connector_, "address", title());
  tell({});
}

void Backend::on_failed(int error_number) {
  if (is_local_limit(error_number)) return;
  ++failures_total_;
  counters_.failures.add();
  if (++failures_in_a_row_ < kFailuresMax || is_set_aside_ || is_retired_) return;
  is_set_aside_ = true;
  const Error error = Error::from_errno(error_number, "connect");
  LOG_WARNING("backend set aside", "connector", connector_, "address", title(), "error",
              error.text());
  tell(error.text());
  worker_.loop().timers().arm(probe_timer_, worker_.loop().now() + probe_interval_);
}

void Backend::on_probe_timer() {
  if (probe_op_.is_idle()) return probe();
  worker_.loop().cancel(probe_op_);  // the probe itself took too long
}

void Backend::probe() {
  worker_.loop().connect(probe_op_, address_, {});
  worker_.loop().timers().arm(probe_timer_, worker_.loop().now() + settings_.connect_timeout);
}

void Backend::on_probed(io::Completion&& done) {
  worker_.loop().timers().cancel(probe_timer_);
  if (!done.failed()) worker_.loop().close(done.fd, io::Loop::Ending::orderly);
  if (is_retired_) return worker_.schedule_sweep();
  if (!done.failed()) {
    on_connected();
    return worker_.on_routes_changed();
  }
  if (!is_local_limit(-done.result)) probe_interval_ = std::min(probe_interval_ * 2, kProbeLast);
  worker_.loop().timers().arm(probe_timer_, worker_.loop().now() + probe_interval_);
}

BackendReport Backend::report() const {
  return {.connector = connector_,
          .address = address_.to_string(),
          .is_set_aside = is_set_aside_,
          .streams_open = streams_open_,
          .streams_total = streams_total_,
          .failures_total = failures_total_};
}

}  // namespace istmo::proxy
