#include "site.h"

#include <algorithm>

#include "test_pki.h"

namespace istmo::sim {

proxy::Credentials credentials_of(const std::string& site) {
  static const test::TestCa kCa("simulated network", test::TestKeys::ed25519);
  static std::map<std::string, proxy::Credentials> made;
  auto& credentials = made[site];
  if (credentials.certificate.empty()) {
    const auto certificate = kCa.issue(
        {.common_name = site, .alternative_names = {"DNS:" + site, "URI:istmo://site/" + site}});
    credentials = {.certificate = certificate.certificate_pem,
                   .private_key = certificate.key_pem,
                   .ca = kCa.certificate_pem()};
  }
  return credentials;
}

Site::Site(io::SimNetwork& network, io::SimHost host, const std::string& name, uint32_t workers,
           uint64_t seed, const std::string& replica)
    : name_(name), replica_(replica), host_(host) {
  config.site_id = config.site_name = name;
  for (uint32_t i = 0; i < workers; ++i) {
    auto& core = *cores_.emplace_back(std::make_unique<Core>(*this, network, i));
    core.worker = std::make_unique<proxy::Worker>(
        core.loop, process_, core,
        proxy::WorkerOptions{
            .index = i, .count = workers, .seed = seed * 64 + i, .replica = replica});
  }
}

Site::~Site() = default;

void Site::publish() {
  auto snapshot = std::make_unique<proxy::Snapshot>(config);
  snapshot->generation = ++generation_;
  process_.bind(*snapshot);
  applied_ = 0;
  for (auto& core : cores_) {
    core->loop.post(io::make_letter(
        [worker = core->worker.get(), shared = snapshot.get()] { worker->apply(*shared); }));
  }
  published_.push_back(std::move(snapshot));
}

void Site::drain(Duration timeout) {
  for (auto& core : cores_) {
    core->loop.post(
        io::make_letter([worker = core->worker.get(), timeout] { worker->drain(timeout); }));
  }
}

uint64_t Site::streams_open() {
  uint64_t sum = 0;
  for (auto& core : cores_) sum += core->worker->report(false).streams_open;
  return sum;
}

uint64_t Site::closed(proxy::CloseReason reason) {
  uint64_t sum = 0;
  for (auto& core : cores_) {
    sum += core->worker->report(false).closed_total[static_cast<int>(reason)];
  }
  return sum;
}

uint32_t Site::links_open() {
  uint32_t sum = 0;
  for (auto& core : cores_) {
    for (const auto& link : core->worker->report(false).links) sum += link.is_open;
  }
  return sum;
}

bool Site::all_links_open() {
  uint32_t wanted = 0;
  uint32_t open = 0;
  for (auto& core : cores_) {
    for (const auto& link : core->worker->report(false).links) {
      wanted = std::max(wanted, link.connections_wanted);
      open += link.is_open;
    }
  }
  return wanted > 0 && open == wanted;
}

std::vector<proxy::BackendReport> Site::backends() {
  std::vector<proxy::BackendReport> all;
  for (auto& core : cores_) {
    for (auto& backend : core->worker->report(false).backends) all.push_back(backend);
  }
  return all;
}

void Site::Core::on_applied(uint64_t generation, std::vector<proxy::Problem> problems) {
  if (generation == site.generation_) ++site.applied_;
  for (auto& problem : problems) site.problems_.push_back(std::move(problem));
}

void Site::Core::on_link_changed(const proxy::LinkChange& change) {
  if (!change.is_open && !change.site_id.empty()) ++site.links_lost_;
  if (const uint64_t connection = site.mesh_placement_.on_link_changed(change)) {
    Core& core = *site.cores_.at(connection >> proxy::kWorkerIdShift);
    core.loop.post(io::make_letter(
        [worker = core.worker.get(), connection] { worker->open_mesh(connection); }));
  }
}

void Site::Core::on_mesh_open(const proxy::Replica& replica) {
  ++site.meshes_[replica];
  if (site.mesh_greeting.empty()) return;
  loop.post(io::make_letter([this, replica] {
    if (!site.mesh_greeting.empty()) worker->send_mesh(replica, site.mesh_greeting);
  }));
}

void Site::Core::on_mesh_closed(const proxy::Replica& replica) {
  if (--site.meshes_.at(replica) == 0) site.meshes_.erase(replica);
}

void Site::Core::on_mesh_message(uint64_t link, const proxy::Replica& replica,
                                 std::string message) {
  site.mesh_messages.emplace_back(replica.site_id, std::move(message));
  site.mesh_unanswered_.emplace_back(this, link);
  if (site.answers_mesh) site.answer_mesh(site.mesh_refusal);
}

void Site::answer_mesh(const std::string& refusal) {
  for (const auto& [core, link] : std::exchange(mesh_unanswered_, {})) {
    core->loop.post(io::make_letter([worker = core->worker.get(), link, refusal] {
      worker->on_mesh_message_read(link, refusal);
    }));
  }
}

void Site::Core::hand_over(uint32_t target, const std::string& acceptor, io::Fd fd,
                           std::string received) {
  Core& core = *site.cores_.at(target);
  core.loop.post(io::make_letter([&core, acceptor, fd, received = std::move(received)] {
    core.worker->place_arrival(acceptor, fd, received);
  }));
}

}  // namespace istmo::sim
