// The command line of `istmo`: verbs, flags, help. The only home of CLI11.
//
// Pure: nothing is read or written but the arguments. The tree of verbs and flags is also what
// shell completions are made from.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "control/cli/arguments.h"

namespace istmo::control {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// The command line was answered by itself: help (exit code 0) or a usage error (2).
struct UsageAnswer {
  int exit_code = kExitUsage;
  std::string text;
};

std::variant<Arguments, UsageAnswer> parse_command_line(int argc, const char* const* argv);

// What a shell offers behind a flag or in place of an argument.
enum class Completes : uint8_t { nothing, file, namespaces, choices };

struct CommandFlag {
  std::vector<std::string> names;  // "-n", "--namespace"
  std::string description;
  bool takes_value = false;
  Completes completes = Completes::nothing;
  std::vector<std::string> choices;
};

struct CommandNode {
  std::string name;
  std::string description;
  std::vector<CommandFlag> flags;
  std::vector<CommandNode> commands;
  Completes completes = Completes::nothing;  // its arguments
  std::vector<std::string> choices;
};

CommandNode command_tree();

}  // namespace istmo::control
