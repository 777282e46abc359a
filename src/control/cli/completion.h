// Completion scripts for shells, made from the tree of verbs and flags.
#pragma once

#include <string>

#include "control/cli/command_line.h"

namespace istmo::control {

// `shell` is bash, zsh or fish (the command line has checked it).
std::string completion_script(const std::string& shell, const CommandNode& tree);

}  // namespace istmo::control
