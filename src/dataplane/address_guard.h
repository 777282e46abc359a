// Holds the right to listen on an address among the Istmo sites of this machine.
//
// Workers bind with SO_REUSEPORT, which lets another process of the same user bind the same port
// without a word. A guard is an abstract UNIX socket (unix(7)) named after the address: bound once
// per network namespace, gone with its process. Owned by the Dataplane, on the control thread.
#pragma once

#include <string>

#include "base/result.h"

namespace istmo {

class AddressGuard {
 public:
  // Error::taken when another site holds it.
  static Result<AddressGuard> take(const std::string& address);
  AddressGuard(AddressGuard&& other) noexcept;
  AddressGuard& operator=(AddressGuard&& other) noexcept;
  ~AddressGuard();

 private:
  explicit AddressGuard(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace istmo
