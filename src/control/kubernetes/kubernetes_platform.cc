#include "control/kubernetes/kubernetes_platform.h"

#include <algorithm>

#include "base/log.h"
#include "control/kubernetes/gateway_ingress.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/site_manifest.h"
#include "control/settings.h"

namespace istmo::control {

// One watch: of what the gateway keeps, or of pods.
class KubernetesPlatform::Watch final : private CollectionSink {
 public:
  Watch(KubernetesPlatform& platform, const std::string& kind, const std::string& label_selector)
      : platform_(platform),
        kind_(kind),
        collection_(platform.loop_, platform.server_,
                    {.path = collection_path(*find_kube_kind(kind),
                                             platform.server_.access().namespace_name),
                     .label_selector = label_selector,
                     .field_selector = {}},
                    *this, platform.rng_) {}

  void start() { collection_.start(); }
  void stop() { collection_.stop(); }
  bool is_idle() const { return collection_.is_idle(); }
  bool is_synced() const { return collection_.is_synced(); }
  const std::string& refusal() const { return refusal_; }

 private:
  bool is_of_pods() const { return kind_ == "Pod"; }

  void on_object(const std::string& key, const Value& object) override {
    if (is_of_pods()) {
      if (platform_.pods_.put(object)) platform_.sink_.on_surroundings_changed();
      return;
    }
    const std::string name = name_in_key(key);
    if (kind_ == "Service") {
      platform_.learn_ports(name, object);
      platform_.source_.on_service(object);
      if (name == kGatewayName) platform_.learn_gateway(object);
    }
    platform_.keeper_.on_object({kind_, name}, object);
    platform_.writer_.go_on();
  }
  void on_object_gone(const std::string& key) override {
    if (is_of_pods()) {
      if (platform_.pods_.remove(name_in_key(key))) platform_.sink_.on_surroundings_changed();
      return;
    }
    if (kind_ == "Service") {
      platform_.source_.on_service_gone(name_in_key(key));
      if (name_in_key(key) == kGatewayName) platform_.learn_gateway({});
    }
    platform_.keeper_.on_gone({kind_, name_in_key(key)});
    platform_.writer_.go_on();
  }
  void on_synced() override {
    refusal_.clear();
    if (!is_of_pods()) platform_.keeper_.on_synced(kind_);
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
  WatchedCollection collection_;
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
      source_(loop, server_, sink, rng_),
      keeper_(server_.access().namespace_name, {"ConfigMap", "Secret", "Service"}, rng_),
      writer_(loop, server_, keeper_, *this) {}

KubernetesPlatform::~KubernetesPlatform() = default;

void KubernetesPlatform::start() {
  const std::string ours = std::string(kManagedByLabel) + "=" + kManagedBy;
  if (resolver_) resolver_->watch({server_.access().host});
  source_.start();
  watch("ConfigMap", ours);
  watch("Secret", ours);
  watch("Service", "");  // all: one of somebody else's may have a name that we want
}

void KubernetesPlatform::stop() {
  source_.stop();
  for (const auto& watch : watches_) watch->stop();
  writer_.stop();
  if (resolver_) resolver_->stop();
}

bool KubernetesPlatform::is_idle() const {
  return source_.is_idle() && writer_.is_idle() && (!resolver_ || resolver_->is_idle()) &&
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
  const Value* spec = service.find("spec");
  const Value* list = spec ? spec->find("ports") : nullptr;
  const Value* selector = spec ? spec->find("selector") : nullptr;
  const Value* label = selector ? selector->find(kPodLabel) : nullptr;
  if (!list || !label || label->text() != kPodLabelValue) return;
  for (const Value& entry : list->items()) {
    const Value* port = entry.find("port");
    const Value* pod_port = entry.find("targetPort");
    if (!port || !pod_port) continue;
    ports_.learn(
        {service_name, static_cast<uint16_t>(std::strtoul(port->text().c_str(), nullptr, 10))},
        static_cast<uint16_t>(std::strtoul(pod_port->text().c_str(), nullptr, 10)));
  }
}

void KubernetesPlatform::learn_gateway(Value service) {
  gateway_ = std::move(service);
  sink_.on_surroundings_changed();
}

void KubernetesPlatform::observe(const Desired& desired, Observed& observed) {
  observed.cluster.emplace();
  watch_pods_if_wanted(desired);
  for (const auto& [name, connector] : desired.connectors) {
    if (!connector.selector.empty()) observed.cluster->pods[name] = select(connector);
  }
  offers_ = service_offers(desired, observed);
  std::set<ServicePlace> places;
  for (const ServiceOffer& offer : offers_) places.insert({offer.host, offer.port});
  ports_.assign(places);
  observed.cluster->ports = ports_.ports();
  if (!gateway_.is_null()) {
    const std::vector<std::string> hosts = desired.site()
                                               ? ingress_hosts_setting(desired.site()->settings)
                                               : std::vector<std::string>();
    observed.cluster->ingress = ingress_addresses(gateway_, server_.access().namespace_name, hosts);
  }
  offer_problems_.clear();
  services_ = service_objects(offers_, ports_.ports(), offer_problems_);
  source_.follow_secrets(secrets_referred_to(desired));
}

// Once: a namespace may have many.
void KubernetesPlatform::watch_pods_if_wanted(const Desired& desired) {
  const bool is_wanted = std::ranges::any_of(
      desired.connectors, [](const auto& entry) { return !entry.second.selector.empty(); });
  if (!is_wanted || pod_watch_) return;
  watch("Pod", "");
  pod_watch_ = watches_.back().get();
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
  return selection;
}

std::vector<Problem> KubernetesPlatform::problems() const {
  std::vector<Problem> problems;
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
  }
  return problems;
}

// --- what is kept there ----------------------------------------------------------------------

Result<> KubernetesPlatform::write_status(const Desired& desired,
                                          const std::vector<ObjectStatus>& objects,
                                          const std::function<Overview()>& overview) {
  const SiteDocument* site = desired.site();
  auto owner = site ? source_.owner_of(site->origin.file) : std::nullopt;
  if (!owner && !std::exchange(has_told_no_owner_, true)) {
    LOG_WARNING("no Site document: neither Services nor status are written");
  }
  if (owner) has_told_no_owner_ = false;
  keeper_.set_owner(std::move(owner));
  std::map<ObjectId, Value> wanted = status_objects(objects);
  wanted.insert(overview_object(overview()));
  wanted.insert(services_.begin(), services_.end());
  keeper_.want(wanted);
  writer_.go_on();
  return {};
}

}  // namespace istmo::control
