#include "dataplane/io/sim_network.h"

#include <algorithm>

#include "base/assert.h"
#include "dataplane/io/sim_loop.h"
#include "dataplane/io/sim_tcp.h"

namespace istmo::io {

SimNetwork::SimNetwork(uint64_t seed, const SimOptions& options)
    : options_(options), rng_(seed), tcp_(std::make_unique<SimTcp>(*this)) {}

SimNetwork::~SimNetwork() {
  for (SimLoop* loop : loops_) ASSERT(loop == nullptr);
}

SimHost SimNetwork::add_host(const std::vector<std::string>& ips) {
  const SimHost host(static_cast<uint32_t>(hosts_.size()));
  for (const std::string& ip : ips) {
    const bool is_new = host_of_ip_.emplace(ip, host).second;
    ASSERT(is_new);
  }
  hosts_.push_back({.ips = ips});
  path(host, host).path = {.latency = Duration::microseconds(20),
                           .jitter = Duration::microseconds(5)};
  return host;
}

void SimNetwork::set_path(SimHost a, SimHost b, const SimPath& both) {
  path(a, b).path = both;
  path(b, a).path = both;
}

void SimNetwork::cut(SimHost a, SimHost b) {
  path(a, b).cut_since = path(b, a).cut_since = now_;
  note('C', a.number(), b.number());
  tcp_->on_cut(a, b);
}

void SimNetwork::restore(SimHost a, SimHost b) {
  path(a, b).cut_since = path(b, a).cut_since = Instant::never();
  note('R', a.number(), b.number());
  tcp_->on_restore(a, b);
}

bool SimNetwork::is_cut(SimHost a, SimHost b) const { return cut_since(a, b) != Instant::never(); }

Instant SimNetwork::cut_since(SimHost a, SimHost b) const {
  const auto found = paths_.find({a.number(), b.number()});
  return found == paths_.end() ? Instant::never() : found->second.cut_since;
}

void SimNetwork::set_sockets_max(SimHost host, uint32_t count) {
  hosts_[host.number()].sockets_max = count;
}

bool SimNetwork::step(Instant limit) {
  run_due_events();
  runnable_.clear();
  for (SimLoop* loop : loops_) {
    if (loop && loop->is_runnable()) runnable_.push_back(loop);
  }
  if (!runnable_.empty()) {
    runnable_[rng_.below(runnable_.size())]->run_turn(Duration{});
    return true;
  }
  Instant next = next_event_at();
  for (SimLoop* loop : loops_) {
    if (loop) next = std::min(next, loop->next_timer());
  }
  if (next == Instant::never() || next > limit) {
    if (limit != Instant::never()) now_ = std::max(now_, limit);
    return false;
  }
  advance(next);
  return true;
}

void SimNetwork::begin_turn(uint32_t loop_index) {
  run_due_events();
  note('T', loop_index, static_cast<uint64_t>(now_.ns));
}

// A turn costs time, so that a program that spins meets the limits of the tests.
void SimNetwork::end_turn() {
  now_ = now_ + Duration::nanoseconds(static_cast<int64_t>(rng_.between(500, 3000)));
}

void SimNetwork::run_for(Duration time) {
  const Instant deadline = now_ + time;
  while (now_ < deadline && step(deadline)) {
  }
}

void SimNetwork::run_due_events() {
  while (!events_.empty() && events_.top().at <= now_) {
    const SimEvent event = events_.top();
    events_.pop();
    note('E', static_cast<uint64_t>(event.kind), event.connection);
    if (event.kind != SimEvent::Kind::op_ready) {
      tcp_->on_event(event);
    } else if (SimLoop* loop = loops_[event.end]) {
      loop->on_delay_over(static_cast<uint32_t>(event.connection), event.number);
    }
  }
}

void SimNetwork::advance(Instant deadline) {
  now_ = std::max(now_, std::min(next_event_at(), deadline));
  run_due_events();
}

Instant SimNetwork::next_event_at() const {
  return events_.empty() ? Instant::never() : events_.top().at;
}

void SimNetwork::schedule(SimEvent event) {
  event.at = std::max(event.at, now_);
  event.sequence = ++events_made_;
  events_.push(event);
}

uint32_t SimNetwork::add_loop(SimLoop& loop) {
  loops_.push_back(&loop);
  return static_cast<uint32_t>(loops_.size() - 1);
}

void SimNetwork::remove_loop(uint32_t index) { loops_[index] = nullptr; }

uint32_t SimNetwork::open_sockets(SimHost host) const { return tcp_->open_sockets(host); }
uint32_t SimNetwork::open_sockets() const { return tcp_->open_sockets(); }
uint64_t SimNetwork::connections() const { return tcp_->connections(); }
uint64_t SimNetwork::octets_in_flight() const { return tcp_->octets_in_flight(); }
uint64_t SimNetwork::octets_queued() const { return tcp_->octets_queued(); }

bool SimNetwork::host_of(const std::string& ip, SimHost& host) const {
  const auto found = host_of_ip_.find(ip);
  if (found == host_of_ip_.end()) return false;
  host = found->second;
  return true;
}

bool SimNetwork::owns(SimHost host, const std::string& ip) const {
  if (ip.starts_with("127.") || ip == "::1") return true;
  const auto& ips = hosts_[host.number()].ips;
  return std::find(ips.begin(), ips.end(), ip) != ips.end();
}

const std::string& SimNetwork::first_ip(SimHost host, int family) const {
  static const std::string kLoopback4 = "127.0.0.1";
  static const std::string kLoopback6 = "::1";
  for (const std::string& ip : hosts_[host.number()].ips) {
    const bool is_ipv6 = ip.find(':') != std::string::npos;
    if (is_ipv6 == (family == AF_INET6)) return ip;
  }
  return family == AF_INET6 ? kLoopback6 : kLoopback4;
}

uint32_t SimNetwork::sockets_max(SimHost host) const { return hosts_[host.number()].sockets_max; }

Instant SimNetwork::free_at(SimHost from, SimHost to) {
  return std::max(now_, path(from, to).busy_until);
}

Instant SimNetwork::reserve(SimHost from, SimHost to, uint64_t octets) {
  PathState& state = path(from, to);
  Instant leaves = std::max(now_, state.busy_until);
  if (state.path.bytes_per_second > 0) {
    const auto ns = static_cast<int64_t>(octets * 1'000'000'000 / state.path.bytes_per_second);
    leaves = state.busy_until = leaves + Duration::nanoseconds(ns);
  }
  const auto jitter = static_cast<uint64_t>(state.path.jitter.ns);
  return leaves + state.path.latency +
         Duration::nanoseconds(static_cast<int64_t>(rng_.below(jitter + 1)));
}

SimNetwork::PathState& SimNetwork::path(SimHost from, SimHost to) {
  return paths_[{from.number(), to.number()}];
}

void SimNetwork::note(uint64_t what, uint64_t a, uint64_t b) {
  for (const uint64_t word : {what, a, b}) {
    trace_ = (trace_ ^ word) * 0x100000001b3;  // FNV-1a, a word at a time
    trace_ ^= trace_ >> 29;
  }
}

}  // namespace istmo::io
