// istmo: joins services in different clusters, clouds and machines into one network.
//
//   command line   src/control/cli/command_line.h   verbs and flags
//   commands       src/control/cli/commands.h       what each verb does
//   a site         src/control/controller.h         the control thread (`istmo run`)
//   data plane     src/dataplane/dataplane.h        workers, connections, links
#include <sys/prctl.h>

#include <variant>

#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/terminal.h"

int main(int argc, char** argv) {
  namespace control = istmo::control;
  ::prctl(PR_SET_NAME, "istmo");  // also when started through a link of another name
  const auto command_line = control::parse_command_line(argc, argv);
  if (const auto* answer = std::get_if<control::UsageAnswer>(&command_line)) {
    if (answer->exit_code == control::kExitDone) control::print(answer->text);
    else control::print_notice(answer->text);
    return control::exit_code_after_printing(answer->exit_code);
  }
  const int exit_code = control::run_command(std::get<control::Arguments>(command_line));
  return control::exit_code_after_printing(exit_code);
}
