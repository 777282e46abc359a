// What linked sites tell each other: who they are, what they offer, what they listen to.
//
// Each replica of a site sends its full state with a growing sequence number, as one JSON message
// to each replica of a neighbour, whenever it changed or a link opened. With it goes what it knows
// of the sites behind it (mesh_routes.h). Messages come from another site, so they are checked and
// bounded like any foreign input.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "dataplane/proxy/replica.h"

namespace istmo::control {

struct SiteInfo {
  std::string id;  // UUID of the site, equal to the identity in its certificate
  std::string name;
  std::string namespace_name;
  std::string platform;  // "linux", "kubernetes"
  std::string version;   // of Istmo
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
  friend bool operator==(const MeshLink&, const MeshLink&) = default;
};

// A further site that the teller reaches, and how.
struct MeshRoute {
  SiteInfo site;
  std::vector<ServiceInfo> services;  // as of a MeshSiteState
  std::vector<MeshLink> links;
  std::vector<std::string> path;  // ids of the sites between the teller and that one, in order
  uint32_t cost = 1;              // of all links on the way together
  bool is_cut = false;  // a link on the way is lost, and may come back (MeshState::kHoldTime)
  friend bool operator==(const MeshRoute&, const MeshRoute&) = default;
};

// The state that a site sends.
struct MeshSiteState {
  SiteInfo site;
  std::vector<ServiceInfo> services;  // sorted by routing key, each key once
  std::vector<MeshLink> links;
  bool is_leaving = false;        // the process that says so ends soon, and its site goes on
  std::vector<MeshRoute> routes;  // to each other site that it knows, the nearest first
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
inline constexpr size_t kMeshRoutesMax = 1'000;  // the two above hold for all of them together, too

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

// A way to a site that leads over a neighbour.
struct MeshWay {
  std::vector<std::string> path;  // ids of the sites in between, the neighbour first
  uint32_t cost = 1;              // beyond the link with the neighbour
  bool is_cut = false;            // as of a MeshRoute, or the neighbour itself is not reachable
  const std::string& neighbour() const { return path.front(); }
  friend bool operator==(const MeshWay&, const MeshWay&) = default;
};

// Another site as this one knows it, all its replicas together.
struct RemoteSite {
  MeshSiteState state;
  MeshTrust trust;
  bool is_reachable = true;           // false: a link was lost without a word, see kHoldTime
  bool is_linked = true;              // false: only siblings or neighbours are, see below
  std::vector<std::string> siblings;  // replicas of this site that are linked with it (siblings.h)
  std::vector<MeshWay> ways;          // over neighbours, the best first (mesh_routes.h)
  bool is_neighbour() const { return is_linked || !siblings.empty(); }
};

// Knowledge about the neighbours, told by each of their replicas for itself. Owned by the
// controller, control thread only.
// A site that ends its links in order is forgotten at once; one that falls silent keeps its
// services for kHoldTime, so that its listeners stay open over a short cut. So does one whose last
// process said that it leaves: another one takes its place.
class MeshState {
 public:
  static constexpr Duration kHoldTime = Duration::seconds(30);
  enum class Loss : uint8_t { orderly, silent };

  explicit MeshState(std::string local_site_id) : local_site_id_(std::move(local_site_id)) {}

  // A message of the site that the link's certificate names; it must call itself the same. Error:
  // as of read_mesh_message(), and the message was ignored. True: what is known changed. Old
  // sequence numbers of one session are ignored.
  // Error::limit also for one replica more of a site than kReplicasMax.
  Result<bool> on_message(const proxy::Replica& replica, std::string_view message);
  // The mesh channel to it opened: its sequence starts anew, a hold ends.
  void on_replica_open(const proxy::Replica& replica);
  // All links to it are gone. True: what is known changed.
  bool on_replica_lost(const proxy::Replica& replica, Loss loss, Instant now);
  bool is_leaving(const proxy::Replica& replica) const;
  // Forgets sites whose hold time is over. True: what is known changed.
  bool tick(Instant now);
  // When tick() has something to do; Instant::never() if nothing is held.
  Instant next_deadline() const;

  // By id. What the reachable replicas of a site say counts; if there is none, what the held ones
  // said.
  std::vector<RemoteSite> sites() const;

 private:
  struct Known {
    RemoteSite remote;
    bool has_state = false;     // a message came at all
    bool has_sequence = false;  // a message came since the mesh channel opened
    uint64_t sequence = 0;
    Instant forget_at = Instant::never();
  };
  Result<Known*> known_of(const proxy::Replica& replica);

  std::string local_site_id_;
  std::map<proxy::Replica, Known> known_;
};

// Numbers what we tell neighbours, and knows what each was told last.
class MeshAnnouncer {
 public:
  // The message that the neighbour has to get now; empty: it was told the same before.
  std::string message_for(const proxy::Replica& replica, const MeshSiteState& state,
                          const MeshTrust& trust,
                          const std::vector<MeshSiteState>& neighbours = {});
  // Its mesh channel is a new one, or closed: it was told nothing.
  void forget(const proxy::Replica& replica) { told_.erase(replica); }

 private:
  struct Told {
    uint64_t state = 0;  // number of the state
    MeshTrust trust;
  };
  MeshSiteState state_;
  std::vector<MeshSiteState> neighbours_;
  uint64_t state_number_ = 0;
  uint64_t sequence_ = 0;
  std::map<proxy::Replica, Told> told_;
};

}  // namespace istmo::control
