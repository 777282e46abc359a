#include "control/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <list>

#include "base/assert.h"
#include "base/backoff.h"
#include "base/log.h"
#include "dataplane/io/socket.h"

namespace istmo::control {
namespace {

std::vector<std::string> sorted_addresses(const ares_addrinfo& answer) {
  std::vector<std::pair<bool, std::string>> found;  // IPv6?, address
  for (const ares_addrinfo_node* node = answer.nodes; node; node = node->ai_next) {
    if (node->ai_family != AF_INET && node->ai_family != AF_INET6) continue;
    const auto address = io::Address::from_sockaddr(node->ai_addr, node->ai_addrlen);
    found.emplace_back(node->ai_family == AF_INET6, address.host());
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  std::vector<std::string> addresses;
  for (auto& [is_ipv6, text] : found) addresses.push_back(std::move(text));
  return addresses;
}

// The shortest of all records that led to the addresses, aliases among them.
Duration ttl_of(const ares_addrinfo& answer) {
  int ttl = INT_MAX;
  for (const ares_addrinfo_node* node = answer.nodes; node; node = node->ai_next) {
    ttl = std::min(ttl, node->ai_ttl);
  }
  for (const ares_addrinfo_cname* alias = answer.cnames; alias; alias = alias->next) {
    ttl = std::min(ttl, alias->ttl);
  }
  return Duration::seconds(std::max(0, ttl));
}

}  // namespace

// Everything is here because ares.h may only be known in this file.
class Resolver::State {
 public:
  State(io::Loop& loop, ResolverSink& sink, const ResolverOptions& options)
      : loop_(loop), sink_(sink), options_(options) {}
  ~State() { ASSERT(is_idle()); }

  Result<> start();
  void watch(const std::set<std::string>& hosts);
  void stop();
  bool is_idle() const {
    return sockets_.empty() && !clock_.is_armed() && !tell_.is_linked() && wanted_.empty();
  }
  const std::map<std::string, HostAddresses>& hosts() const { return known_; }

 private:
  // A socket of c-ares. The loop watches a duplicate of its descriptor, which stays open until the
  // loop has let go of it, whatever c-ares does with its own.
  struct Socket {
    Socket(State& owner_state, ares_socket_t number, int duplicate)
        : owner(owner_state), fd(number), watched_fd(duplicate) {}
    ~Socket() { ::close(watched_fd); }
    void on_ready(io::Completion&& done) { owner.on_socket_ready(*this, std::move(done)); }

    State& owner;
    const ares_socket_t fd;
    const int watched_fd;
    uint32_t events = 0;  // what c-ares waits for; 0: it has closed its descriptor
    io::OpOf<Socket, &Socket::on_ready> poll{*this};
    std::list<Socket>::iterator place;
  };

  // A host that is wanted.
  struct Host {
    bool is_asking = false;
    Instant ask_at;  // when not asking
    Backoff backoff;
  };

  // What a query in c-ares's hands refers to. Owned by the query: deleted by its answer.
  struct Query {
    State& owner;
    std::string host;
  };

  static void on_socket_state(void* data, ares_socket_t fd, int readable, int writable);
  static void on_answer(void* data, int status, int timeouts, ares_addrinfo* answer);
  void on_socket_ready(Socket& socket, io::Completion&& done);
  void watch_socket(ares_socket_t fd, uint32_t events);
  void go_on(Socket& socket);
  void ask(const std::string& name, Host& host);
  void keep(const std::string& name, int status, const ares_addrinfo* answer);
  void on_clock();
  void arm_clock();
  void tell();
  void publish(const std::string& name, HostAddresses addresses);

  io::Loop& loop_;
  ResolverSink& sink_;
  const ResolverOptions options_;
  ares_channel channel_ = nullptr;
  std::list<Socket> sockets_;
  std::map<std::string, Host> wanted_;
  std::map<std::string, HostAddresses> known_;
  std::set<std::string> changed_;  // the sink has to be told
  io::TimerOf<State, &State::on_clock> clock_{*this};
  io::DeferredOf<State, &State::tell> tell_{*this};
};

Result<> Resolver::State::start() {
  ares_options options{};
  options.timeout = static_cast<int>(options_.query_timeout.to_milliseconds());
  options.tries = options_.tries;
  char lookups[] = "fb";  // the hosts file, then DNS
  options.lookups = lookups;
  std::string resolv_conf = options_.resolv_conf;
  options.resolvconf_path = resolv_conf.data();
  options.sock_state_cb = &on_socket_state;
  options.sock_state_cb_data = this;
  const int failure = ares_init_options(&channel_, &options,
                                        ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
                                            ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF);
  if (failure != ARES_SUCCESS) {
    channel_ = nullptr;
    return Error::internal(std::string("start of c-ares: ") + ares_strerror(failure));
  }
  if (options_.servers.empty()) return {};
  std::string servers;
  for (const std::string& server : options_.servers) {
    servers += (servers.empty() ? "" : ",") + server;
  }
  if (const int refused = ares_set_servers_ports_csv(channel_, servers.c_str());
      refused != ARES_SUCCESS) {
    ares_destroy(std::exchange(channel_, nullptr));
    return Error::config("DNS servers " + servers + ": " + ares_strerror(refused));
  }
  return {};
}

void Resolver::State::watch(const std::set<std::string>& hosts) {
  std::erase_if(wanted_, [&](const auto& entry) { return !hosts.contains(entry.first); });
  std::erase_if(known_, [&](const auto& entry) { return !hosts.contains(entry.first); });
  for (const std::string& name : hosts) {
    if (wanted_.contains(name)) continue;
    if (const auto numeric = io::Address::parse(name, 0)) {
      if (!known_.contains(name)) publish(name, {{numeric->host()}, {}});
      continue;
    }
    const Backoff backoff(options_.retry_first, options_.retry_max);
    Host& host = wanted_.try_emplace(name, Host{.ask_at = {}, .backoff = backoff}).first->second;
    known_[name];
    ask(name, host);
  }
  arm_clock();
}

void Resolver::State::ask(const std::string& name, Host& host) {
  ASSERT(!host.is_asking);
  host.is_asking = true;
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_flags = ARES_AI_NOSORT;
  // The answer may come from inside this call (hosts file): keep() copes with that.
  ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, &on_answer, new Query{*this, name});
}

void Resolver::State::on_answer(void* data, int status, int, ares_addrinfo* answer) {
  const std::unique_ptr<Query> query(static_cast<Query*>(data));
  // The channel is being destroyed: nobody waits for this answer.
  if (status != ARES_EDESTRUCTION && status != ARES_ECANCELLED) {
    query->owner.keep(query->host, status, answer);
  }
  if (answer) ares_freeaddrinfo(answer);
}

void Resolver::State::keep(const std::string& name, int status, const ares_addrinfo* answer) {
  const auto wanted = wanted_.find(name);
  if (wanted == wanted_.end() || !wanted->second.is_asking) return;  // forgotten meanwhile
  Host& host = wanted->second;
  host.is_asking = false;
  HostAddresses now = known_[name];
  std::vector<std::string> addresses;
  if (status == ARES_SUCCESS && answer) addresses = sorted_addresses(*answer);
  if (!addresses.empty()) {
    now = {std::move(addresses), {}};
    host.ask_at = loop_.now() + std::clamp(ttl_of(*answer), options_.ttl_min, options_.ttl_max);
    host.backoff.reset();
  } else {
    now.error = status == ARES_SUCCESS ? "has no address" : ares_strerror(status);
    host.ask_at = loop_.now() + host.backoff.next();
  }
  publish(name, std::move(now));
  arm_clock();
}

void Resolver::State::publish(const std::string& name, HostAddresses addresses) {
  HostAddresses& known = known_[name];
  if (known == addresses) return;
  known = std::move(addresses);
  changed_.insert(name);
  loop_.defer(tell_);
}

void Resolver::State::tell() {
  const std::set<std::string> changed = std::exchange(changed_, {});
  for (const std::string& name : changed) {
    const auto known = known_.find(name);
    if (known == known_.end()) continue;
    const HostAddresses copy = known->second;
    sink_.on_host_resolved(name, copy);  // may call watch()
  }
}

// The next of: a host to ask again, a try of c-ares that ends.
void Resolver::State::arm_clock() {
  if (!channel_) return;
  Instant next = Instant::never();
  for (const auto& [name, host] : wanted_) {
    if (!host.is_asking) next = std::min(next, host.ask_at);
  }
  timeval storage{};
  if (const timeval* wait = ares_timeout(channel_, nullptr, &storage)) {
    const Duration left = Duration::seconds(wait->tv_sec) + Duration::microseconds(wait->tv_usec);
    next = std::min(next, loop_.now() + left);
  }
  if (next == Instant::never()) loop_.timers().cancel(clock_);
  else loop_.timers().arm(clock_, next);
}

void Resolver::State::on_clock() {
  ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  for (auto& [name, host] : wanted_) {
    if (!host.is_asking && host.ask_at <= loop_.now()) ask(name, host);
  }
  arm_clock();
}

void Resolver::State::on_socket_state(void* data, ares_socket_t fd, int readable, int writable) {
  const uint32_t events = (readable ? POLLIN : 0u) | (writable ? POLLOUT : 0u);
  static_cast<State*>(data)->watch_socket(fd, events);
}

void Resolver::State::watch_socket(ares_socket_t fd, uint32_t events) {
  const auto found = std::find_if(sockets_.begin(), sockets_.end(), [fd](const Socket& socket) {
    return socket.fd == fd && socket.events != 0;
  });
  if (found != sockets_.end()) {
    if (found->events == events) return;
    found->events = events;
    if (found->poll.is_idle()) return;  // on_socket_ready() is on its way and goes on with it
    return loop_.cancel(found->poll);
  }
  if (events == 0) return;
  const int duplicate = ::dup(fd);
  if (duplicate < 0) return;  // the try times out
  Socket& socket = sockets_.emplace_back(*this, fd, duplicate);
  socket.place = std::prev(sockets_.end());
  socket.events = events;
  loop_.poll(socket.poll, io::Fd(duplicate), events);
}

void Resolver::State::on_socket_ready(Socket& socket, io::Completion&& done) {
  if (!done.failed() && socket.events != 0) {
    const auto ready = static_cast<uint32_t>(done.result);
    const bool is_readable = (ready & ~uint32_t{POLLOUT}) != 0;  // errors are read too
    ares_process_fd(channel_, is_readable ? socket.fd : ARES_SOCKET_BAD,
                    (ready & POLLOUT) ? socket.fd : ARES_SOCKET_BAD);
    arm_clock();
  } else if (done.failed() && !done.is_cancelled()) {
    LOG_WARNING("cannot wait for a DNS answer", "error", -done.result);
    socket.events = 0;
  }
  go_on(socket);  // last: may end the socket
}

void Resolver::State::go_on(Socket& socket) {
  if (socket.events != 0) return loop_.poll(socket.poll, io::Fd(socket.watched_fd), socket.events);
  sockets_.erase(socket.place);
}

void Resolver::State::stop() {
  wanted_.clear();
  known_.clear();
  changed_.clear();
  tell_.unlink();
  clock_.unlink();
  if (channel_) ares_destroy(std::exchange(channel_, nullptr));  // closes its sockets
  for (Socket& socket : sockets_) {
    socket.events = 0;
    if (!socket.poll.is_idle()) loop_.cancel(socket.poll);
  }
}

Result<std::unique_ptr<Resolver>> Resolver::make(io::Loop& loop, ResolverSink& sink,
                                                 const ResolverOptions& options) {
  auto state = std::make_unique<State>(loop, sink, options);
  TRY(state->start());
  return std::unique_ptr<Resolver>(new Resolver(std::move(state)));
}

Resolver::Resolver(std::unique_ptr<State> state) : state_(std::move(state)) {}
Resolver::~Resolver() = default;
void Resolver::watch(const std::set<std::string>& hosts) { state_->watch(hosts); }
const std::map<std::string, HostAddresses>& Resolver::hosts() const { return state_->hosts(); }
void Resolver::stop() { state_->stop(); }
bool Resolver::is_idle() const { return state_->is_idle(); }

std::vector<std::string> resolve_blocking(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  std::vector<std::string> addresses;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return addresses;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    addresses.push_back(io::Address::from_sockaddr(at->ai_addr, at->ai_addrlen).host());
  }
  freeaddrinfo(found);
  return addresses;
}

}  // namespace istmo::control
