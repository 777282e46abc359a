// A site in a test: a real Dataplane with its worker threads, whose snapshot the test edits.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "test_pki.h"

namespace istmo::test {

class TestSite final : private DataplaneSink {
 public:
  TestSite(std::string name, io::LoopKind kind, uint32_t workers = 1);
  ~TestSite();

  // Edit, then publish().
  proxy::Snapshot snapshot;
  proxy::ListenerConfig& add_listener(const std::string& key, uint16_t port);
  proxy::ConnectorConfig& add_connector(const std::string& key, uint16_t port);
  void accept_links(uint16_t port, const proxy::Credentials& credentials);
  void dial(const std::string& link, uint16_t port, const proxy::Credentials& credentials,
            uint32_t cost = 1);
  void add_remote_service(const std::string& key, const std::string& site_id);
  // Publishes and waits until every worker runs it; returns the problems.
  std::vector<proxy::Problem> publish();

  // Turns the control loop until `done` says so; fails the test after 10 s.
  template <class Predicate>
  void wait_until(Predicate&& done, const char* what) {
    const Instant deadline = monotonic_now() + Duration::seconds(10);
    while (!done()) {
      require_before(deadline, what);
      control_->run_turn(Duration::milliseconds(10));
    }
  }
  void wait_until_linked(const std::string& site_id, uint32_t connections = 1);
  void wait_until_unlinked(const std::string& site_id);
  std::vector<proxy::WorkerReport> reports();
  uint64_t closed(proxy::CloseReason reason);
  uint64_t streams_open();
  void wait_until_idle();

  Dataplane& dataplane() { return *dataplane_; }
  std::multiset<std::string> open_links;                     // by site id
  std::set<std::string> link_errors;                         // all that were told
  static constexpr std::string_view kNonsense = "nonsense";  // a mesh message that is refused
  std::vector<std::pair<std::string, std::string>> mesh_messages;
  std::set<std::string> mesh_sites;
  std::vector<proxy::BackendChange> backend_changes;

 private:
  void require_before(Instant deadline, const char* what);
  void on_published(uint64_t generation, std::vector<proxy::Problem> problems) override;
  void on_link_changed(const proxy::LinkChange& change) override;
  void on_backend_changed(const proxy::BackendChange& change) override {
    backend_changes.push_back(change);
  }
  Result<> on_mesh_message(const proxy::Replica& replica, std::string message) override;
  void on_mesh_open(const proxy::Replica& replica) override;
  void on_mesh_closed(const proxy::Replica& replica) override;
  void on_reports(uint64_t request, std::vector<proxy::WorkerReport> reports) override;
  void on_drained(uint64_t) override {}

  std::unique_ptr<io::Loop> control_;
  std::unique_ptr<Dataplane> dataplane_;
  uint64_t published_ = 0;
  std::vector<proxy::Problem> problems_;
  uint64_t requested_ = 0;
  uint64_t reported_ = 0;
  std::vector<proxy::WorkerReport> reports_;
  std::set<std::tuple<std::string, bool, uint32_t, std::string>> open_;
};

}  // namespace istmo::test
