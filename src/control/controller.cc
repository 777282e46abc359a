#include "control/controller.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "control/compile.h"
#include "control/ingress_hosts.h"

namespace istmo::control {

namespace {

constexpr Duration kCertificateCheck = Duration::seconds(6 * 3600);
constexpr Duration kSiblingPatience = Duration::seconds(10);
constexpr Duration kBackendPatience = Duration::seconds(2);
constexpr Duration kTryAgain = Duration::seconds(1);
constexpr Duration kEndPatience = Duration::seconds(2);

bool run_the_same(const proxy::Snapshot& a, const proxy::Snapshot& b) {
  return a.limits == b.limits && a.site_id == b.site_id && a.site_name == b.site_name &&
         a.listeners == b.listeners && a.connectors == b.connectors && a.links == b.links &&
         a.acceptors == b.acceptors && a.remote_services == b.remote_services &&
         a.allows_transit == b.allows_transit && a.listener_documents == b.listener_documents &&
         a.connector_documents == b.connector_documents && a.awaited_keys == b.awaited_keys;
}

std::string site_name_of(const Desired& desired, const std::string& namespace_name) {
  return desired.site() == nullptr ? namespace_name : desired.site()->name();
}

struct StateWritten final : DurableWait {
  void on_durable(const Result<>& result) override {
    is_told = true;
    const bool is_taken = !result && result.error().error_class() == ErrorClass::taken;
    if (is_taken) LOG_INFO("another process of the site was faster: its CA is used");
    else if (!result)
      LOG_ERROR("what the site must remember may be lost", "error", result.error().text());
  }
  bool is_told = false;
};

}  // namespace

Controller::Controller(io::Loop& loop, ControllerOptions options)
    : loop_(loop), options_(std::move(options)), admin_(loop, *this), health_(loop, *this) {}

Controller::~Controller() = default;

Result<> Controller::run() {
  const Result<> started = start();
  if (started && phase_ != Phase::ended) loop_.run();
  stop();
  return started;
}

Result<> Controller::start() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT}) sigaddset(&signals, number);
  signals_ = io::Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  loop_.poll(signal_op_, signals_, POLLIN);
  // First, so that probes are answered while documents are awaited.
  if (options_.health) TRY(health_.open(*options_.health));

  resolver_ = TRY(Resolver::make(loop_, *this, {}));
  PlatformSink& platform_sink = *this;
  platform_ = TRY(options_.platform(loop_, platform_sink));
  platform_->start();
  TRY(open_state());
  if (phase_ == Phase::ended) return {};  // told to
  observed_.site = {.id = state_->site_id(),
                    .name = site_name_of(desired_, options_.namespace_name),
                    .namespace_name = options_.namespace_name,
                    .platform = std::string(platform_->name()),
                    .version = ISTMO_VERSION};
  observed_.service_host = options_.service_host;
  observed_.generation = 0;
  if (options_.ingress_hosts.empty()) options_.ingress_hosts = default_ingress_hosts();
  mesh_ = std::make_unique<MeshState>(state_->site_id());
  siblings_.emplace(state_->site_id());
  SiteAccessSink& access_sink = *this;
  access_ = std::make_unique<SiteAccess>(
      loop_, *state_, access_sink,
      SiteAccessOptions{.ingress_hosts = options_.ingress_hosts, .key_log = options_.key_log});
  renewal_ = std::make_unique<CertificateRenewal>(*state_);
  certificates_ = std::make_unique<CertificateIssuer>(*state_);
  TokenRedemptionSink& token_sink = *this;
  tokens_ = std::make_unique<TokenRedemption>(loop_, *state_, token_sink, options_.key_log);
  DataplaneSink& dataplane_sink = *this;
  replica_ = random_uuid().substr(0, 13);
  dataplane_ = TRY(Dataplane::start({.workers = options_.workers,
                                     .replica = replica_,
                                     .loop = options_.loop,
                                     .loop_options = {},
                                     .key_log = options_.key_log},
                                    loop_, dataplane_sink));
  TRY(admin_.listen(options_.admin));
  next_certificate_check_ = loop_.now() + kCertificateCheck;
  store_.apply(platform_->source().state());  // what came since the state was opened
  siblings_awaited_until_ = loop_.now() + kSiblingPatience;
  first_word_at_ = loop_.now() + kBackendPatience;
  mark_dirty();
  LOG_INFO("site started", "site", observed_.site.name, "id", state_->site_id(), "replica",
           replica_, "namespace", options_.namespace_name, "workers", options_.workers, "io",
           options_.loop.reason);
  return {};
}

bool Controller::wait_for(const std::function<bool()>& condition) {
  loop_.run_until([&] { return phase_ == Phase::ended || condition(); });
  return phase_ != Phase::ended;
}

// The site's own name and id stand in its documents. A CA that this process made is used when no
// other one was faster.
Result<> Controller::open_state() {
  StateStore* store = platform_->state_store();
  if (!wait_for([&] {
        return platform_->source().is_complete() && (store == nullptr || store->is_ready());
      })) {
    return {};
  }
  store_.apply(platform_->source().state());
  if (store && platform_->site_id(store_.desired()).empty()) {
    // Who the site is follows from where its document stands: nothing may be made before.
    LOG_WARNING("there is no Site document in the namespace: waiting for one");
    if (!wait_for([&] {
          store_.apply(platform_->source().state());
          return !platform_->site_id(store_.desired()).empty();
        })) {
      return {};
    }
  }
  desired_ = store_.desired();
  const SiteDocument* site = desired_.site();
  const std::string given = platform_->site_id(desired_);
  const std::string own = site != nullptr ? site->metadata.uid : std::string();
  if (store) store->set_sink(*this);
  state_.emplace(TRY(SiteState::open({.runtime = options_.state,
                                      .site_name = site_name_of(desired_, options_.namespace_name),
                                      .site_id = is_uuid(own) ? own : given,
                                      .store = store},
                                     wall_now())));
  StateWritten written;
  state_->when_durable(written);
  wait_for([&] { return written.is_told; });
  return {};
}

// Everything lets go of the loop; turns are run until it has. The data plane ends its threads.
void Controller::stop() {
  phase_ = Phase::ended;
  loop_.timers().cancel(timer_);
  loop_.timers().cancel(drain_timer_);
  loop_.timers().cancel(status_timer_);
  refresh_.unlink();
  if (platform_) platform_->stop();
  admin_.stop();
  health_.close();
  if (resolver_) resolver_->stop();
  if (access_) access_->close();
  if (tokens_) tokens_->cancel();
  if (!signal_op_.is_idle()) loop_.cancel(signal_op_);
  if (dataplane_) dataplane_->stop();
  const Instant deadline = monotonic_now() + kEndPatience;
  while (!is_idle() && monotonic_now() < deadline) loop_.run_turn(Duration::milliseconds(20));
  refresh_.unlink();
  if (!is_idle()) {
    // A client that does not let go (of a grant, of the resolver): the process ends anyway.
    LOG_WARNING("the site ends with work unfinished");
    ::_exit(0);
  }
  if (signals_.is_open()) loop_.close(signals_, io::Loop::Ending::orderly);
}

bool Controller::is_idle() const {
  return signal_op_.is_idle() && (!platform_ || platform_->is_idle()) && admin_.is_idle() &&
         health_.is_idle() && (!resolver_ || resolver_->is_idle()) &&
         (!access_ || access_->is_idle()) && (!tokens_ || tokens_->is_idle());
}

// --- what changes ----------------------------------------------------------------------------

void Controller::on_source_changed(const SourceState& state) {
  if (!dataplane_) return;  // start() reads them
  if (store_.apply(state)) on_news();
}

void Controller::on_surroundings_changed() {
  if (dataplane_) on_news();
}

void Controller::on_record_changed(const std::string& name) {
  if (!state_) return;  // it is read when all is known
  state_->reload(name);
  if (dataplane_) mark_dirty();
}

void Controller::on_host_resolved(const std::string& host, const HostAddresses& addresses) {
  LOG_DEBUG("host resolved", "host", host, "addresses", addresses.addresses.size(), "error",
            addresses.error);
  mark_dirty();
}

void Controller::on_published(uint64_t generation, std::vector<proxy::Problem> problems) {
  bool is_new = false;
  for (proxy::Problem& problem : problems) {
    const bool is_taken = problem.error_class == ErrorClass::taken;
    if (problem.kind == "RouterAccess" && is_taken) {
      problem.text += access_->on_port_refused(problem.name);
    }
    const auto is_same = [&](const proxy::Problem& old) {
      return old.kind == problem.kind && old.name == problem.name && old.text == problem.text;
    };
    if (std::ranges::any_of(observed_.running_problems, is_same)) continue;  // told before
    is_new = true;
    LOG_ERROR("cannot run", "kind", problem.kind, "name", problem.name, "error", problem.text);
  }
  if (is_new || problems.empty()) bind_pace_.reset();
  if (!problems.empty()) bind_pace_.on_failed(loop_.now());
  const bool is_as_hoped =
      problems.empty() && observed_.running_problems.empty() && observed_.published_generation != 0;
  observed_.running_problems = std::move(problems);
  observed_.published_generation = generation;
  if (generation == publishing_) publishing_ = 0;
  if (!is_as_hoped) return mark_dirty();
  // Nothing to compile anew, but what was compiled in the meantime.
  publish_if_changed();
  tell_status();
  arm_timer();
}

void Controller::on_news() {
  news_.on_news();
  if (loop_.now() >= news_.due()) mark_dirty();
  else arm_timer();
}

void Controller::on_backend_changed(const proxy::BackendChange& change) {
  const std::tuple backend(change.connector, change.address, change.worker);
  if (change.is_set_aside) set_aside_[backend] = change.error;
  else set_aside_.erase(backend);
  mark_dirty();
}

void Controller::on_signal(io::Completion&& done) {
  if (phase_ == Phase::ended) return;
  signalfd_siginfo info;
  const bool is_told = !done.failed() && ::read(signals_.number(), &info, sizeof info) > 0;
  loop_.poll(signal_op_, signals_, POLLIN);
  if (is_told) end_soon();
}

// The first call lets connections end, the second does not.
void Controller::end_soon() {
  if (phase_ == Phase::leaving || phase_ == Phase::draining) return loop_.stop();
  if (!dataplane_) {
    phase_ = Phase::ended;  // start() sees it
    return;
  }
  LOG_INFO("site ends", "drain_delay_ms", options_.drain_delay.to_milliseconds(),
           "drain_timeout_ms", options_.drain_timeout.to_milliseconds());
  if (options_.drain_delay == Duration{}) return drain();
  // Whoever sends clients here has to learn first that this site is not ready any more.
  phase_ = Phase::leaving;
  platform_->on_leaving();
  mark_dirty();  // neighbours hear of it
  loop_.timers().arm(drain_timer_, loop_.now() + options_.drain_delay);
}

void Controller::drain() {
  phase_ = Phase::draining;
  platform_->stop();
  dataplane_->drain(options_.drain_timeout);
}

void Controller::on_drained(uint64_t cut) {
  if (cut > 0) {
    LOG_WARNING("connections cut that did not end in time", "connections", cut, "reason",
                to_string(proxy::CloseReason::shutdown));
  }
  loop_.stop();
}

void Controller::on_timer() {
  if (mesh_->tick(loop_.now())) {
    LOG_INFO("a silent site was forgotten");
    news_.on_news();
  }
  if (loop_.now() >= next_certificate_check_) {
    next_certificate_check_ = loop_.now() + kCertificateCheck;
    sibling_credentials_.reset();
    if (const auto rotated = state_->rotate_ca(wall_now()); !rotated) {
      LOG_ERROR("CA of the site not renewed", "error", rotated.error().text());
    }
  }
  mark_dirty();
}

// --- bringing it in line ---------------------------------------------------------------------

void Controller::refresh() {
  if (phase_ == Phase::draining || phase_ == Phase::ended) return;
  const Instant began = monotonic_now();
  refresh_observed();
  tell_of_links();
  compiled_ = compiler_.run(desired_, observed_);
  were_backends_known_ |= compiled_.snapshot->awaited_keys.empty();
  publish_if_changed();
  announce();
  const Instant ended = monotonic_now();
  news_.on_acted(ended, ended - began);
  tell_status();
  arm_timer();
}

void Controller::tell_status() {
  status_pace_.on_news();
  refresh_status_if_due();
}

// Not before the workers have said what they run.
void Controller::refresh_status_if_due() {
  if (publishing_ != 0 || phase_ == Phase::draining || phase_ == Phase::ended) return;
  if (!status_pace_.take(loop_.now())) {
    const Instant due = status_pace_.due();
    if (due != Instant::never()) loop_.timers().arm(status_timer_, due);
    return;
  }
  const Instant began = monotonic_now();
  refresh_status();
  const Instant ended = monotonic_now();
  status_pace_.on_acted(ended, ended - began);
}

void Controller::refresh_observed() {
  desired_ = store_.desired();
  observed_.unread = store_.unread();
  add_documents_of_tokens();
  renewal_->update(desired_, mesh_->sites(), links_.links(), wall_now());
  observed_.site.name = site_name_of(desired_, options_.namespace_name);
  std::set<std::string> names;
  for (const auto& [name, link] : desired_.links) names.insert(name);
  links_.keep_only(names);
  refresh_network();
  observed_.backends_set_aside.clear();
  for (const auto& [backend, error] : set_aside_) {
    observed_.backends_set_aside[std::get<0>(backend)].emplace(std::get<1>(backend), error);
  }
  platform_->observe(desired_, observed_);
  observed_.acts_for_site = platform_->acts_for_site();
  access_->update(desired_, observed_);
  certificates_->update(desired_, observed_, wall_now());
  refresh_sibling_credentials();
  if (access_->has_failed() || certificates_->has_failed()) access_pace_.on_failed(loop_.now());
  else access_pace_.reset();
  std::set<std::string> hosts = hosts_to_resolve(desired_, observed_);
  hosts.merge(tokens_->hosts_to_resolve(desired_));
  resolver_->watch(hosts);
  observed_.hosts = resolver_->hosts();
  if (observed_.acts_for_site && has_heard_siblings()) tokens_->update(desired_, observed_);
}

// What the surroundings have by now is not kept in the state any more, so that deleting it there is
// an end.
void Controller::add_documents_of_tokens() {
  std::vector<Document> all_missing;
  for (const auto& [token, documents] : tokens_->given()) {
    std::vector<Document> missing;
    for (const Document& document : documents) {
      if (!desired_.find(id_of(document))) missing.push_back(document);
    }
    if (platform_->acts_for_site() && platform_->give_documents(desired_, missing) &&
        missing.empty()) {
      if (const auto forgotten = tokens_->forget_documents(token); !forgotten) {
        LOG_WARNING("documents of a token stay in the state", "token", token, "error",
                    forgotten.error().text());
      }
    }
    std::ranges::move(missing, std::back_inserter(all_missing));
  }
  if (platform_->state_store()) return handover_.update(all_missing, desired_, loop_.now());
  for (Document& document : all_missing) desired_.put(std::move(document));
}

// What could not be bound is tried again: publishing is how.
void Controller::publish_if_changed() {
  if (publishing_ != 0) return;  // on_published() comes back here
  static const proxy::Snapshot kNothing;
  const proxy::Snapshot& next = *compiled_.snapshot;
  const proxy::Snapshot& running = running_ ? *running_ : kNothing;
  const bool binds_again = loop_.now() >= bind_pace_.due();
  if (running_ && run_the_same(next, running) && !binds_again) return;
  auto snapshot = std::make_unique<proxy::Snapshot>(next);
  snapshot->generation = ++observed_.generation;
  running_ = std::make_unique<proxy::Snapshot>(*snapshot);
  publishing_ = snapshot->generation;
  dataplane_->publish(std::move(snapshot));
}

void Controller::refresh_status() {
  std::vector<Problem> problems = store_.problems();
  problems.insert(problems.end(), compiled_.problems.begin(), compiled_.problems.end());
  for (Problem& problem : platform_->problems()) problems.push_back(std::move(problem));
  for (const auto& [name, state] : observed_.certificates) {
    const auto document = desired_.certificates.find(name);
    if (state.error.empty() || document == desired_.certificates.end()) continue;
    problems.push_back({.origin = document->second.origin,
                        .object = id_of(document->second),
                        .text = state.error});
  }
  for (const Problem& problem : problems) {
    if (std::ranges::find(told_problems_, problem) != told_problems_.end()) continue;
    const bool is_error = problem.severity == Severity::error;
    if (problem.severity == Severity::waiting) {  // at start, for everything that is read last
      LOG_INFO(problem.to_string());
      continue;
    }
    if (observed_.acts_for_site) {
      platform_->tell(desired_, {.is_warning = is_error,
                                 .reason = is_error ? "DocumentError" : "DocumentWarning",
                                 .text = problem.to_string(),
                                 .file = problem.origin.file});
    }
    if (is_error) LOG_ERROR(problem.to_string());
    else LOG_WARNING(problem.to_string());
  }
  status_ = derive_status(desired_, observed_, compiled_, problems, status_, wall_clock_text());
  told_problems_ = std::move(problems);
  if (has_heard_siblings()) write_status();  // else Services that only they know of would go
  tell_ready();
}

// A full disk is told once; arm_timer() sees to the next try.
void Controller::write_status() {
  auto written = platform_->keep_secrets(certificates_->secrets());
  const auto status = platform_->write_status(desired_, status_, [this] { return overview(); });
  if (written) written = status;
  const std::string error = written ? std::string() : written.error().text();
  if (error == status_error_) return;
  if (!error.empty()) LOG_WARNING("status not written, trying again", "error", error);
  else LOG_INFO("status written again");
  status_error_ = error;
}

// One line for whoever started us, once: every listener of the documents is bound.
void Controller::tell_ready() {
  if (phase_ != Phase::starting || observed_.published_generation == 0) return;
  if (!observed_.running_problems.empty()) return;
  const auto is_of_listener = [](const Problem& problem) {
    return problem.severity == Severity::error &&
           (problem.object.kind == ListenerDocument::kKind ||
            problem.object.kind == MultiKeyListenerDocument::kKind);
  };
  if (std::ranges::any_of(told_problems_, is_of_listener)) return;
  for (const auto& [host, known] : observed_.hosts) {
    if (known.addresses.empty() && known.error.empty()) return;
  }
  phase_ = Phase::ready;
  static constexpr char kReady[] = "ready\n";
  [[maybe_unused]] const ssize_t written = ::write(2, kReady, sizeof kReady - 1);
}

void Controller::arm_timer() {
  Instant next = std::min({mesh_->next_deadline(), next_certificate_check_, news_.due(),
                           access_pace_.due(), handover_.next_deadline()});
  if (publishing_ == 0) next = std::min(next, bind_pace_.due());
  if (!has_heard_siblings()) next = std::min(next, siblings_awaited_until_);
  if (!may_announce()) next = std::min(next, first_word_at_);
  if (!status_error_.empty()) next = std::min(next, loop_.now() + kTryAgain);
  if (const auto end = access_->next_end()) {
    // The wall clock is read in whole seconds, rounded down: this is never too early.
    const auto left = std::max(std::chrono::seconds(0), *end - wall_now());
    next = std::min(next, loop_.now() + Duration::seconds(left.count()));
  }
  loop_.timers().arm(timer_, next);
}

}  // namespace istmo::control
