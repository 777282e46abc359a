#include "control/kubernetes/kubernetes_platform.h"

#include <algorithm>

#include "base/log.h"
#include "control/kubernetes/gateway_ingress.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/plain_text.h"
#include "control/settings.h"

namespace istmo::control {

// One watch: of what the gateway keeps, or of what stands behind connectors.
class KubernetesPlatform::Watch final : private CollectionSink, public WatchedCollection {
 public:
  Watch(KubernetesPlatform& platform, const std::string& kind, const std::string& label_selector)
      : WatchedCollection(platform.loop_, platform.server_,
                          {.path = collection_path(*find_kube_kind(kind),
                                                   platform.server_.access().namespace_name),
                           .label_selector = label_selector,
                           .field_selector = {}},
                          *this, platform.rng_),
        platform_(platform),
        kind_(kind) {}

  const std::string& refusal() const { return refusal_; }

 private:
  bool is_of_backends() const { return kind_ == "Pod" || kind_ == "EndpointSlice"; }

  void on_object(const std::string& key, const Value& object) override {
    if (is_of_backends()) {
      if (kind_ == "EndpointSlice") return put_slice(object);
      if (platform_.pods_.put(object)) platform_.sink_.on_surroundings_changed();
      return;
    }
    const std::string name = name_in_key(key);
    if (kind_ == "Service") platform_.on_service(name, object);
    if (kind_ == "ConfigMap" && is_synced()) {  // before, it was for the process before this one
      const auto request = platform_.command_requests_.take(name, object);
      if (request) platform_.sink_.on_command_request(name, *request);
    }
    platform_.keeper_.on_object({kind_, name}, object);
    platform_.writer_.go_on();
  }
  // A slice says where pods are, and what is behind a Service; of most Services nobody asks.
  void put_slice(const Value& slice) {
    EndpointTable& endpoints = platform_.endpoints_;
    const std::string& name = text_at(slice, "metadata", "name");
    const bool was_wanted = platform_.is_wanted(endpoints.service_of_slice(name));
    if (!endpoints.put_slice(slice)) return;
    const bool is_empty = value_at(slice, {"endpoints"}).items().empty();
    if (was_wanted || !is_empty || platform_.is_wanted(endpoints.service_of_slice(name))) {
      platform_.sink_.on_surroundings_changed();
    }
  }
  void on_object_gone(const std::string& key) override {
    const std::string name = name_in_key(key);
    if (is_of_backends()) {
      const bool is_changed =
          kind_ == "Pod" ? platform_.pods_.remove(name) : platform_.endpoints_.remove_slice(name);
      if (is_changed) platform_.sink_.on_surroundings_changed();
      return;
    }
    if (kind_ == "Service") {
      platform_.source_.on_service_gone(name);
      platform_.ports_.forget(name);
      if (name == kGatewayName) platform_.learn_gateway({});
      if (platform_.endpoints_.remove_service(name)) platform_.sink_.on_surroundings_changed();
    }
    if (kind_ == "ConfigMap") platform_.command_requests_.forget(name);
    platform_.keeper_.on_gone({kind_, name});
    platform_.writer_.go_on();
  }
  void on_synced() override {
    refusal_.clear();
    if (!is_of_backends()) platform_.keeper_.on_synced(kind_);
    platform_.writer_.go_on();
    platform_.sink_.on_surroundings_changed();
  }
  void on_refused(int status, const std::string& text) override {
    LOG_ERROR("objects cannot be watched", "kind", kind_, "status", status, "error", text);
    refusal_ = text;
    platform_.sink_.on_surroundings_changed();
  }
  void on_trouble(const std::string& text) override {
    LOG_WARNING("objects cannot be watched, trying again", "kind", kind_, "error", text);
  }

  KubernetesPlatform& platform_;
  const std::string kind_;
  std::string refusal_;
};

Result<std::unique_ptr<SitePlatform>> KubernetesPlatform::make(io::Loop& loop, PlatformSink& sink,
                                                               KubeAccess access,
                                                               const transport::KeyLog* key_log) {
  ApiServer server = TRY(ApiServer::create(std::move(access), key_log));
  std::unique_ptr<KubernetesPlatform> platform(
      new KubernetesPlatform(loop, sink, std::move(server)));
  if (platform->server_.places().empty()) {
    ResolverSink& resolver_sink = *platform;
    platform->resolver_ = TRY(Resolver::make(loop, resolver_sink, {}));
  }
  return platform;
}

KubernetesPlatform::KubernetesPlatform(io::Loop& loop, PlatformSink& sink, ApiServer server)
    : loop_(loop),
      sink_(sink),
      server_(std::move(server)),
      rng_(static_cast<uint64_t>(monotonic_now().ns)),
      custom_statuses_(loop, server_, rng_),
      source_(loop, server_, sink, rng_, custom_statuses_),
      keeper_(server_.access().namespace_name, {"ConfigMap", "Secret", "Service"}, rng_),
      writer_(loop, server_, keeper_, *this),
      lease_(server_.access().namespace_name, server_.access().pod_name),
      lease_calls_(loop, server_, 1),
      document_maker_(loop, server_, *this),
      event_writer_(loop, server_),
      command_requests_(loop, server_),
      state_(loop, server_, rng_, sink),
      skupper_(loop, server_, *this, rng_),
      attached_(loop, server_, sink, rng_),
      ingress_watch_(loop, server_, sink, rng_) {
  writer_.pause();  // until write_status() says what is wanted
  state_.state().set_held(true);
}

KubernetesPlatform::~KubernetesPlatform() = default;

void KubernetesPlatform::start() {
  const std::string ours = managed_by_us();
  if (resolver_) resolver_->watch({server_.access().host});
  skupper_.start();
  source_.start();
  state_.start();
  watch("ConfigMap", ours);
  watch("Secret", ours + "," + kStateLabel + "!=true");  // StateSecrets watches those
  watch("Service", "");  // all: one of somebody else's may have a name that we want
  service_watch_ = watches_.back().get();
}

void KubernetesPlatform::stop() {
  source_.stop();
  skupper_.stop();
  attached_.stop();
  ingress_watch_.stop();
  for (const auto& watch : watches_) watch->stop();
  writer_.stop();
  custom_statuses_.stop();
  document_maker_.stop();
  event_writer_.stop();
  command_requests_.stop();
  state_.stop();
  loop_.timers().cancel(lease_timer_);
  lease_calls_.stop();
  if (resolver_) resolver_->stop();
}

bool KubernetesPlatform::is_idle() const {
  return source_.is_idle() && attached_.is_idle() && ingress_watch_.is_idle() &&
         skupper_.is_idle() && writer_.is_idle() && custom_statuses_.is_idle() &&
         lease_calls_.is_idle() && document_maker_.is_idle() && event_writer_.is_idle() &&
         command_requests_.is_idle() && state_.is_idle() && (!resolver_ || resolver_->is_idle()) &&
         std::ranges::all_of(watches_, [](const auto& watch) { return watch->is_idle(); });
}

void KubernetesPlatform::watch(const std::string& kind, const std::string& label_selector) {
  watches_.push_back(std::make_unique<Watch>(*this, kind, label_selector));
  watches_.back()->start();
}

void KubernetesPlatform::on_host_resolved(const std::string&, const HostAddresses& addresses) {
  std::vector<io::Address> found;
  for (const std::string& text : addresses.addresses) {
    if (const auto address = io::Address::parse(text, server_.access().port)) {
      found.push_back(*address);
    }
  }
  if (!found.empty()) server_.set_addresses(found);
}

// --- what the surroundings tell --------------------------------------------------------------

// A Service of ours from before: its pods' port stays, so that a new pod can stand in for an old.
void KubernetesPlatform::learn_ports(const std::string& service_name, const Value& service) {
  if (text_at(service, "spec", "selector", kPodLabel) != kPodLabelValue) return;
  for (const Value& entry : value_at(service, {"spec", "ports"}).items()) {
    const uint16_t port = port_at(entry, "port");
    const uint16_t pod_port = port_at(entry, "targetPort");
    if (port == 0 || pod_port == 0) continue;
    if (ports_.learn({service_name, port}, pod_port)) sink_.on_surroundings_changed();
  }
}

void KubernetesPlatform::learn_gateway(Value service) {
  gateway_ = std::move(service);
  sink_.on_surroundings_changed();
}

void KubernetesPlatform::observe(const Desired& desired, Observed& observed) {
  observed.cluster.emplace();
  site_name_ = desired.site() ? desired.site()->name() : std::string();
  watch_backends_if_wanted(desired);
  find_own_zone();
  for (const auto& [name, connector] : desired.connectors) {
    if (!connector.selector.empty()) observed.cluster->pods[name] = select(connector);
  }
  observed.cluster->replicas = source_.gateway_replicas();
  find_siblings(*observed.cluster);
  const auto& siblings = observed.cluster->siblings;
  is_first_of_siblings_ = std::ranges::all_of(
      siblings, [&](const auto& each) { return each > observed.cluster->own_address; });
  lease_.set_contended(!siblings.empty(), loop_.now());
  ask_for_lease();
  select_services(desired, *observed.cluster);
  attached_.follow(desired.attached_bindings, source_.has_custom_kinds());
  for (const auto& [name, binding] : desired.attached_bindings) {
    observed.cluster->attached[name] = attached_.select(binding);
  }
  offers_ = service_offers(desired, observed);
  std::set<ServicePlace> places;
  for (const ServiceOffer& offer : offers_) places.insert({offer.host, offer.port});
  ports_.assign(places);
  observed.cluster->ports = ports_.ports();
  observed.cluster->ingress = find_ingress(desired);
  offer_problems_.clear();
  services_ = service_objects(offers_, ports_.ports(), offer_problems_);
  source_.follow_secrets(secrets_referred_to(desired));
}

std::vector<IngressAddress> KubernetesPlatform::find_ingress(const Desired& desired) {
  const SiteDocument* site = desired.site();
  const std::string_view kind = site ? sni_kind(site->link_access) : std::string_view();
  ingress_watch_.follow(kind);
  lacks_ingress_hosts_ = false;
  if (gateway_.is_null()) return {};
  const std::string& place = server_.access().namespace_name;
  std::vector<std::string> chosen;
  if (site) chosen = ingress_hosts_setting(site->settings);
  if (kind.empty()) return ingress_addresses(gateway_, place, chosen);
  SniHosts hosts = ingress_watch_.hosts();
  if (!hosts.is_complete()) hosts.add(sni_hosts_of_domains(chosen, place));
  lacks_ingress_hosts_ = !hosts.is_complete();
  std::vector<IngressAddress> addresses = sni_addresses(hosts);
  for (IngressAddress& address : ingress_addresses(gateway_, place, {})) {
    addresses.push_back(std::move(address));
  }
  return addresses;
}

void KubernetesPlatform::on_service(const std::string& name, const Value& service) {
  learn_ports(name, service);
  if (name == kGatewayName) learn_gateway(service);
  source_.on_service(service);
  const bool is_changed = endpoints_.put_service(service);
  if (is_changed && is_wanted(name)) sink_.on_surroundings_changed();
}

// Once each: a namespace may have many.
void KubernetesPlatform::watch_backends_if_wanted(const Desired& desired) {
  bool has_selector = false;
  backend_services_.clear();
  for (const auto& [name, connector] : desired.connectors) {
    has_selector |= !connector.selector.empty();
    std::string service = service_of_host(connector.host, server_.access().namespace_name);
    if (!service.empty()) backend_services_.insert(std::move(service));
  }
  const bool has_service = endpoints_.has_service(kReplicasService) ||
                           std::ranges::any_of(backend_services_, [&](const auto& name) {
                             return endpoints_.has_service(name);
                           });
  const auto watch_once = [&](Watch*& watched, const char* kind) {
    if (watched) return;
    watch(kind, "");
    watched = watches_.back().get();
  };
  if (has_selector) watch_once(pod_watch_, "Pod");
  if (has_selector || has_service) watch_once(endpoint_watch_, "EndpointSlice");
}

// In the order of their names, also those that are not ready yet, or leave.
void KubernetesPlatform::find_siblings(ClusterView& cluster) {
  cluster.are_siblings_known = service_watch_->is_synced();
  const bool is_pod = !server_.access().pod_name.empty();
  if (!is_pod || !endpoints_.has_service(kReplicasService)) return;
  for (const auto& [pod, address] : endpoints_.pods_of(kReplicasService)) {
    if (pod == server_.access().pod_name) cluster.own_address = address;
    else cluster.siblings.push_back(address);
  }
  if (!cluster.own_address.empty()) return;
  cluster.siblings.clear();  // who dials is not clear before
  cluster.are_siblings_known = false;
}

// --- who acts for the site -------------------------------------------------------------------

// Without a right to Leases the first by address acts; for a moment two may, as they come and go.
bool KubernetesPlatform::acts_for_site() const {
  if (!skupper_.may_write()) return false;
  return lease_.is_forbidden() ? is_first_of_siblings_ : lease_.is_held(loop_.now());
}

void KubernetesPlatform::on_skupper_presence() {
  state_.state().set_held(!skupper_.may_write());
  if (!skupper_.may_write()) writer_.pause();  // write_status() lets it go on
  ask_for_lease();
  sink_.on_surroundings_changed();
}

std::string KubernetesPlatform::standstill() const {
  return skupper_.is_there() ? skupper_presence_text(server_.access().namespace_name)
                             : std::string();
}

void KubernetesPlatform::on_leaving() {
  lease_.release(loop_.now());
  ask_for_lease();
}

void KubernetesPlatform::ask_for_lease() {
  if (!skupper_.may_write()) return loop_.timers().cancel(lease_timer_);
  if (auto request = lease_.next(loop_.now())) {
    lease_calls_.call(std::move(*request), [this](const ApiReply& reply) {
      const bool was_forbidden = lease_.is_forbidden();
      lease_.on_reply(reply, loop_.now());
      if (lease_.is_forbidden() && !was_forbidden) {
        LOG_WARNING(
            "Leases may not be used: for a moment two replicas may write status. Role istmo-leases "
            "gives "
            "get, create and update of leases in coordination.k8s.io",
            "error", reply.message());
      }
      ask_for_lease();
    });
  }
  if (acts_for_site() != acted_for_site_) {
    acted_for_site_ = !acted_for_site_;
    LOG_INFO(acted_for_site_ ? "this replica acts for the site"
                             : "this replica does not act for the site",
             "pod", server_.access().pod_name);
    sink_.on_surroundings_changed();
  }
  const Instant next = lease_.wake_at();
  if (next == Instant::never()) loop_.timers().cancel(lease_timer_);
  else loop_.timers().arm(lease_timer_, next);
}

// Nodes may not be read: the pod's own entry among the endpoints says it.
void KubernetesPlatform::find_own_zone() {
  if (!endpoint_watch_ || !endpoint_watch_->is_synced()) return;
  std::string zone = endpoints_.place_of_pod(server_.access().pod_name).zone;
  if (zone == zone_) {
    if (zone.empty() && !std::exchange(has_told_no_zone_, true)) {
      LOG_INFO("the zone of this gateway is not known: backends of all zones are alike", "pod",
               server_.access().pod_name);
    }
    return;
  }
  zone_ = std::move(zone);
  LOG_INFO("zone of this gateway", "zone", zone_);
}

void KubernetesPlatform::select_services(const Desired& desired, ClusterView& cluster) const {
  const auto will_tell = [](const Watch* watch) {
    return watch && !watch->is_synced() && watch->refusal().empty();
  };
  const bool will_know = will_tell(service_watch_) || will_tell(endpoint_watch_);
  for (const auto& [name, connector] : desired.connectors) {
    const std::string service = service_of_host(connector.host, server_.access().namespace_name);
    if (service.empty()) continue;
    if (will_know && (!service_watch_->is_synced() || endpoints_.has_service(service))) {
      cluster.services.emplace(name, ServiceSelection{.service = service});
    } else if (auto selection = endpoints_.select(service, connector.port, zone_)) {
      cluster.services.emplace(name, std::move(*selection));
    }
  }
}

PodSelection KubernetesPlatform::select(const ConnectorDocument& connector) const {
  PodSelection selection;
  selection.is_known = pod_watch_->is_synced();
  const auto selector = LabelSelector::parse(connector.selector);
  if (!selector) {
    selection.error = "spec." + selector.error().text();
    return selection;
  }
  if (!pod_watch_->refusal().empty()) {
    selection.error = "pods cannot be watched: " + pod_watch_->refusal();
  }
  selection.pods =
      pods_.select(*selector, connector.includes_not_ready_pods ? NotReadyPods::included
                                                                : NotReadyPods::left_out);
  std::vector<EndpointPlace> places;
  for (const PodSelection::Pod& pod : selection.pods) {
    places.push_back(endpoints_.place_of_pod(pod.name));
  }
  const std::vector<bool> preferred = preferred_places(places, zone_);
  for (size_t i = 0; i < preferred.size(); ++i) selection.pods[i].is_passed_over = !preferred[i];
  return selection;
}

// With the object that holds the document, as far as there is one.
void KubernetesPlatform::tell(const Desired& desired, const SiteNews& news) {
  auto about = news.file.empty() ? std::nullopt : source_.owner_of(news.file);
  if (!about) about = owner_of(desired);
  if (about && acts_for_site()) event_writer_.write(*about, news);
}

bool KubernetesPlatform::give_documents(const Desired& desired,
                                        const std::vector<Document>& documents) {
  const auto owner = owner_of(desired);
  if (!owner) return false;
  document_maker_.make(documents, *owner);
  return true;
}

std::vector<Problem> KubernetesPlatform::problems() const {
  std::vector<Problem> problems;
  std::set<ObjectId> told;
  const auto tell = [&](const ServiceOffer& offer, const std::string& text) {
    Problem& problem = problems.emplace_back();
    problem.object = offer.object;
    problem.text = text;
  };
  for (const ServiceOffer& offer : offers_) {
    const auto problem = offer_problems_.find(offer.listener);
    const auto service = keeper_.problems().find({"Service", offer.host});
    if (problem != offer_problems_.end()) tell(offer, problem->second);
    else if (service != keeper_.problems().end()) tell(offer, service->second);
    told.insert({"Service", offer.host});
  }
  for (const auto& [id, text] : keeper_.problems()) {
    if (told.contains(id)) continue;
    const bool is_of_certificate = secrets_.contains(id);
    Problem& problem = problems.emplace_back();
    problem.severity = is_of_certificate ? Severity::error : Severity::warning;
    problem.object =
        is_of_certificate ? ObjectId{std::string(CertificateDocument::kKind), id.name} : id;
    problem.text = text;
  }
  const auto tell_of_site = [&](Severity severity, std::string text) {
    if (site_name_.empty() || text.empty()) return;
    Problem& problem = problems.emplace_back();
    problem.severity = severity;
    problem.object = {std::string(SiteDocument::kKind), site_name_};
    problem.text = std::move(text);
  };
  tell_of_site(Severity::error, pods_.shortfall());
  if (const std::string& text = state_.state().problem(); !text.empty()) {
    tell_of_site(Severity::error, "what the site must remember is not kept: " + text);
  }
  if (const std::string& text = ingress_watch_.refusal(); !text.empty() && lacks_ingress_hosts_) {
    tell_of_site(Severity::warning, "the hosts by which others get here are not known: " + text);
  }
  return problems;
}

// --- what is kept there ----------------------------------------------------------------------

std::optional<ObjectOwner> KubernetesPlatform::owner_of(const Desired& desired) const {
  const SiteDocument* site = desired.site();
  return site ? source_.owner_of(site->origin.file) : std::nullopt;
}

// A Site document that is not valid now is no reason to be another site: it wrote what is there.
std::string KubernetesPlatform::site_id(const Desired& desired) {
  auto owner = owner_of(desired);
  if (!owner) owner = state_.state().owner_of_records();
  if (!owner) return {};
  own_state(*owner);
  return owner->uid;
}

void KubernetesPlatform::own_state(const ObjectOwner& owner) {
  ClusterState& state = state_.state();
  state.set_owner(owner);
  if (state.owner()->uid == owner.uid || std::exchange(has_told_other_owner_, true)) return;
  LOG_WARNING("the Site document is in another ConfigMap: this is another site after a restart");
}

// write_status() hands them to the keeper.
Result<> KubernetesPlatform::keep_secrets(
    const std::map<std::string, proxy::Credentials>& secrets) {
  if (credentials_ == secrets) return {};
  credentials_ = secrets;
  secrets_.clear();
  for (const auto& [name, credentials] : secrets) {
    secrets_.insert(credentials_object(name, credentials));
  }
  return {};
}

Result<> KubernetesPlatform::write_status(const Desired& desired,
                                          const std::vector<ObjectStatus>& objects,
                                          const std::function<Overview()>& overview) {
  auto owner = owner_of(desired);
  if (!owner && !std::exchange(has_told_no_owner_, true)) {
    LOG_WARNING("no Site document: neither Services nor status nor state are written");
  }
  if (owner) has_told_no_owner_ = false;
  if (owner) own_state(*owner);
  if (!acts_for_site()) {
    writer_.pause();
    custom_statuses_.pause();
    return {};
  }
  keeper_.set_owner(std::move(owner));
  std::map<ObjectId, Value> wanted = status_objects_.of(objects);
  wanted.insert(overview_object(overview()));
  wanted.insert(services_.begin(), services_.end());
  wanted.insert(secrets_.begin(), secrets_.end());
  keeper_.want(wanted);
  writer_.resume();
  custom_statuses_.want(objects);
  return {};
}

}  // namespace istmo::control
