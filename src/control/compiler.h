// compile() with a memory: a document that it refuses, or that waits for a Secret, keeps the
// version that it took last, as one that cannot be read does (document_store.h). So does one whose
// Secret is gone, as long as this process lasts.
//
// Owned by the controller, control thread only.
#pragma once

#include <map>

#include "control/compile.h"

namespace istmo::control {

class Compiler {
 public:
  // As compile(), but the snapshot has, instead of a document that is refused or waits, its last
  // version that was not, if that still goes with all others. `problems` are about the documents as
  // they are now.
  Compiled run(const Desired& desired, const Observed& observed);

 private:
  void put_back(const Document& document, Desired& chosen) const;

  std::map<ObjectId, Document> last_valid_;
};

}  // namespace istmo::control
