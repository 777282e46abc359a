// The verbs of `istmo`. Each does its work and prints; the result is the exit code, an Error is
// printed by run_command() and exits 1.
#pragma once

#include <string>

#include "base/result.h"
#include "control/cli/arguments.h"

namespace istmo::control {

class ClusterSite;

// Chooses the verb. Returns the exit code.
int run_command(const Arguments& arguments);

// site_commands.cc
Result<int> init_site(const Arguments& arguments);
Result<int> delete_site(const Arguments& arguments);
Result<int> show_site(const Arguments& arguments);
// What `init` and `site create` share: makes the namespace, starts its site, waits until it
// accepts commands. What was made is removed again when the site does not start.
struct NewSite {
  std::string site_name;  // empty: the namespace
  std::string link_access;
  std::string ingress;  // "none", "external", or empty: as it was, or external
  std::string timeout;
  bool is_ha = false;  // in a cluster
  bool waits = true;   // there: until the gateway is ready
};
Result<> make_site(const Arguments& arguments, const NewSite& made);
Result<> end_site(const std::string& namespace_name);

// cluster_init.cc, cluster_delete.cc: the same in a cluster
Result<int> print_site_manifest(const Arguments& arguments);
Result<int> init_cluster_site(const Arguments& arguments);
Result<int> create_cluster_site(const Arguments& arguments);
// As many pods of the gateway as spec.ha asks for, if there are fewer.
Result<> scale_cluster_site(const Arguments& arguments);
Result<int> delete_cluster_site(const Arguments& arguments);
// What becomes of the documents that are not the Site.
enum class OtherDocuments : uint8_t { stay, go };
Result<std::string> remove_cluster_site(const Arguments& arguments, OtherDocuments others);
// "context 'west', server https://..., namespace 'oeste'"
std::string place_text(const ClusterSite& site);
Result<int> print_attached_role(const Arguments& arguments);

// token_commands.cc
Result<int> create_token(const Arguments& arguments);
Result<int> show_token(const Arguments& arguments);

// link_commands.cc
Result<int> create_link(const Arguments& arguments);
Result<int> show_links(const Arguments& arguments);
Result<int> delete_link(const Arguments& arguments);
Result<int> generate_link(const Arguments& arguments);

// service_commands.cc
Result<int> expose(const Arguments& arguments);
Result<int> unexpose(const Arguments& arguments);
Result<int> show_services(const Arguments& arguments);

// resource_commands.cc
Result<int> create_resource(const Arguments& arguments);
Result<int> update_resource(const Arguments& arguments);
Result<int> show_resources(const Arguments& arguments);
Result<int> delete_resource(const Arguments& arguments);
Result<int> generate_resource(const Arguments& arguments);

// debug_dump.cc
Result<int> dump_for_debugging(const Arguments& arguments);

// run_commands.cc
Result<int> run_site(const Arguments& arguments);
Result<int> check_documents(const Arguments& arguments);
Result<int> show_version(const Arguments& arguments);
Result<int> list_connections(const Arguments& arguments);
Result<int> delete_connection(const Arguments& arguments);

}  // namespace istmo::control
