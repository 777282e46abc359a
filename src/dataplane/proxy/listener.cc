#include "dataplane/proxy/listener.h"

#include "base/log.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {

Listener::Listener(Worker& worker, const ListenerConfig& config)
    : worker_(worker), config_(config), sockets_(worker.loop(), *this) {
  ASSERT(config_.counters != nullptr);
}

Listener::~Listener() { ASSERT(can_be_freed()); }

void Listener::update(const ListenerConfig& config) {
  config_ = config;
  is_retired_ = false;
}

void Listener::open(std::vector<Problem>& problems) {
  std::vector<Error> errors;
  sockets_.update(config_.addresses, {.keepalive = config_.tcp.keepalive}, errors);
  for (const Error& error : errors) {
    problems.push_back({"Listener", config_.name, error.text(), error.error_class()});
  }
}

void Listener::retire() {
  is_retired_ = true;
  sockets_.close_all();
}

void Listener::on_document_gone() {
  if (config_.drops_connections) end_all(CloseReason::listener_deleted);
}

void Listener::end_all(CloseReason reason) {
  Tunnel* tunnel = tunnels_.first();
  while (tunnel) {
    Tunnel* next = tunnels_.next_of(*tunnel);
    tunnel->end(reason);
    tunnel = next;
  }
}

void Listener::on_accepted(io::Fd fd) {
  if (fd.number() >= worker_.process().descriptors_served_max) {
    config_.counters->refused.add();
    worker_.count_closed(CloseReason::local_limit, 0, 0);
    return worker_.loop().close(fd, io::Loop::Ending::abort);
  }
  const int64_t limit = config_.connections_max == 0 ? INT64_MAX : config_.connections_max;
  if (!config_.counters->open.try_add(1, limit)) {
    config_.counters->refused.add();
    worker_.count_closed(CloseReason::connections_limit, 0, 0);
    return worker_.loop().close(fd, io::Loop::Ending::abort);
  }
  if (auto refusal = worker_.admit_stream()) {
    config_.counters->open.add(-1);
    config_.counters->refused.add();
    worker_.count_closed(*refusal, 0, 0);
    return worker_.loop().close(fd, io::Loop::Ending::abort);
  }
  config_.counters->opened.add();
  worker_.start_tcp_tunnel(*this, fd);
}

void Listener::on_socket_closed() {
  if (can_be_freed()) worker_.schedule_sweep();
}

void Listener::add(Tunnel& tunnel) {
  tunnels_.push_back(tunnel);
  ++tunnels_open_;
}

void Listener::leave(uint64_t bytes_in, uint64_t bytes_out) {
  ASSERT(tunnels_open_ > 0);
  --tunnels_open_;
  config_.counters->open.add(-1);
  config_.counters->bytes_in.add(bytes_in);
  config_.counters->bytes_out.add(bytes_out);
  if (can_be_freed()) worker_.schedule_sweep();
}

ListenerReport Listener::report() const {
  ListenerReport report;
  report.name = config_.name;
  report.is_bound = sockets_.is_bound();
  // The counters are the process's: only worker 0 reports them, so that sums are right.
  if (worker_.index() != 0) return report;
  report.connections_open = static_cast<uint64_t>(config_.counters->open.value());
  report.connections_total = config_.counters->opened.value();
  report.refused_total = config_.counters->refused.value();
  report.bytes_in = config_.counters->bytes_in.value();
  report.bytes_out = config_.counters->bytes_out.value();
  return report;
}

}  // namespace istmo::proxy
