#include "dataplane/proxy/link_dialer.h"

#include <algorithm>

#include "base/log.h"
#include "dataplane/proxy/link.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {
namespace {

struct Place {
  io::Address address;
  std::string host;
};

std::vector<Place> places_of(const LinkConfig& config) {
  std::vector<Place> places;
  for (const auto& target : config.targets) {
    for (const auto& address : target.addresses) places.push_back({address, target.host});
  }
  return places;
}

bool same(const Credentials& a, const Credentials& b) {
  return a.certificate == b.certificate && a.private_key == b.private_key && a.ca == b.ca;
}

}  // namespace

LinkDialer::LinkDialer(Worker& worker, const LinkConfig& config, uint32_t connection)
    : worker_(worker), config_(config), connection_(connection) {}

LinkDialer::~LinkDialer() { ASSERT(attempts_.empty() && !link_); }

bool LinkDialer::is_open() const { return link_ && link_->is_open(); }

void LinkDialer::update(const LinkConfig& config) {
  const bool cost_changed = config.cost != config_.cost;
  if (!same(config.credentials, config_.credentials)) context_.reset();
  config_ = config;
  if (cost_changed && link_) return link_->close("", "the link's cost changed");
  if (!link_ && attempts_.empty()) {  // waiting: what was wrong may be right now
    network_failures_ = site_failures_ = 0;
    attempt();
  }
}

void LinkDialer::retire() {
  if (is_retired_) return;
  is_retired_ = true;
  worker_.loop().timers().cancel(timer_);
  cancel_attempts();
  if (link_) link_->close("", "link deleted");
}

void LinkDialer::let_go() {
  if (is_retired_) return;
  link_ = nullptr;
  network_failures_ = site_failures_ = 0;
  attempt();
}

void LinkDialer::attempt() {
  if (is_retired_ || link_) return;
  const Instant now = worker_.loop().now();
  for (auto& other : attempts_) {
    if (now - other->started >= kAttemptTimeout) worker_.loop().cancel(other->connect_op);
  }
  const auto places = places_of(config_);
  if (places.empty()) return fail("no address is known for the link's host");
  if (attempts_.size() < kAttemptsMax) {
    const Place& place = places[next_target_++ % places.size()];
    auto& added =
        attempts_.emplace_back(std::make_unique<Attempt>(*this, place.address, place.host));
    added->started = now;
    worker_.loop().connect(
        added->connect_op, place.address,
        {.keepalive = Duration::seconds(10), .notsent_lowat_bytes = Worker::kLinkNotSentBytes});
  }
  worker_.loop().timers().arm(timer_, now + kAttemptInterval);
}

void LinkDialer::on_connected(Attempt& attempt, io::Completion&& done) {
  const bool is_useful = !done.failed() && !is_retired_ && !link_;
  if (is_useful) {
    start_link(attempt, done.fd);
  } else if (!done.failed()) {
    worker_.loop().close(done.fd, io::Loop::Ending::abort);
  }
  std::string error;
  if (done.failed() && !done.is_cancelled()) {
    error = Error::from_errno(-done.result, "connect " + attempt.address.to_string()).text();
  } else if (done.is_cancelled()) {
    error = "connect " + attempt.address.to_string() + ": no answer";
  }
  std::erase_if(attempts_, [&](const auto& other) { return other.get() == &attempt; });
  if (is_useful) return;
  if (is_retired_) return worker_.schedule_sweep();
  if (!done.failed() || link_) return;
  fail(std::move(error));
}

void LinkDialer::start_link(Attempt& attempt, io::Fd fd) {
  worker_.loop().timers().cancel(timer_);
  cancel_attempts();
  network_failures_ = 0;
  if (!context_) {
    auto context = worker_.make_tls_context(transport::TlsRole::client, config_.credentials);
    if (!context) {
      worker_.loop().close(fd, io::Loop::Ending::orderly);
      return fail("credentials: " + context.error().text());
    }
    context_.emplace(std::move(*context));
  }
  LinkOptions options{.name = config_.name, .remote_address = attempt.address.to_string()};
  options.mux = worker_.mux_options(codec::LinkRole::dialer);
  options.mux.hostname = attempt.host;
  options.mux.connection = connection_;
  options.mux.cost = config_.cost;
  options.tls.alpn = {"amqp", "istmo-" + std::to_string(connection_)};
  options.tls.expected_names = {attempt.host};
  // A name, so that who passes TLS on unopened knows where to (RFC 6066 3: never an address).
  if (!io::Address::is_numeric(attempt.host)) options.tls.server_name = attempt.host;
  options.is_sibling = config_.is_sibling;
  link_ = &worker_.emplace_link(fd, *context_, std::move(options));
  link_->start();
}

void LinkDialer::on_link_ended(std::optional<Duration> open_time, const std::string& error) {
  link_ = nullptr;
  if (is_retired_) return worker_.schedule_sweep();
  if (!open_time) return fail(error);
  error_ = error;
  site_failures_ = *open_time >= kSettledTime ? 0 : site_failures_ + 1;
  back_off(site_failures_, kBackoffSite);
}

void LinkDialer::fail(std::string error) {
  if (error != error_) {
    LOG_WARNING("link not connected", "link", config_.name, "connection", connection_, "reason",
                error);
    error_ = std::move(error);
    worker_.on_dialer_changed(*this);
  }
  if (error_.starts_with("connect ")) back_off(++network_failures_, kBackoffNetwork);
  else back_off(++site_failures_, kBackoffSite);
}

// The first retry is at once; then 50 ms, 100 ms ... with up to a quarter off by chance, so that
// many sites do not come back in step.
void LinkDialer::back_off(uint32_t failures, Duration longest) {
  Duration delay{};
  if (failures > 1) {
    const auto doublings = std::min<uint32_t>(failures - 2, 16);
    delay = std::min(kBackoffFirst * (int64_t{1} << doublings), longest);
    delay = delay - Duration{static_cast<int64_t>(
                        worker_.rng().below(static_cast<uint64_t>(delay.ns / 4) + 1))};
  }
  worker_.loop().timers().arm(timer_, worker_.loop().now() + delay);
}

void LinkDialer::cancel_attempts() {
  for (auto& attempt : attempts_) worker_.loop().cancel(attempt->connect_op);
}

LinkChange LinkDialer::change() const {
  if (link_) return link_->change();
  LinkChange change;
  change.link = config_.name;
  change.connection = connection_;
  change.cost = config_.cost;
  change.error = error_;
  return change;
}

}  // namespace istmo::proxy
