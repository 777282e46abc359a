// Which port of the gateway's pod stands behind which Service and port. The same from start to
// start and from replica to replica, as far as no two want the same: it follows from the name.
//
// A value, control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "control/observed.h"

namespace istmo::control {

class PodPorts {
 public:
  // Outside of what the kernel gives to connections (32768 and up) and of Istmo's own ports.
  static constexpr uint16_t kFirst = 10'000;
  static constexpr uint16_t kLast = 29'999;

  // A Service that is there says so. It counts while nothing else has the port.
  void learn(const ServicePlace& place, uint16_t port);
  // Each of `places` has a port; those that are not among them give theirs back. What does not fit
  // has none.
  void assign(const std::set<ServicePlace>& places);
  const std::map<ServicePlace, uint16_t>& ports() const { return ports_; }

 private:
  std::map<ServicePlace, uint16_t> ports_;
  std::set<uint16_t> taken_;
};

}  // namespace istmo::control
