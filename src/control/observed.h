// What is, next to what should be (desired.h): the facts that compile() and status need. Plain
// values, gathered by the controller from the resolver, PKI, tokens, mesh and data plane.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/desired.h"
#include "control/mesh.h"
#include "dataplane/io/socket.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {

// What the resolver knows of a host name. Neither addresses nor error: still asking.
struct HostAddresses {
  std::vector<std::string> addresses;  // numeric, IPv4 before IPv6, then in order: answers rotate
  std::string error;                   // the last attempt failed; addresses are the last good ones
  friend bool operator==(const HostAddresses&, const HostAddresses&) = default;
};

// All connections of one link together. The controller keeps them in a LinkTable (link_table.h).
struct LinkState {
  std::string link;  // Link document; empty for incoming links
  bool is_incoming = false;
  std::string site_id;  // known once it was open
  std::string site_name;
  std::string remote_address;
  uint32_t connections_open = 0;
  uint32_t connections_wanted = 1;
  uint32_t cost = 1;
  std::string error;  // why it is not open
  bool is_up() const { return connections_open > 0; }
  friend bool operator==(const LinkState&, const LinkState&) = default;
};

struct GrantState {
  std::string url;
  std::vector<std::string> urls;  // all, `url` first
  std::string code;
  std::string ca;
  uint32_t redemptions = 0;
  std::string expiration_time;  // RFC 3339
  std::string error;
  std::string ended;  // why it cannot be redeemed any more; then url, code and ca are empty
};

struct TokenState {
  bool is_redeemed = false;
  std::string error;
};

struct CertificateState {
  std::string expiration;  // RFC 3339
  std::string error;
};

// Where others reach this site, for Site and RouterAccess status.
struct AccessEndpoint {
  std::string name;  // "inter-router"
  std::string host;
  uint16_t port = 0;
  std::string group;  // the RouterAccess
};

// The pods that the selector of a Connector selects, those that are ready (or all, if it says so).
struct PodSelection {
  struct Pod {
    std::string name;
    std::string ip;
    bool is_passed_over = false;  // it is in another zone than this one, and others are not
    friend bool operator==(const Pod&, const Pod&) = default;
  };
  std::vector<Pod> pods;
  bool is_known = false;  // all pods of the namespace were told
  std::string error;      // the selector is none, or pods cannot be watched
};

// What a Connector's host means that is a Service of the namespace.
struct ServiceSelection {
  struct Backend {
    std::string ip;
    uint16_t port = 0;
    friend bool operator==(const Backend&, const Backend&) = default;
  };
  std::string service;
  bool is_known = false;
  std::vector<Backend> backends;  // those that are ready
  std::string error;              // the Service has no such port
};

// What an AttachedConnectorBinding takes from another namespace.
struct AttachedSelection {
  std::optional<AttachedConnectorDocument> connector;
  PodSelection pods;
  std::string waiting;  // what is not there yet
  std::string error;    // why it cannot be taken
};

// Another replica of this site, as it tells (siblings.h).
struct SiblingState {
  std::string replica;
  MeshSiteState state;                    // of this site, as that process sees it
  std::vector<MeshSiteState> neighbours;  // that it is linked with
  friend bool operator==(const SiblingState&, const SiblingState&) = default;
};

// Where clients find a service: the name and port of a Service.
struct ServicePlace {
  std::string host;
  uint16_t port = 0;
  friend auto operator<=>(const ServicePlace&, const ServicePlace&) = default;
};

// To which ports of the gateway's pods a host leads.
enum class IngressUse : uint8_t { both, links, grants };

// Where others reach the gateway's pods. The ports there lead to the pods' own; 0: they are the
// same.
struct IngressAddress {
  std::string host;
  uint16_t link_port = 0;
  uint16_t grant_port = 0;
  IngressUse use = IngressUse::both;
  bool leads_to(IngressUse wanted) const { return use == IngressUse::both || use == wanted; }
  friend bool operator==(const IngressAddress&, const IngressAddress&) = default;
};

// What a site has in a cluster and not on a machine.
struct ClusterView {
  std::map<std::string, PodSelection> pods;           // by Connector
  std::map<std::string, ServiceSelection> services;   // by Connector; those that are not: by DNS
  std::map<std::string, AttachedSelection> attached;  // by AttachedConnectorBinding
  // The port at which the gateway's pod has the listener behind a Service.
  std::map<ServicePlace, uint16_t> ports;
  std::vector<IngressAddress> ingress;  // empty: there is no Service in front of the gateway
  // Addresses of the gateway's pods, if it has several: of this one, and of the others.
  std::string own_address;
  std::vector<std::string> siblings;
  bool are_siblings_known = true;  // false: the cluster has not told yet
  uint32_t replicas = 0;           // that the gateway's Deployment is to have; 0: not known
};

struct Observed {
  UnreadDocuments unread;              // what Desired may lack
  uint64_t generation = 1;             // of the Snapshot to be made
  SiteInfo site;                       // this site
  bool acts_for_site = true;           // this process, if there are several of the site
  std::string service_host;            // where propagated services are bound; empty: they are not
  std::optional<ClusterView> cluster;  // then listeners stand behind Services

  std::map<std::string, HostAddresses> hosts;  // by the name as written, see hosts_to_resolve()
  // PEM texts by Secret name that PKI made; Secrets in Desired come first.
  std::map<std::string, proxy::Credentials> credentials;
  // The port that was chosen for a RouterAccess that asks for none, by its name.
  std::map<std::string, uint16_t> access_ports;
  // The link port is needed although neither Site nor RouterAccess asked: by a grant that can be
  // redeemed, or by a site that holds a certificate and may come back.
  bool is_link_access_asked = false;

  // Backends that are set aside: by connector, then by address, with the reason.
  std::map<std::string, std::map<std::string, std::string>> backends_set_aside;

  std::vector<SiblingState> siblings;
  std::vector<RemoteSite> remote_sites;  // MeshState::sites(), and what siblings reach
  std::vector<LinkState> links;          // of this process and of siblings

  // For status only.
  std::vector<proxy::Problem> running_problems;  // DataplaneSink::on_published
  uint64_t published_generation = 0;             // 0: nothing runs yet
  std::map<std::string, GrantState> grants;
  std::map<std::string, TokenState> tokens;
  std::map<std::string, CertificateState> certificates;
  std::vector<AccessEndpoint> endpoints;
};

}  // namespace istmo::control
