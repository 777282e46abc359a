// Takes secrets out of what is shown to others (`debug dump`), in two ways that do not depend on
// each other: by structure (Secrets become keys and sizes, fields that hold codes and keys are
// replaced), and by value (whatever text a known secret has is replaced wherever it stands).
//
// A value; any thread.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "control/value.h"

namespace istmo::control {

inline constexpr std::string_view kRemoved = "[removed]";

class Redaction {
 public:
  // Remembers what is secret in an object or document: of a Secret all but its certificates, of
  // others what stands in fields that hold codes, keys or passwords.
  void learn(const Value& object);
  // `text`: documents, as YAML or JSON. Anything else is secret as a whole.
  void learn_text(std::string_view text);

  // By structure. Also without what only makes objects longer: managedFields, and what kubectl
  // applied last.
  Value object(const Value& object) const;
  // Documents in `text`; what cannot be read is left out.
  std::string documents(std::string_view text) const;
  // By value; for every text before it is shown.
  std::string text(std::string text) const;

 private:
  void add(const std::string& secret);

  std::set<std::string> secrets_;
};

}  // namespace istmo::control
