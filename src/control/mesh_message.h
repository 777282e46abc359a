// The messages that linked sites send each other over the mesh, as values and as text.
//
// Pure functions. Messages come from another site, so they are checked and bounded like any foreign
// input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace istmo::control {

struct SiteInfo {
  std::string id;  // UUID of the site, equal to the identity in its certificate
  std::string name;
  std::string namespace_name;
  std::string platform;  // "linux", "kubernetes"
  std::string version;   // of Istmo
  // What it calls itself, where its certificate is not one of a token and `id` is the name in that.
  // Nobody vouches for it: it serves to find circles, and for nothing else.
  std::string own_id;
  const std::string& called() const { return own_id.empty() ? id : own_id; }
  friend bool operator==(const SiteInfo&, const SiteInfo&) = default;
};

// One routing key as one site sees it.
struct ServiceInfo {
  std::string routing_key;
  std::string type = "tcp";
  std::vector<uint16_t> published_ports;  // other sites listen there by themselves (`expose`)
  std::vector<std::string> connectors;    // names; not empty: the site serves the key
  std::vector<std::string> listeners;     // names; not empty: the site has clients for the key
  friend bool operator==(const ServiceInfo&, const ServiceInfo&) = default;
};

// A link of a site, for the picture of the network.
struct MeshLink {
  std::string name;
  std::string remote_site_id;
  std::string remote_site_name;
  bool is_operational = false;
  uint32_t cost = 1;
  friend bool operator==(const MeshLink&, const MeshLink&) = default;
};

// A further site that the teller reaches, and how.
struct MeshRoute {
  SiteInfo site;
  std::vector<ServiceInfo> services;  // as of a MeshSiteState
  std::vector<MeshLink> links;
  std::vector<std::string> path;  // sites between the teller and that one, in order: called()
  uint32_t cost = 1;              // of all links on the way together, see sum_of_costs()
  bool is_cut = false;  // a link on the way is lost, and may come back (MeshState::kHoldTime)
  friend bool operator==(const MeshRoute&, const MeshRoute&) = default;
};

// The state that a site sends.
struct MeshSiteState {
  SiteInfo site;
  std::vector<ServiceInfo> services;  // sorted by routing key, each key once
  std::vector<MeshLink> links;
  bool is_leaving = false;        // the process that says so ends soon, and its site goes on
  std::vector<MeshRoute> routes;  // one to each other site that it knows, the nearest first
  friend bool operator==(const MeshSiteState&, const MeshSiteState&) = default;
};

// What a site tells one neighbour about certificates, see certificate_renewal.h. PEM texts; each
// may be empty.
struct MeshTrust {
  std::string ca;                   // of the sender: whom those must trust that it signed for
  std::string request;              // the receiver is to sign this, PKCS #10
  std::string certificate;          // the answer to a request of the receiver
  std::string certificate_request;  // SHA-256 of that request, hexadecimal
  friend bool operator==(const MeshTrust&, const MeshTrust&) = default;
};

inline constexpr int kMeshVersion = 1;
inline constexpr size_t kMeshServicesMax = 10'000;
inline constexpr size_t kMeshPublishedMax = 1'000;  // ports that one site has others listen on
inline constexpr size_t kMeshRoutesMax = 1'000;
inline constexpr size_t kMeshNamesMax = 1'000;    // connectors or listeners of one key
inline constexpr size_t kMeshPortsMax = 64;       // published for one key
inline constexpr size_t kMeshLinksMax = 1'000;    // of one site
inline constexpr size_t kMeshNodesMax = 220'000;  // of JSON: values and keys

// What sites take of a message, at most. The readers' bounds (all but octets) hold for the sender
// itself, and once more for all its routes together; who writes keeps to them.
struct MeshWeight {
  size_t sites = 0;
  size_t services = 0;
  size_t ports = 0;  // published
  size_t nodes = 0;
  size_t bytes = 0;
};
MeshWeight weight_of(const MeshRoute& route);
MeshWeight weight_of(const MeshSiteState& state);  // without its routes

class MeshRoom {
 public:
  MeshRoom() = default;
  // An equal share of it.
  MeshRoom share(size_t among) const;
  // False: it does not fit, and nothing was taken.
  bool take(const MeshWeight& weight);

 private:
  // Two of them, and trust, are a message of the largest size.
  MeshWeight left_{.sites = kMeshRoutesMax,
                   .services = kMeshServicesMax,
                   .ports = kMeshPublishedMax,
                   .nodes = kMeshNodesMax,
                   .bytes = 2'000'000};
};

// Ends at the largest number.
uint32_t sum_of_costs(uint32_t a, uint32_t b);

// The parts of a message as members of a JSON object, for those who send them often.
std::string write_mesh_site(const MeshSiteState& state);       // without its routes
std::string write_mesh_route(const MeshRoute& route);          // an object
std::string write_mesh_neighbour(const MeshSiteState& state);  // an object, with its routes
std::string write_mesh_trust(const MeshTrust& trust);
struct MeshParts {
  std::string_view site;
  std::string routes;      // objects with commas between them
  std::string neighbours;  // likewise
  std::string trust;
};
// With a comma between it and the one before.
void add_mesh_item(std::string& list, std::string_view item);
std::string join_mesh_message(uint64_t sequence, const MeshParts& parts);

// `neighbours`: for another replica of this site, those that this one is linked with.
std::string write_mesh_message(const MeshSiteState& state, const MeshTrust& trust,
                               uint64_t sequence,
                               const std::vector<MeshSiteState>& neighbours = {});
struct MeshMessage {
  uint64_t sequence = 0;
  MeshSiteState state;
  MeshTrust trust;
  std::vector<MeshSiteState> neighbours;
};
// Errors: protocol (it breaks a rule), refused (a later version), limit (it says too much).
Result<MeshMessage> read_mesh_message(std::string_view text);

}  // namespace istmo::control
