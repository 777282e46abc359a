#include "control/compiler.h"

namespace istmo::control {

namespace {

// The errors about objects that are not in `refused` yet, which they are then.
std::vector<Problem> take_new_errors(const Compiled& compiled, std::set<ObjectId>& refused) {
  std::vector<Problem> errors;
  for (const Problem& problem : compiled.problems) {
    if (problem.severity != Severity::error) continue;
    if (refused.insert(problem.object).second) errors.push_back(problem);
  }
  return errors;
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
      chosen.put(last->second);
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

}  // namespace istmo::control
