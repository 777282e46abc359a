#include "dataplane/proxy/tunnel.h"

#include <algorithm>

#include "base/log.h"
#include "dataplane/proxy/backend.h"
#include "dataplane/proxy/link.h"
#include "dataplane/proxy/listener.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {
namespace {

// The same octets once more, without a copy.
io::Chain share(const io::Chain& chain) {
  io::Chain shared;
  for (uint32_t i = 0; i < chain.slice_count(); ++i) {
    shared.append(chain.slice(i).share(0, chain.slice(i).size()));
  }
  return shared;
}

// For news of what other sites reach, which come at most 20 times a second from each on the way.
constexpr Duration kNewsPatience = Duration::milliseconds(500);

// How many other sites are asked for an exchange, all of its keys together. Each one that it goes
// through asks fewer than the one before, so that tables which are not true any more cost a few
// attempts and not one for each path there is.
uint32_t links_tried_max(const Passage& passage) {
  switch (passage.sites.size()) {
    case 0: return UINT32_MAX;
    case 1: return 4;
    case 2: return 2;
    default: return 1;
  }
}

// Whether a site that ends a stream for this reason, before it answered, reached no backend.
bool is_refusal(CloseReason reason) {
  return reason == CloseReason::connect_refused || reason == CloseReason::connect_timeout ||
         reason == CloseReason::no_route || reason == CloseReason::connections_limit ||
         reason == CloseReason::local_limit;
}

CloseReason reason_of_failed_connect(const io::Completion& done) {
  if (done.is_cancelled() || done.result == -ETIMEDOUT) return CloseReason::connect_timeout;
  return is_local_limit(-done.result) ? CloseReason::local_limit : CloseReason::connect_refused;
}

// Of two limits, none of which need be set (zero).
Duration stricter(Duration a, Duration b) {
  if (a == Duration{} || b == Duration{}) return std::max(a, b);
  return std::min(a, b);
}

}  // namespace

Tunnel::Tunnel(Worker& worker, Listener* listener, std::vector<std::string> keys, Passage passage,
               const TcpSettings& settings)
    : worker_(worker),
      listener_(listener),
      passage_(std::move(passage)),
      started_(worker.loop().now()),
      last_activity_(started_),
      last_progress_(started_),
      route_deadline_(started_ + settings.connect_timeout),
      settings_(settings),
      keys_(std::move(keys)) {
  ASSERT(!keys_.empty());
  if (listener_) listener_->add(*this);
}

Tunnel::~Tunnel() { ASSERT(!client_ && !server_ && !backend_); }

void Tunnel::start(Stream& client) {
  client_ = &client;
  route();
}

void Tunnel::transition(State next) {
  ASSERT(state_ != State::closing);
  ASSERT(state_ != State::open || next == State::closing);
  state_ = next;
}

// --- finding a server ------------------------------------------------------------------------

void Tunnel::route() {
  if (state_ == State::closing || state_ == State::open) return;
  ASSERT(!server_ && !backend_);
  ListNode<TunnelsWaiting>::unlink();
  const Route route = worker_.route(*this, tried_);
  key_ = route.key;
  switch (route.kind) {
    case Route::Kind::backend: transition(State::opening); return connect_backend(*route.backend);
    case Route::Kind::link: transition(State::opening); return open_link_stream(*route.link);
    case Route::Kind::wait: return wait(route_deadline_);
    case Route::Kind::none: break;
  }
  if (!may_hear_news()) return end(attempt_reason_);
  has_waited_for_news_ = true;
  wait(std::min(route_deadline_, worker_.loop().now() + kNewsPatience));
}

// Whoever failed before may do better then.
void Tunnel::wait(Instant deadline) {
  transition(State::routing);
  tried_.clear();
  worker_.add_waiting(*this);
  worker_.loop().timers().arm(timer_, deadline);
}

// Another site has no way any more, and this one was not told yet, or has not applied it.
bool Tunnel::may_hear_news() const {
  return passage_.may_wait() && links_tried_ > 0 && !has_waited_for_news_ &&
         attempt_reason_ == CloseReason::no_route;
}

void Tunnel::connect_backend(Backend& backend) {
  backend_ = &backend;
  backend.add(*this);
  const TcpSettings& settings = backend.settings();
  if (first_connect_at_ == Instant::never()) first_connect_at_ = worker_.loop().now();
  route_deadline_ = first_connect_at_ + settings.connect_timeout;
  worker_.loop().connect(connect_op_, backend.address(), {.keepalive = settings.keepalive});
  arm_attempt_timer();
}

void Tunnel::on_connected(io::Completion&& done) {
  if (state_ == State::closing) {
    if (!done.failed()) worker_.loop().close(done.fd, io::Loop::Ending::abort);
    return release_if_done();
  }
  ASSERT(backend_ && state_ == State::opening);
  if (done.failed()) {
    backend_->on_failed(-done.result);
    tried_.push_back({backend_->id(), key_});
    leave_backend();
    return attempt_failed(reason_of_failed_connect(done));
  }
  backend_->on_connected();
  const TcpSettings& theirs = backend_->settings();
  settings_.idle_timeout = stricter(settings_.idle_timeout, theirs.idle_timeout);
  settings_.half_close_timeout = stricter(settings_.half_close_timeout, theirs.half_close_timeout);
  auto& stream = worker_.emplace_tcp_stream(done.fd, *this);
  server_ = &stream;
  stream.start();
  send_early();
  open();
}

void Tunnel::open_link_stream(Link& link) {
  if (++links_tried_ >= links_tried_max(passage_)) passage_.reach = Reach::local;  // the last one
  server_ = link.open_stream(*this, keys_[key_], passage_.sites);
  if (!server_) {
    tried_.push_back({link.id(), key_});
    return attempt_failed(CloseReason::link_lost);
  }
  tried_.push_back({link.id(), key_});  // counts when this attempt fails
  send_early();
  arm_attempt_timer();
}

// Everything that the client sent so far, kept until somebody has answered.
void Tunnel::send_early() {
  early_drained_ = 0;
  if (!early_.empty()) server_->send(share(early_));
  if (to_server_.has_ended) server_->finish();
}

void Tunnel::attempt_failed(CloseReason reason) {
  ASSERT(client_);  // without a client the tunnel is closing
  attempt_reason_ = reason;
  if (worker_.loop().now() >= route_deadline_) return end(reason);
  route();
}

// What left on a link may have reached a server although no answer came: to send it to another one
// could do twice what the client asked for once.
void Tunnel::link_attempt_failed(CloseReason reason) {
  if (early_drained_ == 0 && reason == CloseReason::client_reset) {
    reason = CloseReason::no_route;  // the attach was refused
  }
  // Over another link with the same process the answer would be the same.
  if (is_refusal(reason)) worker_.add_links_alike(tried_);
  if (reason == CloseReason::client_reset) reason = CloseReason::server_reset;
  const bool is_unsent = early_drained_ == 0 && reason != CloseReason::server_reset;
  if (is_unsent || is_refusal(reason)) return attempt_failed(reason);
  end(reason);
}

void Tunnel::leave_backend() {
  if (!backend_) return;
  ListNode<TunnelsOfBackend>::unlink();
  backend_->leave();
  backend_ = nullptr;
}

void Tunnel::on_stream_open(Stream& stream) {
  ASSERT(&stream == server_);
  if (state_ == State::opening) open();
}

void Tunnel::open() {
  transition(State::open);
  early_.clear();
  tried_ = {};
  last_activity_ = worker_.loop().now();
  arm_open_timer();
  client_->accept();
  if (early_drained_ == 0) return;
  drop_buffered(to_server_, early_drained_);
  grant(to_server_, client_);
}

// --- passing octets --------------------------------------------------------------------------

void Tunnel::on_stream_data(Stream& stream, io::Chain&& bytes) {
  Direction& direction = is_client(stream) ? to_server_ : to_client_;
  const uint64_t count = bytes.size();
  direction.bytes += count;
  last_activity_ = worker_.loop().now();
  if (state_ == State::closing) return;
  add_buffered(direction, count);
  if (is_client(stream)) {
    if (state_ != State::open) early_.append_compacted(share(bytes));
    if (server_) server_->send(std::move(bytes));
  } else if (client_) {
    client_->send(std::move(bytes));
  }
}

void Tunnel::on_stream_end(Stream& stream) {
  Direction& direction = is_client(stream) ? to_server_ : to_client_;
  direction.has_ended = true;
  if (state_ == State::closing) return;
  if (state_ == State::open) arm_open_timer();
  Stream* other = is_client(stream) ? server_ : client_;
  if (other) other->finish();
}

void Tunnel::on_stream_drained(Stream& stream, uint64_t count) {
  if (state_ == State::closing) return;
  last_activity_ = last_progress_ = worker_.loop().now();
  if (is_client(stream)) {
    drop_buffered(to_client_, count);
    return grant(to_client_, server_);
  }
  if (state_ != State::open) {  // the attempt may fail: the octets are kept, and not granted yet
    early_drained_ += count;
    return;
  }
  drop_buffered(to_server_, count);
  grant(to_server_, client_);
}

void Tunnel::add_buffered(Direction& direction, uint64_t count) {
  if (buffered_bytes() == 0) last_progress_ = last_activity_;
  direction.buffered += count;
  worker_.memory().add(count);
}

void Tunnel::drop_buffered(Direction& direction, uint64_t count) {
  ASSERT(direction.buffered >= count);
  direction.buffered -= count;
  direction.withheld += count;
  worker_.memory().drop(count);
}

// What is withheld comes with a later drain: who holds nothing always gets its share.
void Tunnel::grant(Direction& direction, Stream* source) {
  if (!source) return;
  uint64_t count = direction.withheld;
  if (worker_.memory().is_tight()) {
    const auto share = static_cast<int64_t>(worker_.memory().share_bytes());
    const auto held = static_cast<int64_t>(direction.buffered) + source->credit_bytes();
    count = std::min(count, static_cast<uint64_t>(std::max<int64_t>(share - held, 0)));
  }
  if (count == 0) return;
  direction.withheld -= count;
  source->grant(count);
}

// --- ending ----------------------------------------------------------------------------------

void Tunnel::on_stream_closed(Stream& stream, CloseReason reason) {
  const bool was_client = is_client(stream);
  (was_client ? client_ : server_) = nullptr;
  if (state_ == State::closing) return release_if_done();
  // That a process ends is for it to say: whoever hears it from here would take this one for it.
  if (reason == CloseReason::shutdown && is_between_links()) {
    reason = was_client ? CloseReason::client_reset : CloseReason::link_lost;
  }
  if (!was_client && state_ == State::opening) {
    ASSERT(!backend_);  // a link stream: a backend's stream is open from its first moment
    return link_attempt_failed(reason);
  }
  if (!was_client && reason == CloseReason::client_reset) reason = CloseReason::server_reset;
  if (reason != CloseReason::finished) return end(reason);
  if (client_ || server_) return;  // the other one ends by itself: both directions have ended
  transition(State::closing);
  release_if_done();
}

void Tunnel::end(CloseReason reason) {
  if (state_ == State::closing) return;
  close_reason_ = reason;
  transition(State::closing);
  ListNode<TunnelsWaiting>::unlink();
  worker_.loop().timers().cancel(timer_);
  worker_.loop().cancel(connect_op_);
  if (client_) client_->reset(reason);
  if (server_) server_->reset(reason);
  // Both have let go of what they had. A neighbour may take its time to say that it is done.
  early_.clear();
  drop_buffered(to_server_, to_server_.buffered);
  drop_buffered(to_client_, to_client_.buffered);
  release_if_done();
}

void Tunnel::release_if_done() {
  if (client_ || server_ || !connect_op_.is_idle()) return;
  worker_.loop().timers().cancel(timer_);
  ASSERT(buffered_bytes() == 0);
  LOG_DEBUG("exchange ended", "id", id_, "key", keys_[key_], "server",
            backend_ ? backend_->title() : std::string(), "reason", to_string(close_reason_),
            "bytes_in", to_server_.bytes, "bytes_out", to_client_.bytes);
  if (backend_) backend_->count(to_server_.bytes, to_client_.bytes);
  leave_backend();
  worker_.count_closed(close_reason_, to_server_.bytes, to_client_.bytes);
  if (listener_) {
    ListNode<TunnelsOfListener>::unlink();
    listener_->leave(to_server_.bytes, to_client_.bytes);
  }
  worker_.release(*this);  // last: destroys us
}

// --- time ------------------------------------------------------------------------------------

// While others are left to try, one silent candidate may use half of the time that is left.
void Tunnel::arm_attempt_timer() {
  // The site of the client has a deadline: to end before it, and try elsewhere, is its business.
  if (is_between_links()) return worker_.loop().timers().cancel(timer_);
  const Instant now = worker_.loop().now();
  Instant deadline = route_deadline_;
  if (backend_ && worker_.has_alternative(*this, tried_)) {
    deadline = now + (route_deadline_ - now) / 2;
  }
  worker_.loop().timers().arm(timer_, deadline);
}

void Tunnel::arm_open_timer() {
  const bool is_half_closed = to_server_.has_ended || to_client_.has_ended;
  const Duration limit = is_half_closed ? settings_.half_close_timeout : settings_.idle_timeout;
  if (limit == Duration{}) return worker_.loop().timers().cancel(timer_);
  worker_.loop().timers().arm(timer_, last_activity_ + limit);
}

void Tunnel::on_timer() {
  const Instant now = worker_.loop().now();
  switch (state_) {
    case State::routing:
      if (now < route_deadline_) return route();  // news may have come before what made it wait
      return end(attempt_reason_ == CloseReason::no_route ? CloseReason::connect_timeout
                                                          : attempt_reason_);
    case State::opening:
      if (backend_) return worker_.loop().cancel(connect_op_);  // on_connected tries elsewhere
      // A link that is dead but not yet known to be would answer a reset of its stream too late.
      return end(CloseReason::connect_timeout);
    case State::open: {
      const bool is_half_closed = to_server_.has_ended || to_client_.has_ended;
      const Duration limit = is_half_closed ? settings_.half_close_timeout : settings_.idle_timeout;
      if (now < last_activity_ + limit) return arm_open_timer();
      return end(is_half_closed ? CloseReason::half_close_timeout : CloseReason::idle_timeout);
    }
    case State::closing: return;
  }
}

ConnectionReport Tunnel::report() const {
  ConnectionReport report;
  report.id = id_;
  report.routing_key = keys_[key_];
  if (listener_) report.listener = listener_->name();
  report.connector = backend_ ? backend_->connector() : server_ ? "link" : "";
  if (client_) report.client_address = client_->remote_name();
  if (backend_) report.server_address = backend_->title();
  else if (server_) report.server_address = server_->remote_name();
  report.bytes_in = to_server_.bytes;
  report.bytes_out = to_client_.bytes;
  report.age = worker_.loop().now() - started_;
  return report;
}

}  // namespace istmo::proxy
