#include "control/kubernetes/site_manifest.h"

#include "control/compile.h"
#include "control/document_text.h"
#include "control/grant_server.h"
#include "control/health_server.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/custom_resources.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/sni_ingress.h"
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

// All kinds of documents, and writing their status.
Value custom_kinds_rules() {
  Value kinds = Value::list();
  Value statuses = Value::list();
  for (const std::string_view kind : kCustomKinds) {
    const std::string plural(find_kube_kind(kind)->plural);
    kinds.add(plural);
    statuses.add(plural + "/status");
  }
  Value rules = Value::list();
  const auto add = [&rules](Value resources, std::initializer_list<const char*> verbs) {
    rules.add(map_of({{"apiGroups", texts({"skupper.io"})},
                      {"resources", std::move(resources)},
                      {"verbs", texts(verbs)}}));
  };
  add(std::move(kinds), {"get", "list", "watch"});
  add(std::move(statuses), {"get", "patch", "update"});
  return rules;
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

// --- ways in by host names ---------------------------------------------------------------------

std::vector<Value> ingress_role(const SiteManifestOptions& options, const KubeKind& kind) {
  Value role = object("Role", kIngressRole);
  const std::string plural(kind.plural);
  role.set("rules", one(rule(group_of(kind).c_str(), {plural.c_str()}, {"get", "list", "watch"})));
  return {std::move(role), role_binding(kIngressRole, options.namespace_name)};
}

// Without a host the router chooses one.
Value openshift_route(const char* name, const char* port, const std::vector<std::string>& hosts) {
  Value spec = Value::map();
  if (!hosts.empty()) spec.set("host", hosts.front());
  spec.set("port", map_of({{"targetPort", port}}));
  spec.set("tls",
           map_of({{"insecureEdgeTerminationPolicy", "None"}, {"termination", "passthrough"}}));
  spec.set("to", map_of({{"kind", "Service"}, {"name", kGatewayName}}));
  Value made = object("Route", name);
  made.set("spec", std::move(spec));
  return made;
}

Value tls_route(const char* name, uint16_t port, const std::vector<std::string>& hosts,
                const SiteManifestOptions& options) {
  const std::string& gateway = options.ingress_gateway;
  const size_t slash = gateway.find('/');
  Value parent = map_of({{"name", gateway.substr(slash == std::string::npos ? 0 : slash + 1)}});
  if (slash != std::string::npos) parent.set("namespace", gateway.substr(0, slash));
  Value host_list = Value::list();
  for (const std::string& host : hosts) host_list.add(host);
  const Value backends = one(map_of({{"name", kGatewayName}, {"port", port}}));
  Value made = object("TLSRoute", name);
  if (!options.ingress_version.empty()) made.set("apiVersion", options.ingress_version);
  made.set("spec", map_of({{"hostnames", std::move(host_list)},
                           {"parentRefs", one(std::move(parent))},
                           {"rules", one(map_of({{"backendRefs", backends}}))}}));
  return made;
}

Value ingress_rule(const std::string& host, const char* port) {
  const Value service = map_of({{"name", kGatewayName}, {"port", map_of({{"name", port}})}});
  const Value path =
      map_of({{"backend", map_of({{"service", service}})}, {"path", "/"}, {"pathType", "Prefix"}});
  return map_of({{"host", host}, {"http", map_of({{"paths", one(path)}})}});
}

// The annotations are for ingress-nginx, whose --enable-ssl-passthrough has to be set.
Value ingress(const SniHosts& hosts, const SiteManifestOptions& options) {
  Value rules = Value::list();
  for (const std::string& host : hosts.links) rules.add(ingress_rule(host, "links"));
  for (const std::string& host : hosts.grants) rules.add(ingress_rule(host, "grants"));
  Value made = object("Ingress", kGatewayName);
  Value metadata = *made.find("metadata");
  metadata.set("annotations", map_of({{"nginx.ingress.kubernetes.io/ssl-passthrough", "true"},
                                      {"nginx.ingress.kubernetes.io/ssl-redirect", "true"}}));
  made.set("metadata", std::move(metadata));
  Value spec = map_of({{"rules", std::move(rules)}});
  if (!options.ingress_class.empty()) spec.set("ingressClassName", options.ingress_class);
  made.set("spec", std::move(spec));
  return made;
}

std::vector<Value> sni_objects(const SiteManifestOptions& options) {
  const std::string_view kind = sni_kind(options.link_access);
  if (kind.empty()) return {};
  std::vector<Value> objects = ingress_role(options, *find_kube_kind(kind));
  const SniHosts hosts = sni_hosts_of_domains(options.ingress_hosts, options.namespace_name);
  if (kind == "Route") {
    objects.push_back(openshift_route(kLinksRoute, "links", hosts.links));
    objects.push_back(openshift_route(kGrantsRoute, "grants", hosts.grants));
  } else if (kind == "TLSRoute") {
    objects.push_back(tls_route(kLinksRoute, kLinkPort, hosts.links, options));
    objects.push_back(tls_route(kGrantsRoute, kGrantPort, hosts.grants, options));
  } else {
    objects.push_back(ingress(hosts, options));
  }
  return objects;
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
  const std::string name = std::string(kAttachedRolePrefix) + "-" + namespace_of_site;
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
  std::vector<Value> objects{object("ServiceAccount", kGatewayName), std::move(role),
                             role_binding(kGatewayName, namespace_name), std::move(leases),
                             role_binding(kLeasesRole, namespace_name)};
  if (options.has_custom_kinds) {
    Value kinds = object("Role", kCustomKindsRole);
    kinds.set("rules", custom_kinds_rules());
    objects.push_back(std::move(kinds));
    objects.push_back(role_binding(kCustomKindsRole, namespace_name));
  }
  objects.push_back(service(options));
  objects.push_back(replicas_service());
  for (Value& made : sni_objects(options)) objects.push_back(std::move(made));
  objects.push_back(deployment(options));
  return objects;
}

}  // namespace istmo::control
