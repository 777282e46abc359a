// The control thread of a site: one loop that turns documents into what the workers run, and what
// they report into status.
//
//   SitePlatform ----> DocumentStore -+
//   Resolver, SiteAccess (ports,      +-> Compiler  -> Snapshot -> Dataplane
//   certificates, grants), tokens,    |       |
//   LinkTable, MeshState -------------+       +-> status -> SitePlatform, AdminServer, HealthServer
//
// Whatever changes marks the site dirty; one refresh at the end of the turn brings everything in
// line. News of neighbours and surroundings have a pace (NewsPace). Owned by main, on the thread
// that calls run(), which returns when the site has ended.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "control/admin_server.h"
#include "control/certificate_issuer.h"
#include "control/certificate_renewal.h"
#include "control/compiler.h"
#include "control/document_store.h"
#include "control/handover.h"
#include "control/health_server.h"
#include "control/link_table.h"
#include "control/mesh.h"
#include "control/mesh_announcer.h"
#include "control/mesh_routes.h"
#include "control/news_pace.h"
#include "control/observed.h"
#include "control/resolver.h"
#include "control/retry_pace.h"
#include "control/site_access.h"
#include "control/site_platform.h"
#include "control/siblings.h"
#include "control/site_state.h"
#include "control/status.h"
#include "control/token_redemption.h"
#include "dataplane/dataplane.h"

namespace istmo::control {

struct ControllerOptions {
  std::string namespace_name;
  PlatformMaker platform;
  std::filesystem::path state;
  AdminAddress admin;
  std::optional<HealthAddress> health;  // nothing: no health server
  std::string service_host;
  std::vector<std::string> ingress_hosts;  // empty: default_ingress_hosts()
  uint32_t workers = 1;
  io::LoopChoice loop;
  // Told to end, the site says that it is not ready, goes on for so long, then lets connections
  // end.
  Duration drain_delay;
  Duration drain_timeout = Duration::seconds(10);
  const transport::KeyLog* key_log = nullptr;
};

class Controller final : private DataplaneSink,
                         private PlatformSink,
                         private ResolverSink,
                         private AdminSink,
                         private HealthSink,
                         private SiteAccessSink,
                         private StateStoreSink,
                         private TokenRedemptionSink {
 public:
  // `loop` is the control loop. The signals SIGTERM and SIGINT must be blocked in every thread:
  // they are read here.
  Controller(io::Loop& loop, ControllerOptions options);
  ~Controller();
  // Runs the site until it is told to end. An error: it could not start.
  Result<> run();

 private:
  Result<> start();
  Result<> open_state();
  // Runs turns until `condition`; false: the site was told to end.
  bool wait_for(const std::function<bool()>& condition);
  void stop();
  void end_soon();
  void drain();
  bool is_idle() const;

  // --- what changes ------------------------------------------------------------------------
  void on_source_changed(const SourceState& state) override;
  void on_surroundings_changed() override;
  void on_command_request(const std::string& name, const Value& request) override;
  void on_host_resolved(const std::string& host, const HostAddresses& addresses) override;
  void on_access_changed() override { mark_dirty(); }
  void on_record_changed(const std::string& name) override;
  void on_record_stored() override { on_surroundings_changed(); }
  void on_tokens_changed() override { mark_dirty(); }
  void on_published(uint64_t generation, std::vector<proxy::Problem> problems) override;
  void on_link_changed(const proxy::LinkChange& change) override;
  void on_backend_changed(const proxy::BackendChange& change) override;
  Result<> on_mesh_message(const proxy::Replica& replica, std::string message) override;
  void on_mesh_open(const proxy::Replica& replica) override;
  void on_mesh_closed(const proxy::Replica& replica) override;
  void on_reports(uint64_t request, std::vector<proxy::WorkerReport> reports) override;
  void on_drained(uint64_t cut) override;
  void on_signal(io::Completion&& done);
  void on_timer();

  // --- bringing it in line -----------------------------------------------------------------
  void mark_dirty() { loop_.defer(refresh_); }
  void tell_of_links();
  void on_news();
  void refresh();
  void refresh_observed();
  void refresh_network();
  void add_documents_of_tokens();
  void refresh_sibling_credentials();
  bool has_heard_siblings() const;
  void publish_if_changed();
  void tell_status();
  void refresh_status_if_due();
  void refresh_status();
  void write_status();
  void announce();
  bool may_announce() const;
  void tell_of_left_out(size_t count);
  void arm_timer();
  void tell_ready();

  // --- answers -----------------------------------------------------------------------------
  void on_admin_request(AdminRequestId id, const Value& request) override;
  AdminAnswer answer_now(const std::string& verb, const Value& request);
  SitePlatform::Overview overview() const;
  Value describe_site(const std::vector<Value>& services) const;
  std::vector<Value> documents(const Value& request) const;
  struct Asker {
    AdminRequestId id;
    std::string object;  // not empty: asked by way of the surroundings
  };
  void ask_workers(Asker asker, const std::string& verb,
                   std::optional<uint64_t> connection_to_delete);
  void answer(const Asker& asker, const AdminAnswer& answer);
  void on_health_request(HealthRequestId id, std::string_view path) override;
  HealthAnswer health();
  HealthAnswer readiness() const;
  void begin_survey();
  void end_survey(const std::vector<proxy::WorkerReport>& reports);

  io::Loop& loop_;
  ControllerOptions options_;
  DocumentStore store_;
  Desired desired_;
  Observed observed_;
  Handover handover_;
  Compiler compiler_;
  Compiled compiled_;
  std::vector<ObjectStatus> status_;
  LinkTable links_;
  // By connector, address and worker: why a backend is set aside.
  std::map<std::tuple<std::string, std::string, uint32_t>, std::string> set_aside_;
  MeshAnnouncer announcer_;
  MeshAnnouncer sibling_announcer_;
  NewsPace news_;
  // Of telling status: with thousands of documents it costs more than serving them, and nobody's
  // connection waits for it.
  NewsPace status_pace_;
  AdminServer admin_;
  HealthServer health_;

  // Made by start(), in this order.
  std::unique_ptr<SitePlatform> platform_;
  std::unique_ptr<Resolver> resolver_;
  std::optional<SiteState> state_;
  std::unique_ptr<MeshState> mesh_;
  std::optional<Siblings> siblings_;
  std::unique_ptr<SiteAccess> access_;
  std::unique_ptr<CertificateRenewal> renewal_;
  std::unique_ptr<CertificateIssuer> certificates_;
  std::unique_ptr<TokenRedemption> tokens_;
  std::string replica_;  // that no other process of the site has
  std::unique_ptr<Dataplane> dataplane_;

  std::unique_ptr<proxy::Snapshot> running_;  // what was published last
  std::vector<Problem> told_problems_;        // logged already
  std::string status_error_;                  // why status is not on disk; empty: it is
  RetryPace bind_pace_;                       // of what the workers could not bind
  RetryPace access_pace_;             // of what SiteAccess and CertificateIssuer could not do
  bool were_backends_known_ = false;  // of all Connectors, once
  uint64_t publishing_ = 0;           // generation that the workers have not all applied; 0: none
  std::set<proxy::Replica> open_meshes_;
  size_t left_out_ = 0;                            // of what neighbours and siblings are told
  std::map<std::string, std::string> told_links_;  // sites that are linked, name by id
  std::optional<proxy::Credentials> sibling_credentials_;  // until the next check of certificates
  std::set<std::string> not_understood_;  // sites, told once while their mesh is open
  struct Question {
    Asker asker;
    std::string verb;
    std::optional<uint64_t> connection_to_delete;
  };
  std::map<uint64_t, Question> questions_;  // to the workers, by request number
  uint64_t next_question_ = 1;
  // What the health server asks the workers.
  struct Survey {
    uint64_t question = 0;  // 0: nothing is asked
    Instant asked;
    std::vector<HealthRequestId> waiting;  // for metrics
  };
  Survey survey_;
  // leaving: told to end, and goes on for the drain delay.
  enum class Phase : uint8_t { starting, ready, leaving, draining, ended };
  Phase phase_ = Phase::starting;
  Instant next_certificate_check_;
  Instant siblings_awaited_until_;
  Instant first_word_at_;  // to neighbours, at the latest
  io::Fd signals_;
  io::OpOf<Controller, &Controller::on_signal> signal_op_{*this};
  io::DeferredOf<Controller, &Controller::refresh> refresh_{*this};
  io::TimerOf<Controller, &Controller::on_timer> timer_{*this};
  io::TimerOf<Controller, &Controller::drain> drain_timer_{*this};
  io::TimerOf<Controller, &Controller::refresh_status_if_due> status_timer_{*this};
};

}  // namespace istmo::control
