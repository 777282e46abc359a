#include "control/compiler.h"

namespace istmo::control {

namespace {

// What is wrong with objects that are not in `refused` yet, which they are then.
std::vector<Problem> take_new_errors(const Compiled& compiled, std::set<ObjectId>& refused) {
  std::vector<Problem> errors;
  for (const Problem& problem : compiled.problems) {
    if (problem.severity == Severity::warning) continue;
    if (refused.insert(problem.object).second) errors.push_back(problem);
  }
  return errors;
}

std::string secret_of(const Document& document) {
  return std::visit(
      [](const auto& one) -> std::string {
        if constexpr (requires { one.tls_credentials; }) return one.tls_credentials;
        else return {};
      },
      document);
}

}  // namespace

Compiled Compiler::run(const Desired& desired, const Observed& observed) {
  Desired chosen = desired;
  std::set<ObjectId> refused;
  Compiled compiled = compile(desired, observed);
  std::vector<Problem> problems = compiled.problems;
  // An older version may be in the way of another document, which then keeps its own older one:
  // every round refuses one document more, or is the last.
  for (auto errors = take_new_errors(compiled, refused); !errors.empty();) {
    bool is_changed = false;
    for (const Problem& error : errors) {
      const auto last = last_valid_.find(error.object);
      if (last == last_valid_.end() || !desired.find(error.object)) continue;
      put_back(last->second, chosen);
      is_changed = true;
    }
    if (!is_changed) break;
    compiled = compile(chosen, observed);
    errors = take_new_errors(compiled, refused);
    problems.insert(problems.end(), errors.begin(), errors.end());
  }
  std::erase_if(last_valid_, [&](const auto& entry) { return !desired.find(entry.first); });
  for (Document& document : chosen.all()) {
    const ObjectId id = id_of(document);
    if (!refused.contains(id)) last_valid_.insert_or_assign(id, std::move(document));
  }
  compiled.problems = std::move(problems);
  return compiled;
}

// With the Secret that it had, if that is gone.
void Compiler::put_back(const Document& document, Desired& chosen) const {
  chosen.put(document);
  const ObjectId secret{std::string(SecretDocument::kKind), secret_of(document)};
  const auto last = last_valid_.find(secret);
  if (last != last_valid_.end() && !chosen.find(secret)) chosen.put(last->second);
}

}  // namespace istmo::control
