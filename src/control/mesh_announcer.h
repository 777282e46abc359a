// Numbers what we tell neighbours and siblings, and knows what each was told last.
//
// Owned by the controller, control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/mesh_message.h"
#include "dataplane/proxy/replica.h"

namespace istmo::control {

class MeshAnnouncer {
 public:
  // The message that the replica has to get now; empty: it was told the same before. Without the
  // routes to its site and over it: it knows better. What has no room in a message is left out: of
  // neighbours the routes first.
  std::string message_for(const proxy::Replica& replica, const MeshSiteState& state,
                          const MeshTrust& trust,
                          const std::vector<MeshSiteState>& neighbours = {});
  // Its mesh channel is a new one, or closed: it was told nothing.
  void forget(const proxy::Replica& replica) { told_.erase(replica); }
  // Services of this site itself and neighbours that no message had room for.
  size_t left_out() const { return services_left_out_ + neighbours_left_out_; }

 private:
  struct Route {
    std::string site_id;
    std::vector<std::string> path;
    std::string text;
    bool is_news_for(const std::string& site) const;
  };
  struct Told {
    uint64_t state = 0;  // state_number_
    uint64_t parts = 0;  // parts_number_
    size_t routes = 0;   // hash of their text
    MeshTrust trust;
  };
  void take(const MeshSiteState& state, const std::vector<MeshSiteState>& neighbours);
  void write_site(MeshSiteState site);
  void write_neighbours(std::vector<MeshSiteState> neighbours);

  MeshSiteState state_;
  std::vector<MeshSiteState> neighbours_;
  std::string site_text_;
  std::vector<Route> routes_;
  std::string neighbours_text_;
  uint64_t state_number_ = 0;  // of all together
  uint64_t parts_number_ = 0;  // of what does not depend on who is told
  uint64_t sequence_ = 0;
  size_t services_left_out_ = 0;
  size_t neighbours_left_out_ = 0;
  std::map<proxy::Replica, Told> told_;
};

}  // namespace istmo::control
