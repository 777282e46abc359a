#include "control/kubernetes/site_manifest.h"

#include "control/compile.h"
#include "control/document_text.h"
#include "control/grant_server.h"
#include "control/health_server.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/object_keeper.h"
#include "control/settings.h"

namespace istmo::control {
namespace {

constexpr const char* kHealthPortName = "admin";
constexpr const char* kSiblingPortName = "replicas";
constexpr const char* kStateFolder = "/state";
constexpr const char* kTemporaryFolder = "/tmp";

Value texts(std::initializer_list<const char*> words) {
  Value list = Value::list();
  for (const char* word : words) list.add(word);
  return list;
}

Value one(Value value) {
  Value list = Value::list();
  list.add(std::move(value));
  return list;
}

Value map_of(std::initializer_list<std::pair<const char*, Value>> entries) {
  Value map = Value::map();
  for (const auto& [key, value] : entries) map.set(key, value);
  return map;
}

Value pod_labels() { return map_of({{kPodLabel, kPodLabelValue}, {kManagedByLabel, kManagedBy}}); }

Value object(const char* kind, const std::string& name) {
  return map_of({{"apiVersion", std::string(find_kube_kind(kind)->api_version)},
                 {"kind", kind},
                 {"metadata", map_of({{"name", name}, {"labels", pod_labels()}})}});
}

Value rule(const char* group, std::initializer_list<const char*> resources,
           std::initializer_list<const char*> verbs) {
  return map_of(
      {{"apiGroups", texts({group})}, {"resources", texts(resources)}, {"verbs", texts(verbs)}});
}

Value named_port(const char* name, uint16_t port) {
  return map_of({{"name", name}, {"containerPort", port}, {"protocol", "TCP"}});
}

// What Pod Security `restricted` asks for.
Value container_security() {
  return map_of({{"allowPrivilegeEscalation", false},
                 {"readOnlyRootFilesystem", true},
                 {"capabilities", map_of({{"drop", texts({"ALL"})}})}});
}

Value pod_security() {
  return map_of({{"runAsNonRoot", true}, {"seccompProfile", map_of({{"type", "RuntimeDefault"}})}});
}

Value mount(const char* name, const char* path) {
  return map_of({{"name", name}, {"mountPath", path}});
}

Value memory_volume(const char* name) {
  return map_of({{"name", name}, {"emptyDir", map_of({{"medium", "Memory"}})}});
}

struct ProbePace {
  uint32_t period = 0;  // seconds
  uint32_t timeout = 0;
  uint32_t failures = 0;  // in a row, until it counts
};

Value probe(const char* path, const ProbePace& pace) {
  return map_of({{"httpGet", map_of({{"path", path}, {"port", kHealthPortName}})},
                 {"periodSeconds", pace.period},
                 {"timeoutSeconds", pace.timeout},
                 {"failureThreshold", pace.failures}});
}

Value container(const SiteManifestOptions& options) {
  Value arguments = texts({"run", "--platform", "kubernetes", "--state", kStateFolder});
  const auto add_option = [&arguments](const char* name, const std::string& value) {
    arguments.add(name);
    arguments.add(value);
  };
  add_option("--health-address", ":" + std::to_string(kHealthPort));
  add_option("--drain-delay", std::to_string(options.drain_delay_seconds) + "s");
  add_option("--drain-timeout", std::to_string(options.drain_seconds) + "s");
  for (const std::string& word : options.run_arguments) arguments.add(word);
  // With it the pod finds itself, and so its zone, among the endpoints of its Service.
  Value pod_name = map_of({{"fieldRef", map_of({{"fieldPath", "metadata.name"}})}});
  Value ports = Value::list();
  ports.add(named_port("links", kLinkPort));
  ports.add(named_port("grants", kGrantPort));
  ports.add(named_port(kHealthPortName, kHealthPort));
  ports.add(named_port(kSiblingPortName, kSiblingPort));
  Value mounts = Value::list();
  mounts.add(mount("state", kStateFolder));
  mounts.add(mount("tmp", kTemporaryFolder));
  return map_of({{"name", kGatewayName},
                 {"image", options.image.empty() ? "istmo:" ISTMO_VERSION : options.image},
                 {"imagePullPolicy", "IfNotPresent"},
                 {"args", std::move(arguments)},
                 {"env", one(map_of({{"name", "POD_NAME"}, {"valueFrom", std::move(pod_name)}}))},
                 {"ports", std::move(ports)},
                 {"startupProbe", probe("/healthz", {.period = 1, .timeout = 1, .failures = 60})},
                 {"readinessProbe", probe("/readyz", {.period = 2, .timeout = 2, .failures = 2})},
                 {"livenessProbe", probe("/healthz", {.period = 10, .timeout = 5, .failures = 3})},
                 {"securityContext", container_security()},
                 {"volumeMounts", std::move(mounts)}});
}

Value deployment(const SiteManifestOptions& options) {
  // What ends within the drain time is not cut, and the process has a little left to end itself.
  constexpr uint32_t kEndSeconds = 10;
  Value volumes = Value::list();
  volumes.add(memory_volume("state"));
  volumes.add(memory_volume("tmp"));
  Value pod = map_of({{"serviceAccountName", kGatewayName},
                      {"terminationGracePeriodSeconds",
                       options.drain_delay_seconds + options.drain_seconds + kEndSeconds},
                      {"securityContext", pod_security()},
                      {"containers", one(container(options))},
                      {"volumes", std::move(volumes)}});
  if (!options.image_pull_secret.empty()) {
    pod.set("imagePullSecrets", one(map_of({{"name", options.image_pull_secret}})));
  }
  // A new pod is ready before an old one is told to end.
  const Value rolling = map_of({{"maxUnavailable", 0}, {"maxSurge", 1}});
  Value made = object("Deployment", kGatewayName);
  made.set("spec",
           map_of({{"replicas", options.replicas},
                   {"selector", map_of({{"matchLabels", map_of({{kPodLabel, kPodLabelValue}})}})},
                   {"strategy", map_of({{"type", "RollingUpdate"}, {"rollingUpdate", rolling}})},
                   {"template", map_of({{"metadata", map_of({{"labels", pod_labels()}})},
                                        {"spec", std::move(pod)}})}}));
  return made;
}

Value service_port(const char* name, uint16_t port) {
  return map_of({{"name", name}, {"port", port}, {"protocol", "TCP"}, {"targetPort", name}});
}

Value service(const SiteManifestOptions& options) {
  Value ports = Value::list();
  ports.add(service_port("links", kLinkPort));
  ports.add(service_port("grants", kGrantPort));
  Value made = object("Service", kGatewayName);
  made.set("spec", map_of({{"ports", std::move(ports)},
                           {"selector", map_of({{kPodLabel, kPodLabelValue}})},
                           {"type", options.service_type}}));
  return made;
}

Value replicas_service() {
  Value made = object("Service", kReplicasService);
  made.set("spec", map_of({{"clusterIP", "None"},
                           {"ports", one(service_port(kSiblingPortName, kSiblingPort))},
                           {"publishNotReadyAddresses", true},
                           {"selector", map_of({{kPodLabel, kPodLabelValue}})}}));
  return made;
}

Value role_binding(const std::string& name, const std::string& namespace_name) {
  Value made = object("RoleBinding", name);
  made.set("roleRef",
           map_of({{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "Role"}, {"name", name}}));
  made.set("subjects", one(map_of({{"kind", "ServiceAccount"},
                                   {"name", kGatewayName},
                                   {"namespace", namespace_name}})));
  return made;
}

}  // namespace

Value site_config_map(const SiteManifestOptions& options) {
  SiteDocument site;
  site.metadata.name = options.site_name.empty() ? options.namespace_name : options.site_name;
  site.link_access = options.link_access;
  site.is_ha = options.is_ha;
  std::string hosts;
  for (const std::string& host : options.ingress_hosts) hosts += (hosts.empty() ? "" : ",") + host;
  if (!hosts.empty()) site.settings[kSettingIngressHosts] = hosts;
  Value made = object("ConfigMap", object_name(id_of(site), ""));
  Value metadata = *made.find("metadata");
  Value labels = *metadata.find("labels");
  labels.set(kDocumentsLabel, "true");
  metadata.set("labels", std::move(labels));
  made.set("metadata", std::move(metadata));
  made.set("data", map_of({{"site.yaml", write_document(site, Format::yaml)}}));
  return made;
}

Value gateway_rules() {
  Value rules = Value::list();
  rules.add(rule("", {"pods", "services", "configmaps"}, {"get", "list", "watch"}));
  rules.add(rule("apps", {"deployments", "statefulsets", "daemonsets"}, {"get", "list", "watch"}));
  rules.add(rule("discovery.k8s.io", {"endpointslices"}, {"get", "list", "watch"}));
  rules.add(
      rule("", {"services", "configmaps", "secrets"}, {"create", "patch", "update", "delete"}));
  rules.add(rule("", {"secrets"}, {"get", "list", "watch"}));
  rules.add(rule("", {"events"}, {"create", "patch"}));
  return rules;
}

std::vector<Value> attached_role(const std::string& namespace_name,
                                 const std::string& namespace_of_site) {
  const std::string name = std::string(kGatewayName) + "-attached-" + namespace_of_site;
  Value role = object("Role", name);
  Value rules = Value::list();
  rules.add(rule("", {"pods", "configmaps"}, {"get", "list", "watch"}));
  role.set("rules", std::move(rules));
  std::vector<Value> objects{std::move(role), role_binding(name, namespace_of_site)};
  for (Value& made : objects) {
    Value metadata = *made.find("metadata");
    metadata.set("namespace", namespace_name);
    made.set("metadata", std::move(metadata));
  }
  return objects;
}

std::vector<Value> gateway_objects(const SiteManifestOptions& options) {
  Value role = object("Role", kGatewayName);
  role.set("rules", gateway_rules());
  Value leases = object("Role", kLeasesRole);
  leases.set("rules", one(rule("coordination.k8s.io", {"leases"}, {"get", "create", "update"})));
  const std::string& namespace_name = options.namespace_name;
  return {object("ServiceAccount", kGatewayName),
          std::move(role),
          role_binding(kGatewayName, namespace_name),
          std::move(leases),
          role_binding(kLeasesRole, namespace_name),
          service(options),
          replicas_service(),
          deployment(options)};
}

}  // namespace istmo::control
