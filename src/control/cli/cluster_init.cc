// init, site create: a gateway in a namespace of a cluster.
#include <algorithm>
#include <iterator>
#include <map>

#include "control/cli/cluster_ingress.h"
#include "control/cli/cluster_site.h"
#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/terminal.h"
#include "control/document_text.h"
#include "control/durations.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/custom_resources.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/site_manifest.h"
#include "control/kubernetes/skupper_presence.h"
#include "control/plain_text.h"

namespace istmo::control {

namespace {

constexpr const char* kDefaultPatience = "120s";
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr Duration kLookAgain = Duration::milliseconds(300);

// --- what is to be made ------------------------------------------------------------------------

Result<> check_for_cluster(const RunArguments& run) {
  const auto refuse = [](const char* option) {
    return Error::config(std::string(option) + " is for a site on a machine, not for a cluster");
  };
  if (!run.service_host.empty()) return refuse("--service-host");
  if (!run.admin.empty()) return refuse("--admin");
  if (!run.tls_keylog.empty()) return refuse("--tls-keylog");
  if (!run.health_address.empty()) return refuse("--health-address");
  return {};
}

std::vector<std::string> run_words(const RunArguments& run) {
  std::vector<std::string> words;
  const auto add = [&](const char* name, const std::string& value) {
    if (value.empty()) return;
    words.emplace_back(name);
    words.push_back(value);
  };
  add("--log-level", run.log_level);
  add("--io", run.io);
  if (run.workers > 0) add("--workers", std::to_string(run.workers));
  return words;
}

Result<uint32_t> whole_seconds(const std::string& text) {
  const Duration duration = TRY(parse_duration(text));
  return static_cast<uint32_t>((duration.to_milliseconds() + 999) / 1000);
}

Result<SiteManifestOptions> manifest_options(const Arguments& arguments,
                                             const std::string& namespace_name,
                                             const NewSite& made) {
  TRY(check_for_cluster(arguments.run));
  SiteManifestOptions options{.namespace_name = namespace_name,
                              .site_name = made.site_name,
                              .link_access = made.link_access,
                              .is_ha = made.is_ha,
                              .ingress_hosts = arguments.run.ingress_hosts,
                              .service_type = TRY(service_type_of(made.ingress)),
                              .run_arguments = run_words(arguments.run),
                              .image = arguments.init.image,
                              .image_pull_secret = arguments.init.image_pull_secret,
                              .replicas = arguments.init.replicas};
  if (options.link_access.empty()) {
    options.link_access = made.ingress.empty() ? "default" : made.ingress;
  }
  if (options.is_ha) options.replicas = std::max(options.replicas, kHaReplicas);
  TRY(take_ingress_options(options, arguments));
  const RunArguments& run = arguments.run;
  if (!run.drain_timeout.empty()) options.drain_seconds = TRY(whole_seconds(run.drain_timeout));
  if (!run.drain_delay.empty()) options.drain_delay_seconds = TRY(whole_seconds(run.drain_delay));
  return options;
}

NewSite new_site(const Arguments& arguments) {
  return {.site_name = arguments.init.site_name,
          .link_access = "",
          .ingress = arguments.init.ingress,
          .timeout = arguments.init.timeout};
}

std::string objects_text(const std::vector<Value>& objects, Output output) {
  if (output == Output::json) {
    Value list = Value::map();
    list.set("apiVersion", "v1");
    list.set("kind", "List");
    Value& items = list.set("items", Value::list());
    for (const Value& object : objects) items.add(object);
    return write_value(list, Format::json);
  }
  std::string text;
  for (const Value& object : objects) {
    if (!text.empty()) text += "---\n";
    text += write_value(object, Format::yaml);
  }
  return text;
}

std::string manifest_text(const SiteManifestOptions& options, Output output) {
  std::vector<Value> objects = gateway_objects(options);
  objects.insert(objects.begin(), site_config_map(options));
  return objects_text(objects, output);
}

// --- before anything is made -------------------------------------------------------------------

Result<> check_not_skuppers(const ClusterSite& site) {
  if (!site.is_skuppers()) return {};
  return Error::config(skupper_presence_text(site.namespace_name()) +
                       "; Istmo makes nothing there: choose another namespace");
}

Result<> check_not_installed(const ClusterSite& site) {
  if (!TRY(site.is_installed()) || !site.check_runs()) return {};
  return Error::config("Istmo is already installed in namespace '" + site.namespace_name() +
                       "' and runs; `istmo delete -n " + site.namespace_name() + "` removes it");
}

// Asks the server what it would say, for every object, and makes none.
Result<> check_may_make(const ClusterSite& site, const std::vector<Value>& objects) {
  for (const Value& object : objects) {
    const ObjectId id = id_of_object(object);
    const ApiReply reply =
        site.api().call({.method = "POST",
                         .target = site.api().collection(id.kind) + "?dryRun=All",
                         .content_type = "application/json",
                         .body = object});
    // A RoleBinding is only refused for what its Role may do once the Role is there.
    const bool lacks_role = id.kind == "RoleBinding" && reply.status == kNotFound;
    if (reply.is_done() || lacks_role) continue;
    if (reply.status != kConflict) {
      return ApiClient::error_of(reply, "create " + id.kind + " " + id.name);
    }
    const Value known = TRY(site.api().get(id));
    if (text_at(known, "metadata", "labels", kManagedByLabel) == kManagedBy) continue;
    return Error::taken("namespace '" + site.namespace_name() + "' has a " + id.kind + " '" +
                        id.name + "' already that is not Istmo's; remove or rename it");
  }
  return {};
}

// A Role beside the base Role, which a user may lack the right to grant, and what the site cannot
// do without it.
struct OptionalRole {
  const char* name;
  const char* cost;
};
constexpr OptionalRole kOptionalRoles[] = {
    {kLeasesRole, "two replicas may both write status for a moment as they come and go"},
    {kCustomKindsRole, "documents are read from ConfigMaps, not from objects of skupper.io"},
    {kIngressRole,
     "the gateway does not learn by which hosts it is reached, and names those of --ingress-host"}};

Result<> leave_out_roles(const ClusterSite& site, const SiteManifestOptions& options,
                         std::vector<Value>& objects) {
  for (const OptionalRole& optional : kOptionalRoles) {
    const auto is_of_it = [&](const Value& object) {
      return id_of_object(object).name == optional.name;
    };
    std::vector<Value> roles;
    std::ranges::copy_if(objects, std::back_inserter(roles), is_of_it);
    const auto may = check_may_make(site, roles);
    if (may || may.error().error_class() != ErrorClass::config) continue;
    if (optional.name == std::string_view(kIngressRole) && options.ingress_hosts.empty()) {
      return Error::config(may.error().text() + "; without it " + optional.cost +
                           ": give one, nothing was made");
    }
    std::erase_if(objects, is_of_it);
    print_notice("istmo: Role " + std::string(optional.name) +
                 " is left out: " + may.error().text() + "; without it " + optional.cost + "\n");
  }
  return {};
}

// The manifest goes to stdout, so that it can be handed on.
Error refused(const ClusterSite& site, const SiteManifestOptions& options, const Error& error) {
  if (error.error_class() != ErrorClass::config) return error;
  print(manifest_text(options, Output::yaml));
  return Error::config(error.text() +
                       "; nothing was made. Give the manifest above (also `istmo "
                       "init --output yaml`) to somebody who may apply it in namespace '" +
                       site.namespace_name() + "'");
}

// --- making it ---------------------------------------------------------------------------------

// A Site document that is there already stays as it is.
Result<ObjectOwner> make_site_document(const ClusterSite& site,
                                       const SiteManifestOptions& options) {
  const Desired documents = TRY(site.documents());
  if (const SiteDocument* known = documents.site()) {
    if (!options.site_name.empty() && known->name() != options.site_name) {
      return Error::config("the site of namespace '" + site.namespace_name() + "' is called '" +
                           known->name() + "' already");
    }
  } else {
    TRY(site.put(site_config_map(options)));
  }
  const auto owner = TRY(site.owner());
  if (!owner) return Error::internal("the Site document was made and is not there");
  return *owner;
}

// --- until it runs -----------------------------------------------------------------------------

std::string trouble_of(const Value& pod) {
  for (const Value& container : value_at(pod, {"status", "containerStatuses"}).items()) {
    const Value& waiting = value_at(container, {"state", "waiting"});
    if (!waiting.is_null()) {
      const std::string& message = text_at(waiting, "message");
      return text_at(waiting, "reason") + (message.empty() ? "" : ": " + message);
    }
  }
  for (const Value& condition : value_at(pod, {"status", "conditions"}).items()) {
    if (text_at(condition, "status") == "True" || text_at(condition, "message").empty()) continue;
    return text_at(condition, "reason") + ": " + text_at(condition, "message");
  }
  return text_at(pod, "status", "phase");
}

// What keeps the gateway from being ready, for people.
std::string what_is_awaited(const ClusterSite& site, const Value& deployment) {
  for (const Value& condition : value_at(deployment, {"status", "conditions"}).items()) {
    const bool is_failure =
        text_at(condition, "type") == "ReplicaFailure" && text_at(condition, "status") == "True";
    if (is_failure) return text_at(condition, "message");
  }
  const auto pods =
      site.api().list("Pod", std::string(kPodLabel) + "=" + std::string(kPodLabelValue));
  if (!pods || pods->empty()) return "no pod yet";
  return "pod " + text_at(pods->front(), "metadata", "name") + ": " + trouble_of(pods->front());
}

Result<> wait_until_ready(const ClusterSite& site, const std::string& timeout) {
  const Duration patience = TRY(parse_duration(timeout.empty() ? kDefaultPatience : timeout));
  const Instant deadline = monotonic_now() + patience;
  std::string told;
  while (true) {
    const Value deployment = TRY(site.api().get({"Deployment", kGatewayName}));
    const bool is_current = text_at(deployment, "status", "observedGeneration") ==
                            text_at(deployment, "metadata", "generation");
    const std::string& available = text_at(deployment, "status", "availableReplicas");
    if (is_current && available == text_at(deployment, "spec", "replicas")) return {};
    const std::string awaited = what_is_awaited(site, deployment);
    if (awaited != told) print_notice("istmo: waiting for the gateway: " + awaited + "\n");
    told = awaited;
    if (monotonic_now() >= deadline) break;
    sleep_for(kLookAgain);
  }
  return Error::timeout("the gateway of namespace '" + site.namespace_name() +
                        "' is not ready after " + to_string(patience) + ": " + told +
                        "; what was made goes on trying, `istmo delete` removes it");
}

// The namespace that it is in.
Result<std::string> make_cluster_site(const Arguments& arguments, const NewSite& made) {
  const ClusterSite site = TRY(ClusterSite::of(arguments));
  print_notice("istmo: " + place_text(site) + "\n");
  SiteManifestOptions options = TRY(manifest_options(arguments, site.namespace_name(), made));
  TRY(check_not_skuppers(site));
  TRY(check_not_installed(site));
  options.has_custom_kinds = !TRY(site.custom_kinds()).empty();
  TRY(check_ingress(site, options));
  std::vector<Value> objects = gateway_objects(options);
  TRY(leave_out_roles(site, options, objects));
  std::vector<Value> all = objects;
  all.insert(all.begin(), site_config_map(options));
  if (const auto may = check_may_make(site, all); !may) return refused(site, options, may.error());
  const ObjectOwner owner = TRY(make_site_document(site, options));
  for (Value& object : objects) {
    set_owner(object, owner);
    TRY(site.put(object));
  }
  if (made.waits) TRY(wait_until_ready(site, made.timeout));
  return site.namespace_name();
}

}  // namespace

std::string place_text(const ClusterSite& site) {
  const KubeAccess& access = site.api().access();
  return (access.context.empty() ? std::string() : "context '" + access.context + "', ") +
         "server " + access.server() + ", namespace '" + access.namespace_name + "'";
}

Result<int> print_site_manifest(const Arguments& arguments) {
  const KubeAccess access = TRY(kube_access(arguments.kube, arguments.namespace_name));
  SiteManifestOptions options =
      TRY(manifest_options(arguments, access.namespace_name, new_site(arguments)));
  // Without a cluster that answers, for one without kinds of its own.
  if (const auto site = ClusterSite::of(arguments)) {
    const auto kinds = site->custom_kinds();
    options.has_custom_kinds = kinds && !kinds->empty();
  }
  print(manifest_text(options, arguments.output));
  return kExitDone;
}

// With -n no cluster is asked for its context.
Result<int> print_attached_role(const Arguments& arguments) {
  std::string namespace_name = arguments.namespace_name;
  if (namespace_name.empty()) namespace_name = TRY(kube_access(arguments.kube, "")).namespace_name;
  print(objects_text(attached_role(namespace_name, arguments.namespace_of_site), arguments.output));
  return kExitDone;
}

Result<int> init_cluster_site(const Arguments& arguments) {
  const std::string namespace_name = TRY(make_cluster_site(arguments, new_site(arguments)));
  print("Istmo is now installed in namespace '" + namespace_name +
        "'.  Use 'istmo status' to get more information.\n");
  return kExitDone;
}

Result<int> create_cluster_site(const Arguments& arguments) {
  const ResourceArguments& wanted = arguments.resource;
  std::string access = wanted.link_access_type;
  if (access.empty()) access = wanted.enables_link_access ? "default" : "none";
  if (wanted.wait != "none") print("Waiting for status...\n");
  TRY(make_cluster_site(arguments, {.site_name = wanted.name,
                                    .link_access = access,
                                    .ingress = access,
                                    .timeout = wanted.timeout,
                                    .is_ha = wanted.enables_ha,
                                    .waits = wanted.wait != "none"}));
  print("Site \"" + wanted.name + "\" is ready.\n");
  return kExitDone;
}

Result<> scale_cluster_site(const Arguments& arguments) {
  const ClusterSite site = TRY(ClusterSite::of(arguments));
  const ObjectId id{"Deployment", kGatewayName};
  const Value deployment = TRY(site.api().get(id));
  if (number_at(value_at(deployment, {"spec"}), "replicas") >= kHaReplicas) return {};
  Value patch = Value::map();
  patch.set("spec", Value::map()).set("replicas", kHaReplicas);
  const ApiReply reply = site.api().call({.method = "PATCH",
                                          .target = object_path(id, site.namespace_name()),
                                          .content_type = "application/merge-patch+json",
                                          .body = std::move(patch)});
  if (reply.is_done()) return {};
  return ApiClient::error_of(reply, "scale deployment " + id.name);
}

}  // namespace istmo::control
