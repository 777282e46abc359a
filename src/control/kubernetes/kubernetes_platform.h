// A site in a namespace of a cluster: documents in ConfigMaps and Secrets, Services in front of its
// listeners, pods behind its connectors, status in ConfigMaps.
//
//   KubernetesSource ----------------------------> documents
//   Watch of Services, of what is ours, of Pods -> ObjectKeeper, PodTable -> observe(), problems()
//   write_status() -> ObjectKeeper -> ObjectWriter; CustomStatusWriter
//   state_store() <-> StateSecrets
//
// The objects that it keeps belong to the Site, or to the ConfigMap that holds its document: they
// go with it, and without one nothing is written, nor where Skupper's controller is at work. Its
// uid is the site's id, which all processes of the site agree on without a word.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/api_server.h"
#include "control/kubernetes/attached_namespaces.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/custom_status_writer.h"
#include "control/kubernetes/document_maker.h"
#include "control/kubernetes/endpoint_table.h"
#include "control/kubernetes/event_writer.h"
#include "control/kubernetes/ingress_watch.h"
#include "control/kubernetes/kubernetes_source.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/object_writer.h"
#include "control/kubernetes/pod_ports.h"
#include "control/kubernetes/command_requests.h"
#include "control/kubernetes/pod_table.h"
#include "control/kubernetes/site_manifest.h"
#include "control/kubernetes/skupper_presence.h"
#include "control/kubernetes/state_secrets.h"
#include "control/kubernetes/writer_lease.h"
#include "control/resolver.h"
#include "control/site_platform.h"

namespace istmo::control {

class KubernetesPlatform final : public SitePlatform,
                                 private ResolverSink,
                                 private ObjectWriterSink,
                                 private DocumentMakerSink,
                                 private SkupperPresenceSink {
 public:
  // Error::config: what `access` names cannot be used.
  static Result<std::unique_ptr<SitePlatform>> make(io::Loop& loop, PlatformSink& sink,
                                                    KubeAccess access,
                                                    const transport::KeyLog* key_log);
  ~KubernetesPlatform() override;

  std::string_view name() const override { return "kubernetes"; }
  DocumentSource& source() override { return source_; }
  bool replaces_process() const override { return true; }
  bool acts_for_site() const override;
  void on_leaving() override;
  std::string standstill() const override;
  void start() override;
  void stop() override;
  bool is_idle() const override;
  StateStore* state_store() override { return &state_.state(); }
  std::string site_id(const Desired& desired) override;
  void observe(const Desired& desired, Observed& observed) override;
  void tell(const Desired& desired, const SiteNews& news) override;
  void answer(const std::string& name, const std::string& replica,
              const AdminAnswer& answer) override {
    command_requests_.answer(name, replica, answer);
  }
  bool give_documents(const Desired& desired, const std::vector<Document>& documents) override;
  std::vector<Problem> problems() const override;
  Result<> keep_secrets(const std::map<std::string, proxy::Credentials>& secrets) override;
  Result<> write_status(const Desired& desired, const std::vector<ObjectStatus>& objects,
                        const std::function<Overview()>& overview) override;

 private:
  class Watch;
  KubernetesPlatform(io::Loop& loop, PlatformSink& sink, ApiServer server);
  void on_host_resolved(const std::string& host, const HostAddresses& addresses) override;
  void on_problems_changed() override { sink_.on_surroundings_changed(); }
  void on_documents_due() override { sink_.on_surroundings_changed(); }
  void on_skupper_presence() override;
  void watch(const std::string& kind, const std::string& label_selector);
  std::optional<ObjectOwner> owner_of(const Desired& desired) const;
  void own_state(const ObjectOwner& owner);
  void learn_ports(const std::string& service_name, const Value& service);
  void learn_gateway(Value service);
  void on_service(const std::string& name, const Value& service);
  void watch_backends_if_wanted(const Desired& desired);
  PodSelection select(const ConnectorDocument& connector) const;
  void select_services(const Desired& desired, ClusterView& cluster) const;
  bool is_wanted(const std::string& service) const {
    return backend_services_.contains(service) || service == kReplicasService;
  }
  std::vector<IngressAddress> find_ingress(const Desired& desired);
  void find_own_zone();
  void find_siblings(ClusterView& cluster);
  void ask_for_lease();

  io::Loop& loop_;
  PlatformSink& sink_;
  ApiServer server_;
  Rng rng_;
  std::unique_ptr<Resolver> resolver_;  // of the API server's name; none: it is an address
  CustomStatusWriter custom_statuses_;
  KubernetesSource source_;
  ObjectKeeper keeper_;
  StatusObjects status_objects_;
  ObjectWriter writer_;
  WriterLease lease_;
  ApiCalls lease_calls_;
  DocumentMaker document_maker_;
  EventWriter event_writer_;
  CommandRequests command_requests_;
  StateSecrets state_;
  SkupperPresence skupper_;
  bool acted_for_site_ = true;        // when somebody was told last
  bool is_first_of_siblings_ = true;  // by address
  io::TimerOf<KubernetesPlatform, &KubernetesPlatform::ask_for_lease> lease_timer_{*this};
  std::vector<std::unique_ptr<Watch>> watches_;
  Watch* service_watch_ = nullptr;   // among them
  Watch* pod_watch_ = nullptr;       // among them
  Watch* endpoint_watch_ = nullptr;  // among them
  PodTable pods_;
  EndpointTable endpoints_;
  AttachedNamespaces attached_;
  IngressWatch ingress_watch_;
  std::set<std::string> backend_services_;  // that Connectors go to, if they are there
  std::string zone_;                        // of this pod; empty: not known
  bool has_told_no_zone_ = false;
  PodPorts ports_;
  Value gateway_;                     // the Service in front of us; null: there is none
  bool lacks_ingress_hosts_ = false;  // the Site asks for a way in by hosts, and none is known
  std::vector<ServiceOffer> offers_;
  std::map<std::string, std::string> offer_problems_;      // by listener
  std::map<ObjectId, Value> services_;                     // wanted
  std::map<std::string, proxy::Credentials> credentials_;  // of Certificates, by Secret
  std::map<ObjectId, Value> secrets_;                      // wanted, of these
  std::string site_name_;                                  // of the Site document
  bool has_told_no_owner_ = false;
  bool has_told_other_owner_ = false;
};

}  // namespace istmo::control
