#include "control/status.h"

#include <algorithm>
#include <ctime>
#include <set>

#include "control/document_text.h"
#include "control/local_state.h"
#include "control/service_offers.h"

namespace istmo::control {
namespace {

enum class Verdict : uint8_t { ready, pending, error };

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ready: return "Ready";
    case Verdict::pending: return "Pending";
    case Verdict::error: return "Error";
  }
  return "?";
}

struct Condition {
  std::string type;
  Verdict verdict;
  std::string message;
};

// Which keys have somebody on the other end, among what runs now.
struct Reach {
  std::set<std::string> served;    // a connector here or at a neighbour that is linked
  std::set<std::string> listened;  // a listener here or at such a neighbour
};

const Value* condition_of(const Value& status, const std::string& type) {
  const Value* conditions = status.find("conditions");
  if (!conditions) return nullptr;
  for (const Value& condition : conditions->items()) {
    const Value* name = condition.find("type");
    if (name && name->text() == type) return &condition;
  }
  return nullptr;
}

Value endpoints_value(const std::vector<AccessEndpoint>& endpoints, const std::string& group) {
  Value list = Value::list();
  for (const AccessEndpoint& endpoint : endpoints) {
    if (!group.empty() && endpoint.group != group) continue;
    Value value = Value::map();
    value.set("name", endpoint.name);
    value.set("host", endpoint.host);
    value.set("port", std::to_string(endpoint.port));
    value.set("group", endpoint.group);
    list.add(std::move(value));
  }
  return list;
}

Value names_value(const std::vector<std::string>& names) {
  Value list = Value::list();
  for (const std::string& name : names) list.add(name);
  return list;
}

Value network_value(const MeshSiteState& state) {
  Value value = Value::map();
  value.set("id", state.site.id);
  value.set("name", state.site.name);
  value.set("namespace", state.site.namespace_name);
  value.set("platform", state.site.platform);
  value.set("version", state.site.version);
  Value& links = value.set("links", Value::list());
  for (const MeshLink& link : state.links) {
    Value& entry = links.add(Value::map());
    entry.set("name", link.name);
    entry.set("remoteSiteId", link.remote_site_id);
    entry.set("remoteSiteName", link.remote_site_name);
    entry.set("operational", link.is_operational);
  }
  Value& services = value.set("services", Value::list());
  for (const ServiceInfo& service : state.services) {
    Value& entry = services.add(Value::map());
    entry.set("routingKey", service.routing_key);
    entry.set("connectors", names_value(service.connectors));
    entry.set("listeners", names_value(service.listeners));
  }
  return value;
}

// One derivation. Lives on the stack of derive_status().
class Derivation {
 public:
  Derivation(const Desired& desired, const Observed& observed, const Compiled& compiled,
             const std::vector<Problem>& problems, const std::vector<ObjectStatus>& previous,
             const std::string& now)
      : desired_(desired),
        observed_(observed),
        snapshot_(*compiled.snapshot),
        local_(local_state(desired, observed, *compiled.snapshot)),
        now_(now) {
    for (const Problem& problem : problems) {
      if (problem.severity == Severity::error) errors_.try_emplace(problem.object, problem.text);
      if (problem.severity == Severity::waiting) waiting_.try_emplace(problem.object, problem.text);
    }
    for (const proxy::Problem& problem : observed.running_problems) {
      errors_.try_emplace({problem.kind, problem.name}, problem.text);
    }
    for (const auto& [name, listener] : desired.multi_key_listeners) {
      const auto running = errors_.find({"Listener", multi_key_listener(name)});
      if (running == errors_.end()) continue;
      errors_.try_emplace(id_of(listener), running->second);
      errors_.erase(running);
    }
    for (const ObjectStatus& object : previous) previous_.emplace(object.id, &object.status);
    find_reach();
  }

  std::vector<ObjectStatus> run() {
    Desired all = desired_;
    all.router_accesses = router_accesses(desired_, observed_);
    for (Document& document : all.all()) {
      const ObjectId id = id_of(document);
      derived_.insert(id);
      if (std::holds_alternative<SecretDocument>(document)) continue;
      conditions_.clear();
      note_.clear();
      Value extra = Value::map();
      std::visit([&](const auto& d) { derive(d, extra); }, document);
      objects_.push_back({id, std::move(document), status_of(id, std::move(extra))});
    }
    add_objects_without_version();
    return std::move(objects_);
  }

 private:
  void find_reach() {
    const auto add = [this](const MeshSiteState& state) {
      for (const ServiceInfo& service : state.services) {
        if (!service.connectors.empty()) reach_.served.insert(service.routing_key);
        if (!service.listeners.empty()) reach_.listened.insert(service.routing_key);
      }
    };
    add(local_);
    for (const RemoteSite& remote : observed_.remote_sites) {
      if (remote.is_reachable) add(remote.state);
    }
  }

  void add(std::string type, Verdict verdict, std::string message) {
    conditions_.push_back({std::move(type), verdict, std::move(message)});
  }
  void ready(std::string type) { add(std::move(type), Verdict::ready, "OK"); }
  void pending(std::string type, std::string message) {
    add(std::move(type), Verdict::pending, std::move(message));
  }

  // Of a document that a worker or PKI carries out: an error, something that is not there yet, or
  // done.
  template <class D>
  void configured(const D& document, const std::string& host) {
    const ObjectId id{std::string(D::kKind), document.name()};
    const auto error = errors_.find(id);
    if (error != errors_.end()) return add("Configured", Verdict::error, error->second);
    const auto waiting = waiting_.find(id);
    if (waiting != waiting_.end()) return pending("Configured", waiting->second);
    if (observed_.published_generation == 0) return pending("Configured", "Not running yet");
    const auto known = observed_.hosts.find(host);
    const bool is_known = known != observed_.hosts.end() && !known->second.addresses.empty();
    if (!host.empty() && !io::Address::parse(host, 0) && !is_known) {
      return pending("Configured", "Looking up host " + host);
    }
    ready("Configured");
  }

  // An access that is not open has no endpoint that others could reach. One that waits may still be
  // open as it was before.
  std::vector<AccessEndpoint> open_endpoints() const {
    std::vector<AccessEndpoint> open = observed_.endpoints;
    std::erase_if(open, [&](const AccessEndpoint& endpoint) {
      const ObjectId access{"RouterAccess", endpoint.group};
      const bool is_open =
          std::ranges::count(snapshot_.acceptors, endpoint.group, &proxy::LinkAcceptorConfig::name);
      return errors_.contains(access) || (waiting_.contains(access) && !is_open);
    });
    return open;
  }

  // What keeps the site without an endpoint.
  void unresolved() {
    const auto is_access = [](const auto& entry) { return entry.first.kind == "RouterAccess"; };
    const auto text_of = [](const auto& entry) {
      return "RouterAccess " + entry.first.name + ": " + entry.second;
    };
    const auto error = std::ranges::find_if(errors_, is_access);
    if (error != errors_.end()) return add("Resolved", Verdict::error, text_of(*error));
    const auto waiting = std::ranges::find_if(waiting_, is_access);
    pending("Resolved",
            waiting == waiting_.end() ? "No link access endpoint is open yet" : text_of(*waiting));
  }

  void derive(const SiteDocument& site, Value& extra) {
    const auto error = errors_.find({"Site", site.name()});
    if (error != errors_.end()) add("Configured", Verdict::error, error->second);
    else ready("Configured");
    if (observed_.published_generation > 0) ready("Running");
    else pending("Running", "Not running yet");
    const auto endpoints = open_endpoints();
    if (site.accepts_links()) {
      if (!endpoints.empty()) ready("Resolved");
      else unresolved();
    }
    note_ = ha_shortfall(site, observed_);
    extra.set("endpoints", endpoints_value(endpoints, ""));
    Value network = Value::list();
    network.add(network_value(local_));
    int sites = 1;
    for (const RemoteSite& remote : observed_.remote_sites) {
      if (!remote.is_reachable) continue;
      network.add(network_value(remote.state));
      ++sites;
    }
    extra.set("sitesInNetwork", sites);
    extra.set("network", std::move(network));
    if (!site.default_issuer.empty()) extra.set("defaultIssuer", site.default_issuer);
    Value& controller = extra.set("controller", Value::map());
    controller.set("name", "istmo");
    controller.set("namespace", observed_.site.namespace_name);
    controller.set("version", observed_.site.version);
  }

  void derive(const LinkDocument& link, Value& extra) {
    configured(link, "");
    const auto state = std::find_if(
        observed_.links.begin(), observed_.links.end(),
        [&](const LinkState& row) { return !row.is_incoming && row.link == link.name(); });
    if (state == observed_.links.end()) return pending("Operational", "Not Operational");
    if (state->is_up()) ready("Operational");
    else pending("Operational", state->error.empty() ? "Not Operational" : state->error);
    if (!state->site_id.empty()) extra.set("remoteSiteId", state->site_id);
    if (!state->site_name.empty()) extra.set("remoteSiteName", state->site_name);
  }

  void derive(const ListenerDocument& listener, Value& extra) {
    configured(listener, observed_.cluster ? "" : listener.host);
    const bool is_matched = reach_.served.contains(listener.routing_key);
    if (is_matched) ready("Matched");
    else pending("Matched", "No matching connectors");
    extra.set("hasMatchingConnector", is_matched);
  }

  // Skupper's condition is called Operational here; Matched has no field.
  void derive(const MultiKeyListenerDocument& listener, Value& extra) {
    configured(listener, observed_.cluster ? "" : listener.host);
    const bool is_by_weight = listener.choice.by == proxy::KeyChoice::By::weight;
    Value reachable = is_by_weight ? Value::map() : Value::list();
    bool has_destination = false;
    for (const proxy::KeyChoice::Key& key : listener.choice.keys) {
      if (key.weight == 0 || !reach_.served.contains(key.key)) continue;
      has_destination = true;
      if (is_by_weight) reachable.set(key.key, key.weight);
      else reachable.add(key.key);
    }
    if (has_destination) ready("Operational");
    else pending("Operational", "No matching connectors");
    extra.set("hasDestination", has_destination);
    extra.set("strategy", Value::map())
        .set(is_by_weight ? "weighted" : "priority", Value::map())
        .set("routingKeysReachable", std::move(reachable));
  }

  void derive(const ConnectorDocument& connector, Value& extra) {
    const ServiceSelection* service = service_of(connector, observed_);
    configured(connector, service ? "" : connector.host);
    if (service && service->backends.empty()) {
      pending("Operational", service->is_known
                                 ? "Nothing that is ready is behind Service " + service->service
                                 : "Services are not known yet");
    }
    add_selected_pods(connector, extra);
    add_backends_set_aside(connector, extra);
    const auto asked = connector.metadata.annotations.find(kProxyAnnotation);
    if (asked != connector.metadata.annotations.end() && asked->second.starts_with("http")) {
      note_ = asked->second + " is carried as TCP";
    }
    const bool is_matched = reach_.listened.contains(connector.routing_key);
    if (is_matched) ready("Matched");
    else pending("Matched", "No matching listeners");
    extra.set("hasMatchingListener", is_matched);
  }

  // Whose workload it is sees its state at the site that binds it: nothing is written elsewhere.
  void derive(const AttachedConnectorDocument& connector, Value&) {
    const auto error = errors_.find({"AttachedConnector", connector.name()});
    if (error != errors_.end()) return add("Configured", Verdict::error, error->second);
    pending("Configured", "Acts for the site in namespace " + connector.site_namespace +
                              ", with an AttachedConnectorBinding of this name there");
  }

  void derive(const AttachedConnectorBindingDocument& binding, Value& extra) {
    configured(binding, "");
    if (observed_.cluster) {
      const auto found = observed_.cluster->attached.find(binding.name());
      const bool is_known = found != observed_.cluster->attached.end();
      if (is_known && found->second.connector) {
        add_pods(found->second.pods, found->second.connector->selector, extra);
      } else if (is_known && !found->second.waiting.empty()) {
        pending("Operational", found->second.waiting);
      }
    }
    const bool is_matched = reach_.listened.contains(binding.routing_key);
    if (is_matched) ready("Matched");
    else pending("Matched", "No matching listeners");
    extra.set("hasMatchingListener", is_matched);
  }

  void add_selected_pods(const ConnectorDocument& connector, Value& extra) {
    if (!observed_.cluster || connector.selector.empty()) return;
    const auto found = observed_.cluster->pods.find(connector.name());
    add_pods(found == observed_.cluster->pods.end() ? PodSelection() : found->second,
             connector.selector, extra);
  }

  void add_pods(const PodSelection& selection, const std::string& selector, Value& extra) {
    if (!selection.is_known) return pending("Operational", "Pods are not known yet");
    Value& list = extra.set("selectedPods", Value::list());
    for (const PodSelection::Pod& known : selection.pods) {
      Value& pod = list.add(Value::map());
      pod.set("name", known.name);
      pod.set("ip", known.ip);
    }
    if (list.items().empty()) {
      pending("Operational", "No pod that is ready matches selector " + selector);
    }
  }

  // None that is not set aside: connections are still tried, and will hardly succeed.
  void add_backends_set_aside(const ConnectorDocument& connector, Value& extra) {
    const auto aside = observed_.backends_set_aside.find(connector.name());
    const auto running =
        std::ranges::find(snapshot_.connectors, connector.name(), &proxy::ConnectorConfig::name);
    if (aside == observed_.backends_set_aside.end() || running == snapshot_.connectors.end()) {
      return;
    }
    Value list = Value::list();
    for (const io::Address& address : running->addresses) {
      const auto found = aside->second.find(address.to_string());
      if (found == aside->second.end()) continue;
      Value& backend = list.add(Value::map());
      backend.set("address", found->first);
      backend.set("message", found->second);
    }
    if (!list.items().empty() && list.items().size() == running->addresses.size()) {
      const Value& first = list.items().front();
      pending("Operational", "No backend answers: " + first.find("address")->text() + ": " +
                                 first.find("message")->text());
    }
    if (!list.items().empty()) extra.set("backendsSetAside", std::move(list));
  }

  void derive(const AccessGrantDocument& grant, Value& extra) {
    const auto state = observed_.grants.find(grant.name());
    const auto error = errors_.find({"AccessGrant", grant.name()});
    if (error != errors_.end()) add("Processed", Verdict::error, error->second);
    else if (state == observed_.grants.end()) pending("Processed", "Not processed yet");
    else if (!state->second.error.empty()) add("Processed", Verdict::error, state->second.error);
    else ready("Processed");
    if (state == observed_.grants.end()) {
      return pending("Resolved", "The grant server is not open yet");
    }
    const GrantState& known = state->second;
    if (!known.expiration_time.empty()) {
      extra.set("redemptions", known.redemptions);
      extra.set("expirationTime", known.expiration_time);
    }
    if (!known.ended.empty()) return pending("Resolved", known.ended);
    if (known.url.empty()) return pending("Resolved", "The grant server is not open yet");
    ready("Resolved");
    extra.set("url", known.url);
    if (known.urls.size() > 1) extra.set("urls", names_value(known.urls));
    extra.set("code", known.code);
    extra.set("ca", known.ca);
  }

  void derive(const AccessTokenDocument& token, Value& extra) {
    const auto state = observed_.tokens.find(token.name());
    const auto error = errors_.find({"AccessToken", token.name()});
    const bool is_redeemed = state != observed_.tokens.end() && state->second.is_redeemed;
    if (is_redeemed) ready("Redeemed");
    else if (error != errors_.end()) add("Redeemed", Verdict::error, error->second);
    else if (state == observed_.tokens.end() || state->second.error.empty()) {
      pending("Redeemed", "Not redeemed yet");
    } else {
      add("Redeemed", Verdict::error, state->second.error);
    }
    extra.set("redeemed", is_redeemed);
  }

  void derive(const RouterAccessDocument& access, Value& extra) {
    configured(access, access.bind_host);
    extra.set("endpoints", endpoints_value(open_endpoints(), access.name()));
    if (extra.find("endpoints")->items().empty()) pending("Resolved", "Not resolved yet");
    else ready("Resolved");
  }

  void derive(const CertificateDocument& certificate, Value& extra) {
    const auto state = observed_.certificates.find(certificate.name());
    const auto error = errors_.find({"Certificate", certificate.name()});
    if (error != errors_.end()) return add("Issued", Verdict::error, error->second);
    if (state == observed_.certificates.end()) return pending("Issued", "Not issued yet");
    if (!state->second.error.empty()) return add("Issued", Verdict::error, state->second.error);
    ready("Issued");
    extra.set("expiration", state->second.expiration);
  }

  void derive(const SecretDocument&, Value&) {}

  // Skupper's aggregation: the first condition that does not hold gives status and message. An
  // error weighs more than something that is only waited for.
  Value status_of(const ObjectId& id, Value extra) {
    Condition ready{"Ready", Verdict::ready, "OK"};
    for (const Condition& condition : conditions_) {
      if (condition.verdict == Verdict::ready) continue;
      const bool is_first = ready.verdict == Verdict::ready;
      const bool is_worse =
          ready.verdict == Verdict::pending && condition.verdict == Verdict::error;
      if (is_first || is_worse) ready = {"Ready", condition.verdict, condition.message};
    }
    Value status = std::move(extra);
    status.set("status", to_string(ready.verdict));
    const bool has_note = ready.verdict == Verdict::ready && !note_.empty();
    status.set("message", ready.message + (has_note ? "; " + note_ : ""));
    if (id.kind == CertificateDocument::kKind) conditions_.clear();           // it has only Ready
    if (id.kind != AccessTokenDocument::kKind) conditions_.push_back(ready);  // it has no Ready
    Value& list = status.set("conditions", Value::list());
    for (const Condition& condition : conditions_) list.add(condition_value(id, condition));
    return status;
  }

  Value condition_value(const ObjectId& id, const Condition& condition) {
    const std::string holds = condition.verdict == Verdict::ready ? "True" : "False";
    std::string since = now_;
    if (const auto before = previous_.find(id); before != previous_.end()) {
      const Value* known = condition_of(*before->second, condition.type);
      const Value* status = known ? known->find("status") : nullptr;
      const Value* time = known ? known->find("lastTransitionTime") : nullptr;
      if (status && status->text() == holds && time) since = time->text();
    }
    Value value = Value::map();
    value.set("type", condition.type);
    value.set("status", holds);
    value.set("reason", to_string(condition.verdict));
    value.set("message", condition.message);
    value.set("lastTransitionTime", since);
    return value;
  }

  void add_objects_without_version() {
    for (const auto& [id, text] : errors_) {
      if (id.kind.empty() || id.name.empty() || derived_.contains(id)) continue;
      if (!Desired::is_kind(id.kind)) continue;  // "Service": a published one has no document
      conditions_.clear();
      add("Configured", Verdict::error, text);
      objects_.push_back({id, std::nullopt, status_of(id, Value::map())});
    }
  }

  const Desired& desired_;
  const Observed& observed_;
  const proxy::Snapshot& snapshot_;
  const MeshSiteState local_;
  const std::string& now_;
  std::map<ObjectId, std::string> errors_;
  std::map<ObjectId, std::string> waiting_;  // for what is not there
  std::map<ObjectId, const Value*> previous_;
  Reach reach_;
  std::set<ObjectId> derived_;
  std::vector<Condition> conditions_;  // of the object at hand
  std::string note_;                   // about it, when it is ready
  std::vector<ObjectStatus> objects_;
};

}  // namespace

Value ObjectStatus::to_value() const {
  if (document) return control::to_value(*document, status);
  Value tree = Value::map();
  tree.set("apiVersion", "skupper.io/v2alpha1");
  tree.set("kind", id.kind);
  Value& metadata = tree.set("metadata", Value::map());
  metadata.set("name", id.name);
  tree.set("status", status);
  return tree;
}

std::vector<ObjectStatus> derive_status(const Desired& desired, const Observed& observed,
                                        const Compiled& compiled,
                                        const std::vector<Problem>& problems,
                                        const std::vector<ObjectStatus>& previous,
                                        const std::string& now) {
  return Derivation(desired, observed, compiled, problems, previous, now).run();
}

std::string wall_clock_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text, size);
}

}  // namespace istmo::control
