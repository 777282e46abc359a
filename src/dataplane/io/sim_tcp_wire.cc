// The wire's side of SimTcp: handshakes, segments, resets, cuts and what follows from them.
#include <algorithm>
#include <cerrno>

#include "dataplane/io/sim_tcp.h"

namespace istmo::io {

using Kind = SimEvent::Kind;

namespace {

constexpr uint64_t kSmallWindowBytes = 4096;
constexpr Duration kFirstRetransmit = Duration::milliseconds(200);
constexpr Duration kKeepaliveProbes = Duration::seconds(75);

}  // namespace

void SimTcp::on_event(const SimEvent& event) {
  Connection* connection = find(event.connection);
  if (!connection) return;
  switch (event.kind) {
    case Kind::syn_arrives: on_syn(*connection); break;
    case Kind::syn_ack_arrives: on_syn_ack(*connection); break;
    case Kind::ack_arrives: join_queue(*connection); break;
    case Kind::refusal_arrives:
      if (!is_cut(*connection)) fail_connect(*connection, ECONNREFUSED);
      break;
    case Kind::syn_retry: on_syn_retry(*connection); break;
    case Kind::transmit: on_transmit(*connection, event.end); break;
    case Kind::deliver: on_deliver(*connection, event.end); break;
    case Kind::reset_arrives: on_reset(*connection, event.end); break;
    case Kind::stall_check:
      on_stall_check(*connection, event.end, Instant{static_cast<int64_t>(event.number)});
      break;
    case Kind::keepalive_check:
      on_keepalive_check(*connection, event.end, Instant{static_cast<int64_t>(event.number)});
      break;
    case Kind::op_ready: ASSERT(false);
  }
  forget_if_gone(*connection);
}

// --- opening -----------------------------------------------------------------------------------

void SimTcp::send_syn(Connection& connection) {
  const SimHost from = connection.ends[0].host;
  const SimHost to = connection.ends[1].host;
  schedule(Kind::syn_arrives, connection, 1, network_.reserve(from, to, 60));
  const int64_t wait_s = int64_t{1} << (connection.syns_sent - 1);
  schedule(Kind::syn_retry, connection, 0, network_.now() + Duration::seconds(wait_s));
}

void SimTcp::on_syn(Connection& connection) {
  if (is_cut(connection) || connection.phase >= Phase::established) return;
  const SimHost from = connection.ends[1].host;
  const SimHost to = connection.ends[0].host;
  if (connection.phase == Phase::syn_sent) {
    const int picked = pick_listener(from, connection.ends[1].address);
    if (picked < 0) {
      schedule(Kind::refusal_arrives, connection, 0, network_.reserve(from, to, 60));
      return;
    }
    const Socket& listener = sockets_.at(picked);
    const auto backlog = static_cast<size_t>(std::max(listener.options.backlog, 1));
    if (listener.waiting.size() > backlog) return;  // dropped: the SYN comes again
    connection.listener = picked;
    connection.phase = Phase::syn_received;
  }
  schedule(Kind::syn_ack_arrives, connection, 0, network_.reserve(from, to, 60));
}

void SimTcp::on_syn_ack(Connection& connection) {
  if (is_cut(connection) || connection.phase != Phase::syn_received) return;
  if (connection.ends[0].is_dead) return;
  connection.phase = Phase::established;
  End& client = connection.ends[0];
  client.last_arrival = network_.reserve(client.host, connection.ends[1].host, 60);
  schedule(Kind::ack_arrives, connection, 1, client.last_arrival);
  wake_writer(client);
}

void SimTcp::on_syn_retry(Connection& connection) {
  if (connection.phase >= Phase::established || connection.ends[0].is_dead) return;
  if (connection.syns_sent > network_.options().syn_retries) {
    fail_connect(connection, ETIMEDOUT);
    return;
  }
  ++connection.syns_sent;
  send_syn(connection);
}

void SimTcp::fail_connect(Connection& connection, int error) {
  connection.connect_error = error;
  connection.ends[0].is_dead = true;
  wake_writer(connection.ends[0]);
}

// The server's kernel knows the connection as established now, and offers it to accept().
void SimTcp::join_queue(Connection& connection) {
  if (connection.is_joined) return;
  if (is_cut(connection)) {  // the ACK comes again
    schedule(Kind::ack_arrives, connection, 1, network_.now() + Duration::seconds(1));
    return;
  }
  connection.is_joined = true;
  const auto found = sockets_.find(connection.listener);
  if (found == sockets_.end()) {  // closed meanwhile
    connection.ends[1].is_orphan = true;
    send_reset(connection, 1);
    return;
  }
  found->second.waiting.push_back(connection.id);
  if (found->second.reader != SimLoop::kNoSlot) {
    found->second.loop->mark_ready(found->second.reader);
  }
}

// --- octets ------------------------------------------------------------------------------------

// What the receiver can still take, beyond what is under way to it.
uint64_t SimTcp::window_of(const Connection& connection, uint32_t from) const {
  const uint64_t used =
      connection.ends[from].in_flight_bytes + connection.ends[1 - from].received.size();
  const uint64_t buffer = network_.options().receive_buffer_bytes;
  return buffer > used ? buffer - used : 0;
}

// Sees to it that what can leave does: called whenever something changed.
void SimTcp::pump(Connection& connection, uint32_t from) {
  End& end = connection.ends[from];
  if (end.is_dead || end.is_transmit_scheduled || end.is_stalled) return;
  if (end.unsent.empty()) {
    if (!end.has_end_queued || end.has_end_sent) return;
  } else {
    const uint64_t window = window_of(connection, from);
    const uint64_t half = network_.options().receive_buffer_bytes / 2;  // RFC 1122 4.2.3.4
    if (window < std::min({end.unsent.size(), kSmallWindowBytes, std::max(half, uint64_t{1})})) {
      return;
    }
  }
  end.is_transmit_scheduled = true;
  const Instant free = network_.free_at(end.host, connection.ends[1 - from].host);
  schedule(Kind::transmit, connection, from, free);
}

void SimTcp::on_transmit(Connection& connection, uint32_t from) {
  End& end = connection.ends[from];
  end.is_transmit_scheduled = false;
  if (end.is_dead || end.is_stalled) return;
  Segment segment;
  const SimOptions& options = network_.options();
  uint64_t most = std::min<uint64_t>({end.unsent.size(), window_of(connection, from),
                                      network_.rng().between(1, options.segment_bytes_max)});
  if (most > 64 && network_.rng().chance(network_.faults().small_chunk)) {
    most = network_.rng().between(1, 64);
  }
  segment.bytes = end.unsent.take_front(most);
  segment.is_end = end.unsent.empty() && end.has_end_queued;
  if (segment.bytes.empty() && (!segment.is_end || end.has_end_sent)) return;
  end.has_end_sent = segment.is_end;
  end.in_flight_bytes += most;
  const Instant arrives = network_.reserve(end.host, connection.ends[1 - from].host, most + 60);
  segment.arrives = end.last_arrival = std::max(end.last_arrival, arrives);
  network_.note('S', connection.id << 1 | from, most);
  end.in_flight.push_back(std::move(segment));
  schedule_deliver(connection, from);
  wake_writer(end);
  pump(connection, from);
}

void SimTcp::schedule_deliver(Connection& connection, uint32_t from) {
  End& end = connection.ends[from];
  if (end.is_deliver_scheduled || end.in_flight.empty()) return;
  end.is_deliver_scheduled = true;
  schedule(Kind::deliver, connection, from, end.in_flight.front().arrives);
}

void SimTcp::on_deliver(Connection& connection, uint32_t from) {
  End& end = connection.ends[from];
  end.is_deliver_scheduled = false;
  if (is_cut(connection)) {
    stall(connection, from);
    return;
  }
  if (end.is_stalled) {  // the retransmission gets through: the rest follows closely
    end.is_stalled = false;
    for (Segment& segment : end.in_flight) segment.arrives = network_.now();
  }
  if (from == 0) join_queue(connection);
  if (!end.in_flight.empty()) deliver_segment(connection, from);
  schedule_deliver(connection, from);
  pump(connection, from);
}

void SimTcp::deliver_segment(Connection& connection, uint32_t from) {
  End& end = connection.ends[from];
  End& target = connection.ends[1 - from];
  Segment segment = std::move(end.in_flight.front());
  end.in_flight.pop_front();
  end.in_flight_bytes -= segment.bytes.size();
  network_.note('d', connection.id << 1 | from, segment.bytes.size());
  if (target.is_dead || (target.is_orphan && !segment.bytes.empty())) {
    send_reset(connection, 1 - from);
    return;
  }
  if (!segment.bytes.empty() && network_.rng().chance(network_.faults().reset)) {
    network_.count_injected_reset();
    kill(end, ECONNRESET);
    kill(target, ECONNRESET);
    return;
  }
  target.received.append(std::move(segment.bytes));
  if (segment.is_end) target.has_end_received = true;
  wake_reader(target);
}

// --- resets ------------------------------------------------------------------------------------

// The end gives up at once and tells the other one. Segments already under way still arrive.
void SimTcp::send_reset(Connection& connection, uint32_t from) {
  End& end = connection.ends[from];
  End& target = connection.ends[1 - from];
  end.is_dead = true;
  end.unsent.clear();
  if (is_cut(connection)) return;  // lost; a dead end sends nothing again
  const Instant arrives = std::max(network_.reserve(end.host, target.host, 60), end.last_arrival);
  end.last_arrival = arrives;
  schedule(Kind::reset_arrives, connection, 1 - from, arrives);
}

void SimTcp::on_reset(Connection& connection, uint32_t to) {
  if (is_cut(connection)) return;
  End& sender = connection.ends[1 - to];
  End& end = connection.ends[to];
  if (to == 1) join_queue(connection);
  while (!sender.in_flight.empty() && sender.in_flight.front().arrives <= network_.now()) {
    deliver_segment(connection, 1 - to);
  }
  if (end.is_dead) return;
  network_.note('r', connection.id, to);
  kill(end, end.has_end_received ? EPIPE : ECONNRESET);  // Linux tcp_reset(): CLOSE_WAIT is EPIPE
}

// What was received stays readable, then comes the error.
void SimTcp::kill(End& end, int error) {
  if (end.is_dead) return;
  end.is_dead = true;
  end.error = error;
  end.unsent.clear();
  end.in_flight.clear();
  end.in_flight_bytes = 0;
  wake_reader(end);
  wake_writer(end);
  wake_watcher(end);
}

// --- cuts --------------------------------------------------------------------------------------

void SimTcp::stall(Connection& connection, uint32_t from) {
  End& end = connection.ends[from];
  if (end.is_dead) {  // nobody sends it again
    end.in_flight.clear();
    end.in_flight_bytes = 0;
    return;
  }
  if (end.is_stalled) return;
  end.is_stalled = true;
  end.stalled_at = network_.now();
  schedule(Kind::stall_check, connection, from,
           network_.now() + network_.options().retransmit_limit,
           static_cast<uint64_t>(end.stalled_at.ns));
}

void SimTcp::on_stall_check(Connection& connection, uint32_t from, Instant stalled_at) {
  End& end = connection.ends[from];
  if (end.is_stalled && end.stalled_at == stalled_at) kill(end, ETIMEDOUT);
}

void SimTcp::on_cut(SimHost a, SimHost b) {
  for (auto& [id, connection] : connections_) {
    const SimHost first = connection.ends[0].host;
    const SimHost second = connection.ends[1].host;
    if (!((first == a && second == b) || (first == b && second == a))) continue;
    for (uint32_t end = 0; end < 2; ++end) {
      const Duration keepalive = connection.ends[end].options.keepalive;
      if (keepalive == Duration{}) continue;
      schedule(Kind::keepalive_check, connection, end,
               network_.now() + keepalive + kKeepaliveProbes,
               static_cast<uint64_t>(network_.now().ns));
    }
  }
}

// An idle connection learns of a dead path, or that the other end is gone, by its probes.
void SimTcp::on_keepalive_check(Connection& connection, uint32_t end, Instant cut_at) {
  if (connection.ends[end].is_dead || connection.phase < Phase::established) return;
  if (is_cut(connection)) {
    const SimHost here = connection.ends[end].host;
    const SimHost there = connection.ends[1 - end].host;
    if (network_.cut_since(here, there) == cut_at) kill(connection.ends[end], ETIMEDOUT);
  } else if (connection.ends[1 - end].is_dead) {
    kill(connection.ends[end], ECONNRESET);
  }
}

// Retransmission timers double from 200 ms: the first that fires after now gets through.
void SimTcp::on_restore(SimHost, SimHost) {
  for (auto& [id, connection] : connections_) {
    if (is_cut(connection)) continue;
    for (uint32_t from = 0; from < 2; ++from) {
      End& end = connection.ends[from];
      if (!end.is_stalled || end.is_deliver_scheduled) continue;
      Duration wait = kFirstRetransmit;
      Instant fires = end.stalled_at + wait;
      while (fires < network_.now()) fires = fires + (wait = wait * 2);
      end.is_deliver_scheduled = true;
      schedule(Kind::deliver, connection, from, fires);
    }
  }
}

bool SimTcp::is_cut(const Connection& connection) const {
  return network_.is_cut(connection.ends[0].host, connection.ends[1].host);
}

// --- ends --------------------------------------------------------------------------------------

void SimTcp::schedule(Kind kind, const Connection& connection, uint32_t end, Instant at,
                      uint64_t number) {
  network_.schedule(
      {.at = at, .kind = kind, .connection = connection.id, .end = end, .number = number});
}

// Erases the connection when no program and no kernel cares any more.
void SimTcp::forget_if_gone(Connection& connection) {
  const auto is_gone = [&](uint32_t index) {
    const End& end = connection.ends[index];
    if (!end.in_flight.empty()) return false;
    if (index == 1 && connection.phase < Phase::established && connection.ends[0].is_dead)
      return true;
    const bool is_said = end.is_dead || connection.ends[1 - index].has_end_received;
    return end.is_orphan && is_said;
  };
  if (is_gone(0) && is_gone(1)) connections_.erase(connection.id);
}

}  // namespace istmo::io
