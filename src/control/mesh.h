// What linked sites tell each other: who they are, what they offer, what they listen to.
//
// Each replica of a site sends its full state with a growing sequence number, as one JSON message
// (mesh_message.h) to each replica of a neighbour, whenever it changed or a link opened
// (mesh_announcer.h). With it goes what it knows of the sites behind it (mesh_routes.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "control/mesh_message.h"
#include "dataplane/proxy/replica.h"

namespace istmo::control {

// A way to a site that leads over a neighbour.
struct MeshWay {
  std::string neighbour;          // its id
  std::vector<std::string> path;  // the sites in between, the neighbour first: called()
  uint32_t cost = 1;              // beyond the link with the neighbour
  bool is_cut = false;            // as of a MeshRoute, or the neighbour itself is not reachable
  friend bool operator==(const MeshWay&, const MeshWay&) = default;
};

// A replica of this site that is linked with another site.
struct SiblingLink {
  std::string replica;
  uint32_t cost = 1;  // of its link
  friend bool operator==(const SiblingLink&, const SiblingLink&) = default;
};

// Another site as this one knows it, all its replicas together.
struct RemoteSite {
  MeshSiteState state;
  MeshTrust trust;
  bool is_reachable = true;           // false: a link was lost without a word, see kHoldTime
  bool is_linked = true;              // false: only siblings or neighbours are, see below
  std::vector<SiblingLink> siblings;  // siblings.h
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

}  // namespace istmo::control
