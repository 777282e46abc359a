#include "dataplane/dataplane.h"

#include <sys/resource.h>

#include <algorithm>
#include <latch>
#include <map>
#include <thread>

#include "base/log.h"
#include "dataplane/address_guard.h"
#include "dataplane/codec/mesh_reader.h"
#include "dataplane/proxy/mesh_placement.h"
#include "dataplane/proxy/worker.h"

namespace istmo {
namespace {

using io::make_letter;

// Collects what every worker must say once before the control thread is told.
struct Round {
  uint32_t missing = 0;
  std::vector<proxy::Problem> problems;
  std::vector<proxy::WorkerReport> reports;
};

// Takes as many descriptors as this process may have, and says from which number on clients are not
// served: an eighth is kept for backends, links and the control thread.
int claim_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return INT32_MAX;
  rlimit raised = limit;
  raised.rlim_cur = raised.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  const auto most = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, INT32_MAX));
  return most - std::clamp(most / 8, 8, 256);
}

}  // namespace

// Lives on the control thread. Workers reach it only by letters on the control loop.
class Dataplane::State {
 public:
  State(const DataplaneOptions& options, io::Loop& control_loop, DataplaneSink& sink)
      : options_(options), control_loop_(control_loop), sink_(sink) {}

  Result<> start();
  void publish(std::unique_ptr<proxy::Snapshot> snapshot);
  void request_reports(uint64_t request, bool with_connections);
  std::vector<uint32_t> silent_workers(uint64_t request) const;
  std::vector<proxy::ConnectorReport> connector_reports() const {
    return process_.connector_reports();
  }
  void send_mesh(const proxy::Replica& replica, std::string message);
  void leave(const proxy::Replica& replica);
  void delete_connection(uint64_t id);
  void drain(Duration timeout);
  void stop();

 private:
  // One worker with its thread and loop. The thread makes the loop, runs it, and destroys it.
  class Core final : public proxy::WorkerSink {
   public:
    Core(State& state, uint32_t index) : state_(state), index_(index) {}
    void run(std::latch& started, std::optional<Error>& error);
    void post(std::unique_ptr<io::Letter> letter) { loop_->post(std::move(letter)); }
    proxy::Worker& worker() { return *worker_; }
    io::Loop& loop() { return *loop_; }
    std::thread thread;

   private:
    void on_applied(uint64_t generation, std::vector<proxy::Problem> problems) override;
    void on_link_changed(const proxy::LinkChange& change) override;
    void on_backend_changed(const proxy::BackendChange& change) override;
    void on_mesh_open(const proxy::Replica& replica) override;
    void on_mesh_message(uint64_t link, const proxy::Replica& replica,
                         std::string message) override;
    void on_mesh_closed(const proxy::Replica& replica) override;
    void hand_over(uint32_t target, const std::string& acceptor, io::Fd fd,
                   std::string received) override;
    void on_drained(uint64_t cut) override;
    template <class Callable>
    void tell(Callable callable) {
      state_.control_loop_.post(make_letter(std::move(callable)));
    }

    State& state_;
    uint32_t index_;
    std::unique_ptr<io::Loop> loop_;
    std::unique_ptr<proxy::Worker> worker_;
  };

  void on_applied(uint64_t generation, std::vector<proxy::Problem> problems);
  void on_report(uint64_t request, proxy::WorkerReport report);
  void on_drained(uint64_t cut);
  void on_link_changed(const proxy::LinkChange& change);
  void on_mesh_open(const proxy::Replica& replica);
  void on_mesh_closed(const proxy::Replica& replica);
  Result<> take_address(const io::Address& address, std::map<std::string, AddressGuard>& taken);
  std::vector<proxy::Problem> refuse_taken_addresses(proxy::Snapshot& snapshot);

  DataplaneOptions options_;
  io::Loop& control_loop_;
  DataplaneSink& sink_;
  proxy::ProcessState process_;
  std::vector<std::unique_ptr<Core>> cores_;
  std::map<uint64_t, std::unique_ptr<proxy::Snapshot>> snapshots_;  // not yet let go, by generation
  std::map<uint64_t, Round> publishing_;
  std::map<uint64_t, Round> reporting_;
  std::map<std::string, AddressGuard> guards_;       // of the addresses that workers listen on
  std::map<proxy::Replica, uint32_t> mesh_workers_;  // that have a mesh channel with it
  proxy::MeshPlacement mesh_placement_;
  uint32_t drained_ = 0;
  uint64_t cut_ = 0;  // by the workers that are drained
  bool is_draining_ = false;
  bool is_stopped_ = false;
};

// --- a worker's thread -----------------------------------------------------------------------

void Dataplane::State::Core::run(std::latch& started, std::optional<Error>& error) {
  auto loop = io::make_loop(state_.options_.loop, state_.options_.loop_options);
  if (!loop) {
    error.emplace(std::move(loop).error());
    started.count_down();
    return;
  }
  loop_ = std::move(*loop);
  worker_ = std::make_unique<proxy::Worker>(
      *loop_, state_.process_, *this,
      proxy::WorkerOptions{.index = index_,
                           .count = state_.options_.workers,
                           .seed = static_cast<uint64_t>(monotonic_now().ns) + index_,
                           .replica = state_.options_.replica,
                           .key_log = state_.options_.key_log});
  started.count_down();
  loop_->run();
  worker_.reset();
}

void Dataplane::State::Core::on_applied(uint64_t generation, std::vector<proxy::Problem> problems) {
  tell([&state = state_, generation, problems = std::move(problems)]() mutable {
    state.on_applied(generation, std::move(problems));
  });
}

void Dataplane::State::Core::on_link_changed(const proxy::LinkChange& change) {
  tell([&state = state_, change] { state.on_link_changed(change); });
}

void Dataplane::State::Core::on_backend_changed(const proxy::BackendChange& change) {
  tell([&sink = state_.sink_, change] { sink.on_backend_changed(change); });
}

void Dataplane::State::Core::on_mesh_open(const proxy::Replica& replica) {
  tell([&state = state_, replica] { state.on_mesh_open(replica); });
}

// The answer lets the worker read on: the mailbox holds one message of a link at a time.
void Dataplane::State::Core::on_mesh_message(uint64_t link, const proxy::Replica& replica,
                                             std::string message) {
  tell([this, link, replica, message = std::move(message)]() mutable {
    const Result<> read = state_.sink_.on_mesh_message(replica, std::move(message));
    post(make_letter([this, link, refusal = read ? std::string() : read.error().text()] {
      worker().on_mesh_message_read(link, refusal);
    }));
  });
}

void Dataplane::State::Core::on_mesh_closed(const proxy::Replica& replica) {
  tell([&state = state_, replica] { state.on_mesh_closed(replica); });
}

void Dataplane::State::Core::hand_over(uint32_t target, const std::string& acceptor, io::Fd fd,
                                       std::string received) {
  ASSERT(target < state_.cores_.size() && target != index_);
  Core& core = *state_.cores_[target];
  core.post(make_letter([&core, acceptor, fd, received = std::move(received)] {
    core.worker().place_arrival(acceptor, fd, received);
  }));
}

void Dataplane::State::Core::on_drained(uint64_t cut) {
  tell([&state = state_, cut] { state.on_drained(cut); });
}

// --- the control thread ----------------------------------------------------------------------

Result<> Dataplane::State::start() {
  process_.descriptors_served_max = claim_descriptors();
  ASSERT(options_.workers > 0);
  std::latch started(options_.workers);
  std::vector<std::optional<Error>> errors(options_.workers);
  for (uint32_t i = 0; i < options_.workers; ++i) {
    cores_.push_back(std::make_unique<Core>(*this, i));
  }
  for (uint32_t i = 0; i < options_.workers; ++i) {
    cores_[i]->thread =
        std::thread([&, core = cores_[i].get(), i] { core->run(started, errors[i]); });
  }
  started.wait();
  for (uint32_t i = 0; i < options_.workers; ++i) {
    if (!errors[i]) continue;
    Error error = std::move(*errors[i]);
    for (uint32_t j = 0; j < options_.workers; ++j) {
      if (!errors[j]) {
        auto* core = cores_[j].get();
        core->post(make_letter([core] { core->worker().drain({}); }));
        core->post(make_letter([core] { core->loop().stop(); }));
      }
      cores_[j]->thread.join();
    }
    is_stopped_ = true;
    return std::move(error).at("worker " + std::to_string(i));
  }
  return {};
}

// A new address must be free, also of other sites (AddressGuard), before any worker binds it: with
// SO_REUSEPORT two sites of one user would share a port without a word.
Result<> Dataplane::State::take_address(const io::Address& address,
                                        std::map<std::string, AddressGuard>& taken) {
  const std::string text = address.to_string();
  if (const auto held = guards_.find(text); held != guards_.end()) {
    taken.insert(guards_.extract(held));
    return {};
  }
  if (taken.contains(text)) return {};
  auto guard = TRY(AddressGuard::take(text));
  const io::Fd trial = TRY(control_loop_.listen(address, {.reuse_port = false}));
  control_loop_.close(trial, io::Loop::Ending::orderly);
  taken.emplace(text, std::move(guard));
  return {};
}

std::vector<proxy::Problem> Dataplane::State::refuse_taken_addresses(proxy::Snapshot& snapshot) {
  std::vector<proxy::Problem> problems;
  std::map<std::string, AddressGuard> taken;
  const auto check = [&](const std::string& kind, const std::string& name,
                         std::vector<io::Address>& addresses) {
    std::erase_if(addresses, [&](const io::Address& address) {
      const auto done = take_address(address, taken);
      if (!done) {
        problems.push_back({kind, name, done.error().text(), done.error().error_class()});
      }
      return !done;
    });
  };
  for (auto& listener : snapshot.listeners) check("Listener", listener.name, listener.addresses);
  for (auto& acceptor : snapshot.acceptors) {
    check("RouterAccess", acceptor.name, acceptor.addresses);
  }
  guards_ = std::move(taken);
  return problems;
}

void Dataplane::State::publish(std::unique_ptr<proxy::Snapshot> snapshot) {
  process_.bind(*snapshot);
  const uint64_t generation = snapshot->generation;
  ASSERT(!publishing_.contains(generation));
  Round& round = publishing_[generation];
  round.missing = options_.workers;
  round.problems = refuse_taken_addresses(*snapshot);
  const proxy::Snapshot* shared = snapshot.get();
  snapshots_[generation] = std::move(snapshot);
  for (auto& core : cores_) {
    core->post(make_letter([core = core.get(), shared] { core->worker().apply(*shared); }));
  }
}

void Dataplane::State::on_applied(uint64_t generation, std::vector<proxy::Problem> problems) {
  const auto round = publishing_.find(generation);
  ASSERT(round != publishing_.end());
  for (auto& problem : problems) {
    const bool is_known = std::ranges::any_of(round->second.problems, [&](const auto& other) {
      return other.kind == problem.kind && other.name == problem.name && other.text == problem.text;
    });
    if (!is_known) round->second.problems.push_back(std::move(problem));
  }
  if (--round->second.missing > 0) return;
  auto all = std::move(round->second.problems);
  publishing_.erase(round);
  snapshots_.erase(generation);  // workers keep nothing of it
  sink_.on_published(generation, std::move(all));
}

void Dataplane::State::request_reports(uint64_t request, bool with_connections) {
  reporting_[request].missing = options_.workers;
  for (auto& core : cores_) {
    core->post(make_letter([this, core = core.get(), request, with_connections] {
      control_loop_.post(
          make_letter([this, request, report = core->worker().report(with_connections)]() mutable {
            on_report(request, std::move(report));
          }));
    }));
  }
}

void Dataplane::State::on_report(uint64_t request, proxy::WorkerReport report) {
  const auto round = reporting_.find(request);
  ASSERT(round != reporting_.end());
  round->second.reports.push_back(std::move(report));
  if (--round->second.missing > 0) return;
  auto reports = std::move(round->second.reports);
  reporting_.erase(round);
  std::ranges::sort(reports, {}, &proxy::WorkerReport::worker);
  sink_.on_reports(request, std::move(reports));
}

std::vector<uint32_t> Dataplane::State::silent_workers(uint64_t request) const {
  std::vector<uint32_t> silent;
  const auto round = reporting_.find(request);
  if (round == reporting_.end()) return silent;
  for (uint32_t worker = 0; worker < options_.workers; ++worker) {
    const auto& reports = round->second.reports;
    const auto report = std::ranges::find(reports, worker, &proxy::WorkerReport::worker);
    if (report == reports.end()) silent.push_back(worker);
  }
  return silent;
}

void Dataplane::State::on_link_changed(const proxy::LinkChange& change) {
  if (const uint64_t connection = mesh_placement_.on_link_changed(change)) {
    Core& core = *cores_[connection >> proxy::kWorkerIdShift];
    core.post(make_letter([&core, connection] { core.worker().open_mesh(connection); }));
  }
  sink_.on_link_changed(change);
}

// Both sites may link to each other, and a connection without a placement hint stays with the
// worker that accepted it: channels to one replica can be on several workers.
void Dataplane::State::on_mesh_open(const proxy::Replica& replica) {
  if (++mesh_workers_[replica] == 1) sink_.on_mesh_open(replica);
}

void Dataplane::State::on_mesh_closed(const proxy::Replica& replica) {
  const auto found = mesh_workers_.find(replica);
  ASSERT(found != mesh_workers_.end());
  if (--found->second > 0) return;
  mesh_workers_.erase(found);
  sink_.on_mesh_closed(replica);
}

// To every worker: those without a channel to the replica drop it. A message that goes twice is the
// whole state with its sequence number, and the second one changes nothing.
void Dataplane::State::send_mesh(const proxy::Replica& replica, std::string message) {
  if (message.size() > codec::kMeshMessageBytesMax) {
    LOG_ERROR("this site has too much to tell its neighbours", "bytes", message.size(), "allowed",
              codec::kMeshMessageBytesMax);
    return;
  }
  for (auto& core : cores_) {
    core->post(make_letter(
        [core = core.get(), replica, message] { core->worker().send_mesh(replica, message); }));
  }
}

void Dataplane::State::leave(const proxy::Replica& replica) {
  for (auto& core : cores_) {
    core->post(
        make_letter([core = core.get(), replica] { core->worker().on_replica_leaving(replica); }));
  }
}

void Dataplane::State::delete_connection(uint64_t id) {
  for (auto& core : cores_) {
    core->post(make_letter([core = core.get(), id] { core->worker().delete_connection(id); }));
  }
}

void Dataplane::State::drain(Duration timeout) {
  is_draining_ = true;
  for (auto& core : cores_) {
    core->post(make_letter([core = core.get(), timeout] { core->worker().drain(timeout); }));
  }
}

void Dataplane::State::on_drained(uint64_t cut) {
  cut_ += cut;
  if (++drained_ == options_.workers) sink_.on_drained(cut_);
}

// Workers end everything, and each thread ends when its worker is empty. Then the control loop's
// letters that refer to this object are delivered: the last one is ours.
void Dataplane::State::stop() {
  if (is_stopped_) return;
  is_stopped_ = true;
  if (drained_ < options_.workers) drain({});
  while (drained_ < options_.workers) control_loop_.run_turn(Duration::milliseconds(50));
  for (auto& core : cores_) {
    core->post(make_letter([core = core.get()] { core->loop().stop(); }));
  }
  for (auto& core : cores_) core->thread.join();
  bool is_quiet = false;
  control_loop_.post(make_letter([&is_quiet] { is_quiet = true; }));
  while (!is_quiet) control_loop_.run_turn(Duration{});
}

// --- the interface ---------------------------------------------------------------------------

Result<std::unique_ptr<Dataplane>> Dataplane::start(const DataplaneOptions& options,
                                                    io::Loop& control_loop, DataplaneSink& sink) {
  auto state = std::make_unique<State>(options, control_loop, sink);
  TRY(state->start());
  return std::unique_ptr<Dataplane>(new Dataplane(std::move(state)));
}

Dataplane::Dataplane(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dataplane::~Dataplane() { state_->stop(); }

void Dataplane::publish(std::unique_ptr<proxy::Snapshot> snapshot) {
  state_->publish(std::move(snapshot));
}
void Dataplane::request_reports(uint64_t request, bool with_connections) {
  state_->request_reports(request, with_connections);
}
std::vector<uint32_t> Dataplane::silent_workers(uint64_t request) const {
  return state_->silent_workers(request);
}
std::vector<proxy::ConnectorReport> Dataplane::connector_reports() const {
  return state_->connector_reports();
}
void Dataplane::send_mesh(const proxy::Replica& replica, std::string message) {
  state_->send_mesh(replica, std::move(message));
}
void Dataplane::leave(const proxy::Replica& replica) { state_->leave(replica); }
void Dataplane::delete_connection(uint64_t id) { state_->delete_connection(id); }
void Dataplane::drain(Duration timeout) { state_->drain(timeout); }
void Dataplane::stop() { state_->stop(); }

}  // namespace istmo
