#include "control/compile.h"

#include <algorithm>
#include <tuple>

#include "control/service_offers.h"
#include "control/settings.h"

namespace istmo::control {
namespace {

// Documents in the order in which they were written, so that of two that collide the later loses.
template <class D>
std::vector<const D*> in_order(const DocumentMap<D>& map) {
  std::vector<const D*> documents;
  for (const auto& [name, document] : map) documents.push_back(&document);
  std::stable_sort(documents.begin(), documents.end(), [](const D* a, const D* b) {
    return std::tie(a->origin.file, a->origin.line) < std::tie(b->origin.file, b->origin.line);
  });
  return documents;
}

// One compilation. Lives on the stack of compile().
class Compilation {
 public:
  Compilation(const Desired& desired, const Observed& observed)
      : desired_(desired), observed_(observed) {}

  Compiled run() {
    compiled_.snapshot = std::make_unique<proxy::Snapshot>();
    snapshot().generation = observed_.generation;
    snapshot().site_id = observed_.site.id;
    snapshot().site_name = observed_.site.name;
    for (const auto& [name, document] : desired_.listeners) {
      snapshot().listener_documents.insert(name);
    }
    for (const auto& [name, document] : desired_.multi_key_listeners) {
      snapshot().listener_documents.insert(multi_key_listener(name));
    }
    for (const auto& [name, document] : desired_.connectors) {
      snapshot().connector_documents.insert(name);
    }
    for (const auto& [name, document] : desired_.attached_bindings) {
      snapshot().connector_documents.insert(attached_connector(name));
    }
    refuse_further_sites();
    if (const auto* site = desired_.site()) add_site(*site);
    add_connectors();
    add_attached_connectors();
    add_links();
    add_acceptors();
    add_siblings();
    add_remote_services();
    find_reachable_keys();
    add_listeners();
    add_published_services();
    return std::move(compiled_);
  }

 private:
  proxy::Snapshot& snapshot() { return *compiled_.snapshot; }

  template <class D>
  void problem(Severity severity, const D& document, std::string text) {
    compiled_.problems.push_back(
        {severity, document.origin, {std::string(D::kKind), document.name()}, std::move(text)});
  }
  template <class D>
  void error(const D& document, std::string text) {
    problem(Severity::error, document, std::move(text));
  }
  template <class D>
  void wait(const D& document) {
    compiled_.waiting.insert({std::string(D::kKind), document.name()});
  }

  // Empty: not resolved yet, or an error, which is reported.
  template <class D>
  std::vector<io::Address> addresses_of(const D& document, const std::string& host, uint16_t port) {
    if (const auto numeric = io::Address::parse(host, port)) return {*numeric};
    std::vector<io::Address> addresses;
    const auto known = observed_.hosts.find(host);
    if (known == observed_.hosts.end()) {
      wait(document);
      return addresses;
    }
    for (const std::string& text : known->second.addresses) {
      if (const auto address = io::Address::parse(text, port)) addresses.push_back(*address);
    }
    if (!addresses.empty()) return addresses;
    if (known->second.error.empty()) wait(document);
    else error(document, "host " + host + ": " + known->second.error);
    return addresses;
  }

  static std::vector<io::Address> addresses_of(const PodSelection& selection, uint16_t port) {
    std::vector<io::Address> addresses;
    for (const PodSelection::Pod& pod : selection.pods) {
      const auto address = io::Address::parse(pod.ip, port);
      if (address && !pod.is_passed_over) addresses.push_back(*address);
    }
    return addresses;
  }

  // Of the pods at these addresses, in the same order.
  static std::vector<std::string> names_of(const PodSelection& selection, uint16_t port) {
    std::vector<std::string> names;
    for (const PodSelection::Pod& pod : selection.pods) {
      if (io::Address::parse(pod.ip, port) && !pod.is_passed_over) names.push_back(pod.name);
    }
    return names;
  }
  std::vector<std::string> names_of(const ConnectorDocument& connector) const {
    if (!connector.host.empty()) return {};
    return names_of(observed_.cluster->pods.at(connector.name()), connector.port);
  }

  // Of the pods that it selects; empty: none is there, or an error, which is reported.
  std::vector<io::Address> pods_of(const ConnectorDocument& connector) {
    std::vector<io::Address> addresses;
    if (!observed_.cluster) {
      error(connector, "spec.selector needs Kubernetes; write spec.host");
      return addresses;
    }
    const auto known = observed_.cluster->pods.find(connector.name());
    if (known != observed_.cluster->pods.end()) {
      addresses = addresses_of(known->second, connector.port);
      if (!known->second.error.empty()) error(connector, known->second.error);
    }
    if (addresses.empty()) wait(connector);
    return addresses;
  }

  // Empty: none is known or ready, or an error, which is reported.
  std::vector<io::Address> backends_of(const ConnectorDocument& connector) {
    if (connector.host.empty()) return pods_of(connector);
    const ServiceSelection* selection = service_of(connector, observed_);
    if (!selection) return addresses_of(connector, connector.host, connector.port);
    std::vector<io::Address> addresses;
    for (const ServiceSelection::Backend& backend : selection->backends) {
      const auto address = io::Address::parse(backend.ip, backend.port);
      if (address) addresses.push_back(*address);
    }
    if (!selection->error.empty()) error(connector, selection->error);
    else if (addresses.empty()) wait(connector);
    return addresses;
  }

  // Nobody has said yet which backends it has, nor that they cannot be told.
  bool are_awaited(const ConnectorDocument& connector) const {
    const auto is_open = [](const auto& selection) {
      return !selection.is_known && selection.error.empty();
    };
    if (connector.host.empty()) {
      if (!observed_.cluster) return false;
      const auto known = observed_.cluster->pods.find(connector.name());
      return known == observed_.cluster->pods.end() || is_open(known->second);
    }
    if (const ServiceSelection* selection = service_of(connector, observed_)) {
      return is_open(*selection);
    }
    const auto known = observed_.hosts.find(connector.host);
    return known == observed_.hosts.end() || known->second.error.empty();
  }

  static std::vector<io::Address> any_address(uint16_t port) {
    return {*io::Address::parse("::", port), *io::Address::parse("0.0.0.0", port)};
  }

  // Where the pod has the listener behind a Service; empty: that is not known yet.
  std::vector<io::Address> behind_service(const ServicePlace& place) const {
    const auto port = observed_.cluster->ports.find(place);
    return port == observed_.cluster->ports.end() ? std::vector<io::Address>()
                                                  : any_address(port->second);
  }

  template <class D>
  std::vector<io::Address> addresses_of(const D& listener) {
    if (observed_.cluster) {
      auto addresses = behind_service({listener.host, listener.port});
      if (addresses.empty()) wait(listener);
      return addresses;
    }
    auto addresses = addresses_of(listener, listener.host, listener.port);
    // "::" means both families, as servers on Linux have it by default.
    const auto any_v6 = io::Address::parse("::", listener.port);
    if (addresses.size() == 1 && addresses[0] == *any_v6) return any_address(listener.port);
    return addresses;
  }

  // Errors are reported, so that nothing that should be encrypted is served in the clear.
  template <class D>
  bool wants_tls(const D& document) {
    if (document.tls_credentials.empty()) return false;
    error(document,
          "spec.tlsCredentials is not supported yet; nothing is served rather than in the clear");
    return true;
  }

  template <class D>
  std::optional<proxy::Credentials> credentials_of(const D& document, const std::string& name) {
    proxy::Credentials credentials;
    if (const auto secret = desired_.secrets.find(name); secret != desired_.secrets.end()) {
      const auto& data = secret->second.data;
      const auto part = [&](const char* key) {
        const auto found = data.find(key);
        return found == data.end() ? std::string() : found->second;
      };
      credentials = {part("tls.crt"), part("tls.key"), part("ca.crt")};
      if (credentials.certificate.empty() || credentials.private_key.empty() ||
          credentials.ca.empty()) {
        error(document, "Secret " + name + " must have tls.crt, tls.key and ca.crt");
        return std::nullopt;
      }
      return credentials;
    }
    const auto made = observed_.credentials.find(name);
    if (made != observed_.credentials.end()) return made->second;
    problem(Severity::waiting, document, "Secret " + name + " is missing");
    return std::nullopt;
  }

  void add_site(const SiteDocument& site) {
    snapshot().limits = site_limits(site.settings);
    snapshot().allows_transit = allows_transit(site.settings);
    const std::string shortfall = ha_shortfall(site, observed_);
    if (!shortfall.empty()) problem(Severity::warning, site, shortfall);
  }

  void refuse_further_sites() {
    for (const auto& [name, site] : desired_.sites) {
      if (&site == desired_.site()) continue;
      error(site, "a namespace has one Site, here " + desired_.site()->name());
    }
  }

  void add_connectors() {
    for (const ConnectorDocument* connector : in_order(desired_.connectors)) {
      if (wants_tls(*connector)) continue;
      auto addresses = backends_of(*connector);
      if (addresses.empty()) {
        if (are_awaited(*connector)) snapshot().awaited_keys.insert(connector->routing_key);
        continue;
      }
      const TrafficSettings traffic = traffic_settings(connector->settings);
      snapshot().connectors.push_back({.name = connector->name(),
                                       .routing_key = connector->routing_key,
                                       .host = connector->host,
                                       .addresses = std::move(addresses),
                                       .names = names_of(*connector),
                                       .drops_connections = traffic.drops_connections,
                                       .tcp = traffic.tcp});
    }
  }

  void add_attached_connectors() {
    for (const auto* binding : in_order(desired_.attached_bindings)) {
      if (!observed_.cluster) {
        error(*binding, "needs Kubernetes");
        continue;
      }
      const auto found = observed_.cluster->attached.find(binding->name());
      if (found == observed_.cluster->attached.end()) continue;
      const AttachedSelection& attached = found->second;
      if (!attached.error.empty()) error(*binding, attached.error);
      if (!attached.connector) continue;
      if (!attached.connector->tls_credentials.empty()) {
        error(*binding,
              "spec.tlsCredentials of the AttachedConnector is not supported: Secrets of "
              "other namespaces are never read");
        continue;
      }
      auto addresses = addresses_of(attached.pods, attached.connector->port);
      if (addresses.empty()) continue;
      snapshot().connectors.push_back(
          {.name = attached_connector(binding->name()),
           .routing_key = binding->routing_key,
           .host = {},
           .addresses = std::move(addresses),
           .names = names_of(attached.pods, attached.connector->port),
           .drops_connections = traffic_settings(binding->settings).drops_connections,
           .tcp = traffic_settings(attached.connector->settings).tcp});
    }
  }

  void add_links() {
    for (const LinkDocument* link : in_order(desired_.links)) {
      if (link->tls_credentials.empty()) {
        error(*link, "spec.tlsCredentials is missing");
        continue;
      }
      const auto credentials = credentials_of(*link, link->tls_credentials);
      proxy::LinkConfig config{.name = link->name(), .cost = link->cost};
      size_t endpoints = 0;
      for (const LinkEndpoint& endpoint : link->endpoints) {
        if (!endpoint.name.empty() && endpoint.name != "inter-router") continue;
        ++endpoints;
        auto addresses = addresses_of(*link, endpoint.host, endpoint.port);
        if (!addresses.empty()) config.targets.push_back({endpoint.host, std::move(addresses)});
      }
      if (endpoints == 0) error(*link, "no endpoint is called inter-router");
      if (!credentials || config.targets.empty()) continue;
      config.credentials = *credentials;
      snapshot().links.push_back(std::move(config));
    }
  }

  void add_acceptors() {
    for (const auto& [name, access] : router_accesses(desired_, observed_)) {
      const RouterAccessRole* inter_router = nullptr;
      for (const RouterAccessRole& role : access.roles) {
        if (role.name == "inter-router") inter_router = &role;
        else problem(Severity::warning, access, "role " + role.name + " is not supported yet");
      }
      if (!inter_router) continue;
      const auto credentials = credentials_of(access, access.tls_credentials);
      if (!credentials) continue;
      uint16_t port = inter_router->port;
      if (port == 0) {
        const auto chosen = observed_.access_ports.find(name);
        port = chosen == observed_.access_ports.end() ? kLinkPort : chosen->second;
      }
      proxy::LinkAcceptorConfig acceptor{.name = name, .credentials = *credentials};
      if (access.bind_host.empty()) {
        acceptor.addresses = {*io::Address::parse("0.0.0.0", port),
                              *io::Address::parse("::", port)};
      } else {
        acceptor.addresses = addresses_of(access, access.bind_host, port);
      }
      if (!acceptor.addresses.empty()) snapshot().acceptors.push_back(std::move(acceptor));
    }
  }

  // One link between each two of them: the lower address dials.
  void add_siblings() {
    if (!observed_.cluster || observed_.cluster->siblings.empty()) return;
    const auto credentials = observed_.credentials.find(std::string(kSiblingSecret));
    if (credentials == observed_.credentials.end()) return;
    const std::string& own_address = observed_.cluster->own_address;
    if (const auto at = io::Address::parse(own_address, kSiblingPort)) {
      snapshot().acceptors.push_back({.name = std::string(kSiblingSecret),
                                      .addresses = {*at},
                                      .credentials = credentials->second,
                                      .is_for_siblings = true});
    }
    for (const std::string& sibling : observed_.cluster->siblings) {
      const auto address = io::Address::parse(sibling, kSiblingPort);
      if (!address || sibling < own_address) continue;
      snapshot().links.push_back({.name = std::string(kSiblingLinkPrefix) + sibling,
                                  .targets = {{std::string(kSiblingHost), {*address}}},
                                  .credentials = credentials->second,
                                  .is_sibling = true});
    }
  }

  // Those of a site that is held too: a stream for it waits for its link.
  void add_remote_services() {
    std::map<std::string_view, const RemoteSite*> neighbours;
    for (const RemoteSite& remote : observed_.remote_sites) {
      if (remote.is_neighbour()) neighbours.emplace(remote.state.site.id, &remote);
    }
    for (const RemoteSite& remote : observed_.remote_sites) {
      const std::vector<proxy::RemoteService> places = places_of(remote, neighbours);
      for (const ServiceInfo& service : remote.state.services) {
        if (service.connectors.empty()) continue;
        for (const proxy::RemoteService& place : places) {
          add_remote_service(service.routing_key, place);
        }
      }
    }
  }

  // The first steps to a site, without a routing key: to itself, and to neighbours on the way.
  std::vector<proxy::RemoteService> places_of(
      const RemoteSite& remote,
      const std::map<std::string_view, const RemoteSite*>& neighbours) const {
    std::vector<proxy::RemoteService> places;
    const auto add = [&](const RemoteSite& neighbour, uint32_t cost, bool is_cut) {
      if (neighbour.is_linked) {
        places.push_back(
            {.site_id = neighbour.state.site.id, .replica = {}, .cost = cost, .is_cut = is_cut});
      }
      for (const SiblingLink& sibling : neighbour.siblings) {
        places.push_back({.site_id = observed_.site.id,
                          .replica = sibling.replica,
                          .cost = sum_of_costs(sibling.cost, cost),
                          .is_cut = is_cut});
      }
    };
    add(remote, 0, false);
    for (const MeshWay& way : remote.ways) {
      const auto neighbour = neighbours.find(way.neighbour);
      if (neighbour != neighbours.end()) add(*neighbour->second, way.cost, way.is_cut);
    }
    return places;
  }

  // Several sites may be behind one neighbour: the nearest counts.
  void add_remote_service(const std::string& key, const proxy::RemoteService& place) {
    auto& services = snapshot().remote_services;
    const auto [first, is_new] =
        remote_services_.try_emplace({key, place.site_id, place.replica}, services.size());
    if (is_new) {
      services.push_back(place);
      services.back().routing_key = key;
      return;
    }
    proxy::RemoteService& known = services[first->second];
    if (std::tie(known.is_cut, known.cost) <= std::tie(place.is_cut, place.cost)) return;
    known.is_cut = place.is_cut;
    known.cost = place.cost;
  }

  void find_reachable_keys() {
    for (const auto& [name, connector] : desired_.connectors) {
      reachable_keys_.insert(connector.routing_key);
    }
    for (const auto& [name, binding] : desired_.attached_bindings) {
      reachable_keys_.insert(binding.routing_key);
    }
    for (const RemoteSite& remote : observed_.remote_sites) {
      for (const ServiceInfo& service : remote.state.services) {
        if (!service.connectors.empty()) reachable_keys_.insert(service.routing_key);
      }
    }
    for (const auto& [name, link] : desired_.links) {
      const bool is_up =
          std::any_of(observed_.links.begin(), observed_.links.end(), [&](const LinkState& state) {
            return !state.is_incoming && state.link == name && state.is_up();
          });
      if (!is_up) is_a_link_down_ = true;
    }
  }
  bool may_be_reachable(const std::string& key) const {
    return is_a_link_down_ || reachable_keys_.contains(key);
  }

  void add_listeners() {
    for (const ListenerDocument* listener : in_order(desired_.listeners)) {
      add_listener(*listener, may_be_reachable(listener->routing_key),
                   {.name = listener->name(), .routing_key = listener->routing_key});
    }
    for (const MultiKeyListenerDocument* listener : in_order(desired_.multi_key_listeners)) {
      const bool may_reach_one =
          std::ranges::any_of(listener->choice.keys, [&](const proxy::KeyChoice::Key& key) {
            return key.weight > 0 && may_be_reachable(key.key);
          });
      add_listener(*listener, may_reach_one,
                   {.name = multi_key_listener(listener->name()), .choice = listener->choice});
    }
  }

  // `config` has what the kind of listener adds.
  template <class D>
  void add_listener(const D& document, bool is_reachable, proxy::ListenerConfig config) {
    const std::string title = std::string(D::kKind) + " " + document.name();
    const auto host_and_port = std::pair(document.host, document.port);
    const auto [first, is_free] = taken_.try_emplace(host_and_port, title);
    if (!is_free) {
      return error(document, first->second + " with host " + document.host + " and port " +
                                 std::to_string(document.port) + " already exists");
    }
    if (wants_tls(document)) return;
    config.addresses = addresses_of(document);
    if (config.addresses.empty() || !take_addresses(document, config.addresses, title)) return;
    if (!is_reachable) return wait(document);
    const TrafficSettings traffic = traffic_settings(document.settings);
    config.connections_max = traffic.connections_max;
    config.drops_connections = traffic.drops_connections;
    config.tcp = traffic.tcp;
    snapshot().listeners.push_back(std::move(config));
  }

  // `localhost` and `127.0.0.1` are two hosts and one address.
  template <class D>
  bool take_addresses(const D& document, const std::vector<io::Address>& addresses,
                      const std::string& title) {
    for (const io::Address& address : addresses) {
      const auto found = taken_addresses_.find(address.to_string());
      if (found == taken_addresses_.end()) continue;
      error(document, found->second + " with host " + address.host() + " and port " +
                          std::to_string(address.port()) + " already exists");
      return false;
    }
    for (const io::Address& address : addresses) taken_addresses_[address.to_string()] = title;
    return true;
  }

  void add_published_services() {
    if (observed_.service_host.empty() && !observed_.cluster) return;
    for (const auto& [key, port] : published_services(desired_, observed_)) {
      add_published_service(key, port);
    }
  }

  void add_published_service(const std::string& key, uint16_t port) {
    const std::string name = published_listener(key, port);
    const auto refuse = [&](std::string text) {
      compiled_.problems.push_back(
          {Severity::error, {}, {"Service", key + ":" + std::to_string(port)}, std::move(text)});
    };
    if (observed_.cluster) {
      auto addresses = behind_service({service_name(key), port});
      if (addresses.empty()) return;
      snapshot().listeners.push_back(
          {.name = name, .routing_key = key, .addresses = std::move(addresses)});
      return;
    }
    const auto address = io::Address::parse(observed_.service_host, port);
    if (!address) return refuse("service address: " + address.error().text());
    const auto [first, is_free] = taken_addresses_.try_emplace(address->to_string(), name);
    if (!is_free) {
      return refuse("cannot be offered at " + address->to_string() + ": " + first->second +
                    " is there; write a Listener with another port");
    }
    snapshot().listeners.push_back({.name = name, .routing_key = key, .addresses = {*address}});
  }

  const Desired& desired_;
  const Observed& observed_;
  Compiled compiled_;
  // Where in the snapshot: by key, site and replica.
  std::map<std::tuple<std::string, std::string, std::string>, size_t> remote_services_;
  std::set<std::string> reachable_keys_;
  bool is_a_link_down_ = false;
  // "Listener backend", or a published service, by host and port and by address.
  std::map<std::pair<std::string, uint16_t>, std::string> taken_;
  std::map<std::string, std::string> taken_addresses_;
};

}  // namespace

Compiled compile(const Desired& desired, const Observed& observed) {
  return Compilation(desired, observed).run();
}

std::string ha_shortfall(const SiteDocument& site, const Observed& observed) {
  if (!site.is_ha) return {};
  if (!observed.cluster) return "spec.ha needs Kubernetes: on a machine a site is one process";
  const uint32_t replicas = observed.cluster->replicas;
  if (replicas == 0 || replicas >= kHaReplicas) return {};
  return "spec.ha asks for 2 replicas, the Deployment has " + std::to_string(replicas) +
         ": kubectl scale deployment/istmo --replicas 2";
}

const ServiceSelection* service_of(const ConnectorDocument& connector, const Observed& observed) {
  if (!observed.cluster) return nullptr;
  const auto found = observed.cluster->services.find(connector.name());
  return found == observed.cluster->services.end() ? nullptr : &found->second;
}

std::set<std::string> hosts_to_resolve(const Desired& desired, const Observed& observed) {
  std::set<std::string> hosts;
  const auto add = [&](const std::string& host) {
    if (!host.empty() && !io::Address::is_numeric(host)) hosts.insert(host);
  };
  if (!observed.cluster) {  // else it is the name of a Service
    for (const auto& [name, listener] : desired.listeners) add(listener.host);
    for (const auto& [name, listener] : desired.multi_key_listeners) add(listener.host);
  }
  for (const auto& [name, connector] : desired.connectors) {
    if (!service_of(connector, observed)) add(connector.host);
  }
  for (const auto& [name, access] : desired.router_accesses) add(access.bind_host);
  for (const auto& [name, link] : desired.links) {
    for (const LinkEndpoint& endpoint : link.endpoints) add(endpoint.host);
  }
  return hosts;
}

DocumentMap<RouterAccessDocument> router_accesses(const Desired& desired,
                                                  const Observed& observed) {
  DocumentMap<RouterAccessDocument> accesses = desired.router_accesses;
  const bool is_written = std::any_of(accesses.begin(), accesses.end(), [](const auto& entry) {
    const auto& roles = entry.second.roles;
    return std::any_of(roles.begin(), roles.end(),
                       [](const auto& role) { return role.name == "inter-router"; });
  });
  const bool is_asked =
      observed.is_link_access_asked || (desired.site() && desired.site()->accepts_links());
  if (is_written || !is_asked) return accesses;
  RouterAccessDocument implied;
  if (desired.site()) implied.origin = desired.site()->origin;
  implied.metadata.name = kImpliedAccess;
  implied.roles = {{.name = "inter-router", .port = 0}};
  implied.tls_credentials = kSiteServerSecret;
  accesses.emplace(kImpliedAccess, std::move(implied));
  return accesses;
}

bool makes_credentials(const RouterAccessDocument& access, const Desired& desired) {
  const bool is_ours = access.name() == kImpliedAccess || access.generates_tls_credentials ||
                       access.tls_credentials == kSiteServerSecret;
  return is_ours && !desired.secrets.contains(access.tls_credentials) &&
         !desired.certificates.contains(access.tls_credentials);
}

}  // namespace istmo::control
