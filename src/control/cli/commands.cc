#include "control/cli/commands.h"

#include "control/cli/command_line.h"
#include "control/cli/completion.h"
#include "control/cli/platform.h"
#include "control/cli/terminal.h"
#include "control/paths.h"

namespace istmo::control {

namespace {

// What they do is the same on every platform.
bool needs_platform(Verb verb) {
  return verb != Verb::run && verb != Verb::check && verb != Verb::version &&
         verb != Verb::completion && verb != Verb::attached_role;
}

Result<int> print_completion(const Arguments& arguments) {
  print(completion_script(arguments.shell, command_tree()));
  return kExitDone;
}

Result<int> run_verb(const Arguments& arguments) {
  switch (arguments.verb) {
    case Verb::init:
      return is_in_cluster(arguments) ? init_cluster_site(arguments) : init_site(arguments);
    case Verb::remove:
      return is_in_cluster(arguments) ? delete_cluster_site(arguments) : delete_site(arguments);
    case Verb::status: return show_site(arguments);
    case Verb::token_create: return create_token(arguments);
    case Verb::token_status: return show_token(arguments);
    case Verb::link_create: return create_link(arguments);
    case Verb::link_status: return show_links(arguments);
    case Verb::link_remove: return delete_link(arguments);
    case Verb::link_generate: return generate_link(arguments);
    case Verb::expose: return expose(arguments);
    case Verb::unexpose: return unexpose(arguments);
    case Verb::service_status: return show_services(arguments);
    case Verb::resource_create: return create_resource(arguments);
    case Verb::resource_update: return update_resource(arguments);
    case Verb::resource_status: return show_resources(arguments);
    case Verb::resource_remove: return delete_resource(arguments);
    case Verb::resource_generate: return generate_resource(arguments);
    case Verb::connection_list: return list_connections(arguments);
    case Verb::connection_remove: return delete_connection(arguments);
    case Verb::run: return run_site(arguments);
    case Verb::check: return check_documents(arguments);
    case Verb::attached_role: return print_attached_role(arguments);
    case Verb::debug_dump: return dump_for_debugging(arguments);
    case Verb::version: return show_version(arguments);
    case Verb::completion: return print_completion(arguments);
  }
  return kExitUsage;
}

// Where the namespace of the command's site is chosen by the context, it is not given here.
Result<Platform> platform_of(Arguments& arguments) {
  const std::string local_namespace(arguments.namespace_name.empty() ? kDefaultNamespace
                                                                     : arguments.namespace_name);
  TRY(check_namespace_name(local_namespace));
  if (arguments.platform.empty() &&
      (!arguments.kube.kubeconfig.empty() || !arguments.kube.context.empty())) {
    arguments.platform = "kubernetes";
  }
  // An admin socket is that of a site on a machine.
  if (!arguments.run.admin.empty() && arguments.platform.empty()) arguments.platform = "linux";
  return choose_platform(gather_platform_clues(arguments.platform, local_namespace));
}

Result<int> run_on_platform(Arguments arguments) {
  if (arguments.verb == Verb::version) {  // whatever there is to ask
    const auto platform = platform_of(arguments);
    if (platform) arguments.platform = std::string(to_string(*platform));
  }
  if (needs_platform(arguments.verb)) {
    const Platform platform = TRY(platform_of(arguments));
    arguments.platform = std::string(to_string(platform));
    if (arguments.verb == Verb::init && arguments.output != Output::text) {
      if (is_in_cluster(arguments)) return print_site_manifest(arguments);
      return Error::config(
          "init --output prints the manifest of a site in a cluster; on this machine `istmo site "
          "generate NAME` prints the documents of one");
    }
  }
  // `run` without a namespace is a site of its own, not the default namespace's. In a cluster the
  // context has one.
  const bool has_default = arguments.verb != Verb::run && arguments.verb != Verb::attached_role &&
                           !is_in_cluster(arguments);
  if (arguments.namespace_name.empty() && has_default) arguments.namespace_name = kDefaultNamespace;
  return run_verb(arguments);
}

}  // namespace

int run_command(const Arguments& arguments) {
  const Result<int> exit_code = run_on_platform(arguments);
  if (exit_code) return *exit_code;
  print_error(exit_code.error());
  return kExitFailed;
}

}  // namespace istmo::control
