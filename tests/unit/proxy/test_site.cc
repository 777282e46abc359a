#include "test_site.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <optional>
#include <thread>

namespace istmo::test {
namespace {

io::Address loopback(uint16_t port) { return io::Address::parse("127.0.0.1", port).value(); }

// The probe's rings close on a thread of their own: on this one, their end would interrupt the
// blocking calls of the test.
io::LoopChoice choice_of(io::LoopKind kind) {
  const auto mode = kind == io::LoopKind::uring ? io::IoMode::uring : io::IoMode::epoll;
  std::optional<io::LoopChoice> choice;
  std::thread([&] { choice = io::choose_loop(mode).value(); }).join();
  return *choice;
}

}  // namespace

TestSite::TestSite(std::string name, io::LoopKind kind, uint32_t workers) {
  control_ = io::make_loop(choice_of(io::LoopKind::epoll), {}).value();
  DataplaneOptions options;
  options.workers = workers;
  options.replica = name + "-1";
  options.loop = choice_of(kind);
  dataplane_ = Dataplane::start(options, *control_, *this).value();
  snapshot.site_id = name + "-id";
  snapshot.site_name = std::move(name);
}

TestSite::~TestSite() { dataplane_->stop(); }

proxy::ListenerConfig& TestSite::add_listener(const std::string& key, uint16_t port) {
  auto& listener = snapshot.listeners.emplace_back();
  listener.name = key;
  listener.routing_key = key;
  listener.addresses = {loopback(port)};
  return listener;
}

proxy::ConnectorConfig& TestSite::add_connector(const std::string& key, uint16_t port) {
  auto& connector = snapshot.connectors.emplace_back();
  connector.name = key + "-" + std::to_string(port);
  connector.routing_key = key;
  connector.host = "127.0.0.1";
  connector.addresses = {loopback(port)};
  return connector;
}

void TestSite::accept_links(uint16_t port, const proxy::Credentials& credentials) {
  snapshot.acceptors.push_back({"links", {loopback(port)}, credentials});
}

void TestSite::dial(const std::string& link, uint16_t port, const proxy::Credentials& credentials,
                    uint32_t cost) {
  snapshot.links.push_back({link, {{"127.0.0.1", {loopback(port)}}}, cost, credentials});
}

void TestSite::add_remote_service(const std::string& key, const std::string& site_id) {
  snapshot.remote_services.push_back({.routing_key = key, .site_id = site_id});
}

std::vector<proxy::Problem> TestSite::publish() {
  ++snapshot.generation;
  dataplane_->publish(std::make_unique<proxy::Snapshot>(snapshot));
  wait_until([&] { return published_ == snapshot.generation; }, "the snapshot to be applied");
  return problems_;
}

void TestSite::wait_until_linked(const std::string& site_id, uint32_t connections) {
  wait_until([&] { return open_links.count(site_id) == connections; }, "links to open");
}

void TestSite::wait_until_unlinked(const std::string& site_id) {
  wait_until([&] { return open_links.count(site_id) == 0; }, "links to end");
}

std::vector<proxy::WorkerReport> TestSite::reports() {
  dataplane_->request_reports(++requested_, true);
  wait_until([&] { return reported_ == requested_; }, "reports");
  return reports_;
}

uint64_t TestSite::closed(proxy::CloseReason reason) {
  uint64_t total = 0;
  for (const auto& report : reports()) total += report.closed_total[static_cast<int>(reason)];
  return total;
}

uint64_t TestSite::streams_open() {
  uint64_t total = 0;
  for (const auto& report : reports()) {
    total += report.streams_open;
  }
  return total;
}

void TestSite::wait_until_idle() {
  wait_until([&] { return streams_open() == 0; }, "the exchanges to end");
  BOOST_TEST(reports().front().buffered_bytes == 0u);
}

void TestSite::require_before(Instant deadline, const char* what) {
  BOOST_REQUIRE_MESSAGE(monotonic_now() < deadline, "waited in vain for " << what);
}

void TestSite::on_published(uint64_t generation, std::vector<proxy::Problem> problems) {
  published_ = generation;
  problems_ = std::move(problems);
}

void TestSite::on_link_changed(const proxy::LinkChange& change) {
  const auto key =
      std::make_tuple(change.link, change.is_incoming, change.connection, change.site_id);
  if (!change.error.empty()) link_errors.insert(change.error);
  if (change.is_open) open_.insert(key);
  else open_.erase(key);
  open_links.clear();
  for (const auto& entry : open_) open_links.insert(std::get<3>(entry));
}

Result<> TestSite::on_mesh_message(const proxy::Replica& replica, std::string message) {
  if (message == kNonsense) return Error::protocol("nonsense is no message");
  mesh_messages.emplace_back(replica.site_id, std::move(message));
  return {};
}

void TestSite::on_mesh_open(const proxy::Replica& replica) { mesh_sites.insert(replica.site_id); }
void TestSite::on_mesh_closed(const proxy::Replica& replica) { mesh_sites.erase(replica.site_id); }

void TestSite::on_reports(uint64_t request, std::vector<proxy::WorkerReport> reports) {
  reported_ = request;
  reports_ = std::move(reports);
}

}  // namespace istmo::test
