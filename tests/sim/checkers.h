// What holds after every turn of a site, and what may be left of it when nothing is to do. The
// checkers read what runs: credit of streams, octets in queues, blocks, timers.
#pragma once

#include "site.h"

namespace istmo::sim {

// What a simulation's sites are held to.
struct Bounds {
  bool has_link = false;
  // What a TCP stream may deliver past its credit (transport.h).
  uint64_t overshoot_bytes = 0;
  // What a link's mesh messages may have queued: no exchange, and bounded by two messages.
  uint64_t mesh_bytes = 0;
};

// How far windows were used: the least credit that any stream was seen with.
struct LowestCredit {
  int64_t tcp_bytes = INT64_MAX;
  int64_t link_bytes = INT64_MAX;  // of what the other side may send
};

// Credit is never negative and never more than a window; octets in queues and blocks stay within
// what the exchanges that are open may hold. Looks at the workers that have had a turn.
void check_turn(Site& site, const Bounds& bounds, LowestCredit& lowest);

// No exchange is open, and what is there belongs to the links and their mesh streams.
bool is_quiet(Site& site);
// The same, told piece by piece.
void check_quiet(Site& site);
// Drained: no timer is armed and no block is out.
void check_empty(Site& site);

}  // namespace istmo::sim
