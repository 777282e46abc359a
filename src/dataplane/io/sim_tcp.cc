// The sockets' side of SimTcp: what programs call. What travels is in sim_tcp_wire.cc.
#include "dataplane/io/sim_tcp.h"

#include <algorithm>
#include <cerrno>

namespace istmo::io {

namespace {

constexpr uint16_t kFirstEphemeralPort = 32768;
constexpr uint16_t kLastEphemeralPort = 60999;

bool is_wildcard(const Address& address) {
  const std::string host = address.host();
  return host == "0.0.0.0" || host == "::";
}

bool covers(const Address& bound, const ListenOptions& options, const Address& wanted) {
  if (bound.port() != wanted.port()) return false;
  if (bound == wanted) return true;
  if (!is_wildcard(bound)) return false;
  if (bound.family() == wanted.family()) return true;
  return bound.family() == AF_INET6 && !options.ipv6_only;
}

}  // namespace

// --- sockets -----------------------------------------------------------------------------------

Result<Fd> SimTcp::listen(SimLoop& loop, const Address& address, const ListenOptions& options) {
  if (!is_wildcard(address) && !network_.owns(loop.host(), address.host())) {
    return Error::from_errno(EADDRNOTAVAIL, "bind " + address.to_string());
  }
  Address bound = address;
  if (bound.port() == 0) bound = TRY(Address::parse(bound.host(), next_port(loop.host())));
  if (is_bound(loop.host(), bound, options)) {
    return Error::from_errno(EADDRINUSE, "bind " + bound.to_string());
  }
  return add_socket(loop, {.address = bound, .options = options});
}

Fd SimTcp::connect(SimLoop& loop, const Address& address, const SocketOptions& options,
                   int& error) {
  const std::string ip = address.host();
  SimHost target = loop.host();
  if (!network_.owns(loop.host(), ip) && !network_.host_of(ip, target)) {
    error = -EHOSTUNREACH;
    return {};
  }
  if (open_sockets(loop.host()) >= network_.sockets_max(loop.host())) {
    error = -EMFILE;
    return {};
  }
  const bool is_own = target == loop.host();
  const std::string source = is_own ? ip : network_.first_ip(loop.host(), address.family());
  auto local = Address::parse(source, next_port(loop.host()));
  ASSERT(local.has_value());
  Connection& added = connections_[next_connection_];
  added.id = next_connection_++;
  added.ends[0].host = loop.host();
  added.ends[0].address = *local;
  added.ends[0].options = options;
  added.ends[1].host = target;
  added.ends[1].address = address;
  const Fd fd = add_socket(loop, {.connection = added.id, .end = 0});
  added.ends[0].fd = fd.number();
  if (auto* observer = network_.observer()) observer->on_connect(loop.host(), target);
  send_syn(added);
  return fd;
}

int SimTcp::connect_result(Fd fd) const {
  const Connection& connection = connection_of(fd);
  if (connection.connect_error != 0) return -connection.connect_error;
  const bool is_done = connection.phase >= Phase::established;
  return is_done ? 0 : -EINPROGRESS;
}

bool SimTcp::has_waiting(Fd listener) const { return !socket(listener).waiting.empty(); }

Fd SimTcp::accept(Fd listener, SimLoop& loop, const SocketOptions& options) {
  auto& waiting = socket(listener).waiting;
  if (waiting.empty()) return {};
  Connection& connection = *find(waiting.front());
  waiting.pop_front();
  const Fd fd = add_socket(loop, {.connection = connection.id, .end = 1});
  connection.phase = Phase::accepted;
  connection.ends[1].fd = fd.number();
  connection.ends[1].options = options;
  return fd;
}

uint64_t SimTcp::send_room(Fd fd) const {
  const End& end = end_of(fd);
  uint64_t limit = network_.options().send_buffer_bytes;
  if (end.options.notsent_lowat_bytes > 0) {
    limit = std::min<uint64_t>(limit, end.options.notsent_lowat_bytes);
  }
  return limit > end.unsent.size() ? limit - end.unsent.size() : 0;
}

bool SimTcp::can_send(Fd fd) const {
  const End& end = end_of(fd);
  return !end.is_dead && !end.has_end_queued;
}

void SimTcp::send(Fd fd, const Chain& chain, uint64_t offset, uint32_t count) {
  Connection& connection = connection_of(fd);
  Slice taken = Slice::allocate(count);
  const size_t copied = chain.copy_out(offset, {taken.mutable_data(), count});
  ASSERT(copied == count);
  const uint32_t from = socket(fd).end;
  connection.ends[from].unsent.append(std::move(taken));
  if (auto* observer = network_.observer()) {
    observer->on_octets_sent(connection.ends[from].host, connection.ends[1 - from].host, count);
  }
  pump(connection, from);
}

// Linux: sk_err first, once, then EPIPE.
int SimTcp::take_send_error(Fd fd) {
  const int error = std::exchange(end_of(fd).error, 0);
  return error != 0 ? error : EPIPE;
}

int SimTcp::take_error(Fd fd) {
  const int error = std::exchange(end_of(fd).error, 0);
  return error == EPIPE ? ECONNRESET : error;
}

int SimTcp::receive(Fd fd, uint32_t bytes_max, Chain& out) {
  Connection& connection = connection_of(fd);
  End& end = end_of(fd);
  if (!end.received.empty()) {
    const uint64_t count = std::min<uint64_t>(bytes_max, end.received.size());
    SimBlocks& blocks = socket(fd).loop->blocks();
    for (uint64_t done = 0; done < count;) {
      const auto part =
          static_cast<uint32_t>(std::min<uint64_t>(count - done, blocks.block_bytes()));
      Slice slice = blocks.lend(part);
      end.received.copy_out(done, {slice.mutable_data(), part});
      out.append(std::move(slice));
      done += part;
    }
    end.received.drop_front(count);
    const uint32_t sender = 1 - socket(fd).end;
    if (auto* observer = network_.observer()) {
      observer->on_octets_received(connection.ends[sender].host, end.host, count);
    }
    pump(connection, sender);  // the window opened
    return static_cast<int>(count);
  }
  if (end.has_end_received) return 0;
  if (end.error != 0) return -std::exchange(end.error, 0);
  return end.is_dead ? 0 : -EAGAIN;
}

uint64_t SimTcp::received_bytes(Fd fd) const { return end_of(fd).received.size(); }

void SimTcp::shutdown_send(Fd fd) {
  Connection& connection = connection_of(fd);
  End& end = end_of(fd);
  if (end.is_dead || end.has_end_queued) return;
  end.has_end_queued = true;
  wake_writer(end);
  pump(connection, socket(fd).end);
}

void SimTcp::close(Fd fd, Loop::Ending ending) {
  Socket closed = std::move(socket(fd));
  ASSERT(closed.reader == SimLoop::kNoSlot && closed.writer == SimLoop::kNoSlot);
  ASSERT(closed.watcher == SimLoop::kNoSlot);
  sockets_.erase(fd.number());
  network_.note('X', static_cast<uint64_t>(fd.number()), static_cast<uint64_t>(ending));
  if (closed.connection == 0) {
    for (const uint64_t id : closed.waiting) {
      Connection* connection = find(id);
      connection->ends[1].is_orphan = true;
      send_reset(*connection, 1);
      forget_if_gone(*connection);
    }
    return;
  }
  Connection& connection = *find(closed.connection);
  End& end = connection.ends[closed.end];
  end.fd = -1;
  end.is_orphan = true;
  const bool has_unread = !end.received.empty();
  end.received.clear();
  if (end.is_dead) {
    // Nothing to say: the other end reset, or time is over.
  } else if (ending == Loop::Ending::abort || has_unread || connection.phase < Phase::established) {
    send_reset(connection, closed.end);
  } else {
    end.has_end_queued = true;
    pump(connection, closed.end);
  }
  forget_if_gone(connection);
}

void SimTcp::release(Fd fd) {
  Socket& released = socket(fd);
  ASSERT(released.reader == SimLoop::kNoSlot && released.writer == SimLoop::kNoSlot);
  ASSERT(released.watcher == SimLoop::kNoSlot);
  released.loop = nullptr;
}

void SimTcp::adopt(Fd fd, SimLoop& loop, const SocketOptions& options) {
  Socket& adopted = socket(fd);
  ASSERT(adopted.reader == SimLoop::kNoSlot && adopted.writer == SimLoop::kNoSlot);
  ASSERT(adopted.watcher == SimLoop::kNoSlot);
  ASSERT(adopted.host == loop.host());
  adopted.loop = &loop;
  end_of(fd).options = options;
}

Result<Address> SimTcp::local_address(Fd fd) const {
  const Socket& found = socket(fd);
  if (found.connection == 0) return found.address;
  return end_of(fd).address;
}

Result<Address> SimTcp::remote_address(Fd fd) const {
  const Socket& found = socket(fd);
  if (found.connection == 0) return Error::from_errno(ENOTCONN, "remote address");
  const Connection& connection = connection_of(fd);
  const End& end = connection.ends[found.end];
  const End& other = connection.ends[1 - found.end];
  // Linux: TCP_CLOSE, after a reset and after both ends have been acknowledged.
  if (end.is_dead || (end.has_end_received && other.has_end_received)) {
    return Error::from_errno(ENOTCONN, "remote address");
  }
  return other.address;
}

void SimTcp::set_reader(Fd fd, uint32_t slot) {
  Socket& found = socket(fd);
  ASSERT(slot == SimLoop::kNoSlot || found.reader == SimLoop::kNoSlot);
  found.reader = slot;
}

void SimTcp::set_writer(Fd fd, uint32_t slot) {
  Socket& found = socket(fd);
  ASSERT(slot == SimLoop::kNoSlot || found.writer == SimLoop::kNoSlot);
  found.writer = slot;
}

void SimTcp::set_watcher(Fd fd, uint32_t slot) {
  Socket& found = socket(fd);
  ASSERT(slot == SimLoop::kNoSlot || found.watcher == SimLoop::kNoSlot);
  found.watcher = slot;
}

void SimTcp::close_all_of(SimLoop& loop) {
  for (auto next = sockets_.begin(); next != sockets_.end();) {
    const Fd fd(next->first);
    Socket& found = (next++)->second;
    if (found.loop != &loop) continue;
    found.reader = found.writer = found.watcher = SimLoop::kNoSlot;
    close(fd, Loop::Ending::orderly);
  }
}

uint32_t SimTcp::open_sockets(SimHost host) const {
  return static_cast<uint32_t>(
      std::count_if(sockets_.begin(), sockets_.end(),
                    [&](const auto& each) { return each.second.host == host; }));
}

uint64_t SimTcp::octets_in_flight() const {
  uint64_t sum = 0;
  for (const auto& [id, connection] : connections_) {
    sum += connection.ends[0].in_flight_bytes + connection.ends[1].in_flight_bytes;
  }
  return sum;
}

uint64_t SimTcp::octets_queued() const {
  uint64_t sum = 0;
  for (const auto& [id, connection] : connections_) {
    for (const End& end : connection.ends) sum += end.unsent.size() + end.received.size();
  }
  return sum;
}

// --- helpers -----------------------------------------------------------------------------------

SimTcp::Socket& SimTcp::socket(Fd fd) {
  const auto found = sockets_.find(fd.number());
  ASSERT(found != sockets_.end());  // used after close, or never opened
  return found->second;
}

const SimTcp::Socket& SimTcp::socket(Fd fd) const { return const_cast<SimTcp*>(this)->socket(fd); }

SimTcp::Connection& SimTcp::connection_of(Fd fd) {
  Connection* found = find(socket(fd).connection);
  ASSERT(found != nullptr);
  return *found;
}

const SimTcp::Connection& SimTcp::connection_of(Fd fd) const {
  return const_cast<SimTcp*>(this)->connection_of(fd);
}

SimTcp::End& SimTcp::end_of(Fd fd) { return connection_of(fd).ends[socket(fd).end]; }
const SimTcp::End& SimTcp::end_of(Fd fd) const { return const_cast<SimTcp*>(this)->end_of(fd); }

SimTcp::Connection* SimTcp::find(uint64_t id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : &found->second;
}

Fd SimTcp::add_socket(SimLoop& loop, Socket&& socket) {
  const Fd fd(next_fd_++);
  socket.loop = &loop;
  socket.host = loop.host();
  sockets_.emplace(fd.number(), std::move(socket));
  return fd;
}

void SimTcp::wake_reader(const End& end) {
  if (end.fd < 0) return;
  const Socket& found = socket(Fd(end.fd));
  if (found.reader != SimLoop::kNoSlot) found.loop->mark_ready(found.reader);
}

void SimTcp::wake_writer(const End& end) {
  if (end.fd < 0) return;
  const Socket& found = socket(Fd(end.fd));
  if (found.writer != SimLoop::kNoSlot) found.loop->mark_ready(found.writer);
}

void SimTcp::wake_watcher(const End& end) {
  if (end.fd < 0) return;
  const Socket& found = socket(Fd(end.fd));
  if (found.watcher != SimLoop::kNoSlot) found.loop->mark_ready(found.watcher);
}

uint16_t SimTcp::next_port(SimHost host) {
  uint16_t& port = next_port_.try_emplace(host.number(), kFirstEphemeralPort).first->second;
  const uint16_t taken = port;
  port = port == kLastEphemeralPort ? kFirstEphemeralPort : static_cast<uint16_t>(port + 1);
  return taken;
}

bool SimTcp::is_bound(SimHost host, const Address& address, const ListenOptions& options) const {
  for (const auto& [number, other] : sockets_) {
    if (other.connection != 0 || other.host != host) continue;
    if (!covers(other.address, other.options, address) &&
        !covers(address, options, other.address)) {
      continue;
    }
    if (!other.options.reuse_port || !options.reuse_port) return true;
  }
  return false;
}

// The most specific listener; chance among those that share an address (SO_REUSEPORT).
int SimTcp::pick_listener(SimHost host, const Address& address) {
  std::vector<int> exact;
  std::vector<int> wild;
  for (const auto& [number, other] : sockets_) {
    if (other.connection != 0 || other.host != host) continue;
    if (!covers(other.address, other.options, address)) continue;
    (other.address == address ? exact : wild).push_back(number);
  }
  const std::vector<int>& best = exact.empty() ? wild : exact;
  return best.empty() ? -1 : best[network_.rng().below(best.size())];
}

}  // namespace istmo::io
