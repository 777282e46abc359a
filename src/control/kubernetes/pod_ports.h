// Which port of the gateway's pod stands behind which Service and port. The same from start to
// start and from replica to replica, as far as no two want the same: it follows from the name.
//
// A value, control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "control/observed.h"

namespace istmo::control {

class PodPorts {
 public:
  // Outside of what the kernel gives to connections (32768 and up) and of Istmo's own ports.
  static constexpr uint16_t kFirst = 10'000;
  static constexpr uint16_t kLast = 29'999;

  // A Service that is there says so, which all replicas see: it counts before what follows from the
  // name. True: the port of a place is another than before.
  bool learn(const ServicePlace& place, uint16_t port);
  void forget(const std::string& host);  // the Service is gone
  // Each of `places` has a port; those that are not among them give theirs back. What does not fit
  // has none.
  void assign(const std::set<ServicePlace>& places);
  const std::map<ServicePlace, uint16_t>& ports() const { return ports_; }

 private:
  std::map<ServicePlace, uint16_t> learned_;  // also of places that nobody asks for yet
  std::map<ServicePlace, uint16_t> ports_;
  std::set<uint16_t> taken_;
};

}  // namespace istmo::control
