// A site in a simulation: one process with real Workers, each on a SimLoop, and a configuration
// that the test edits and publishes. What Dataplane does with threads, without threads.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/io/sim_loop.h"
#include "dataplane/proxy/mesh_placement.h"
#include "dataplane/proxy/worker.h"

namespace istmo::sim {

// Credentials of a site, made once per test program with keys whose sizes are constant, so that
// runs repeat.
proxy::Credentials credentials_of(const std::string& site);

class Site {
 public:
  Site(io::SimNetwork& network, io::SimHost host, const std::string& name, uint32_t workers,
       uint64_t seed, const std::string& replica = "1");
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  // Edit, then publish().
  proxy::Snapshot config;
  void publish();
  bool is_applied() const { return applied_ == workers(); }
  void drain(Duration timeout);
  bool is_drained() const { return drained_ == workers(); }

  const std::string& name() const { return name_; }
  proxy::Replica replica() const { return {name_, replica_}; }
  io::SimHost host() const { return host_; }
  uint32_t workers() const { return static_cast<uint32_t>(cores_.size()); }
  proxy::Worker& worker(uint32_t index) { return *cores_[index]->worker; }
  // Visits the workers that have had a turn since the last call.
  template <class Visitor>
  void for_each_turned(Visitor&& visit) {
    for (auto& core : cores_) {
      const uint64_t turns = core->loop.metrics().turns.value();
      if (std::exchange(core->turns_seen, turns) != turns) visit(*core->worker);
    }
  }
  proxy::ProcessState& process() { return process_; }
  const std::vector<proxy::Problem>& problems() const { return problems_; }

  // --- sums over the workers ---------------------------------------------------------------
  uint64_t streams_open();
  uint64_t buffered_bytes() { return static_cast<uint64_t>(process_.buffered_bytes.value()); }
  uint64_t closed(proxy::CloseReason reason);
  uint32_t links_open();  // connections of links, both directions
  bool all_links_open();  // max(workers here, workers there), if there is a neighbour
  std::vector<proxy::BackendReport> backends();
  uint64_t links_lost() const { return links_lost_; }
  bool is_mesh_open() const { return !meshes_.empty(); }
  // Channels that are open, by the replica at the other end.
  const std::map<proxy::Replica, int>& meshes() const { return meshes_; }
  std::string mesh_greeting;  // if not empty: sent when a mesh opens
  // What neighbours said, as their sites' ids and the messages. Each is answered at once, or by
  // answer_mesh(): accepted, or refused with a text.
  std::vector<std::pair<std::string, std::string>> mesh_messages;
  bool answers_mesh = true;
  std::string mesh_refusal;  // what is answered at once; empty: accepted
  void answer_mesh(const std::string& refusal = {});

 private:
  struct Core final : proxy::WorkerSink {
    Core(Site& its_site, io::SimNetwork& network, uint32_t its_index)
        : site(its_site), index(its_index), loop(network, its_site.host_) {}
    void on_applied(uint64_t generation, std::vector<proxy::Problem> problems) override;
    void on_link_changed(const proxy::LinkChange& change) override;
    void on_backend_changed(const proxy::BackendChange&) override {}
    void on_mesh_open(const proxy::Replica& replica) override;
    void on_mesh_message(uint64_t link, const proxy::Replica& replica,
                         std::string message) override;
    void on_mesh_closed(const proxy::Replica& replica) override;
    void hand_over(uint32_t target, const std::string& acceptor, io::Fd fd,
                   std::string received) override;
    void on_drained(uint64_t) override { ++site.drained_; }

    Site& site;
    uint32_t index;
    io::SimLoop loop;
    uint64_t turns_seen = 0;
    std::unique_ptr<proxy::Worker> worker;
  };

  std::string name_;
  std::string replica_;
  io::SimHost host_;
  proxy::ProcessState process_;
  std::vector<std::unique_ptr<Core>> cores_;
  std::vector<std::unique_ptr<const proxy::Snapshot>> published_;
  uint64_t generation_ = 0;
  uint32_t applied_ = 0;  // workers that run the latest one
  uint32_t drained_ = 0;
  std::map<proxy::Replica, int> meshes_;
  proxy::MeshPlacement mesh_placement_;
  std::vector<std::pair<Core*, uint64_t>> mesh_unanswered_;  // with the link's id
  uint64_t links_lost_ = 0;
  std::vector<proxy::Problem> problems_;
};

}  // namespace istmo::sim
