// What this site tells of itself: to neighbours over the mesh, and in its own status.
//
// Pure; any thread.
#pragma once

#include <vector>

#include "control/desired.h"
#include "control/mesh.h"
#include "control/observed.h"
#include "dataplane/proxy/snapshot.h"

namespace istmo::control {

// Without routes: those are mesh_routes.h's.
MeshSiteState local_state(const Desired& desired, const Observed& observed,
                          const proxy::Snapshot& snapshot);
enum class IncomingLinks : uint8_t { left_out, included };
std::vector<MeshLink> mesh_links(const std::vector<LinkState>& links, IncomingLinks incoming);

}  // namespace istmo::control
