// compile() with a memory: a document that it refuses keeps the version that it took last, as one
// that cannot be read does (document_store.h).
//
// Owned by the controller, control thread only.
#pragma once

#include <map>

#include "control/compile.h"

namespace istmo::control {

class Compiler {
 public:
  // As compile(), but the snapshot has, instead of a document with an error, its last version
  // without one, if that still goes with all others. `problems` are about the documents as they
  // are now.
  Compiled run(const Desired& desired, const Observed& observed);

 private:
  std::map<ObjectId, Document> last_valid_;
};

}  // namespace istmo::control
