// What `init` makes in a namespace: everything that a site there needs beside its documents.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/value.h"

namespace istmo::control {

// The name of the Deployment, its ServiceAccount, Role, RoleBinding and Service. Others rely on it.
inline constexpr const char* kGatewayName = "istmo";

// A headless Service of the gateway's pods, ready or not: by its endpoints they find one another.
inline constexpr const char* kReplicasService = "istmo-replicas";

// The Role for Leases, which a site of several replicas needs, and its RoleBinding.
inline constexpr const char* kLeasesRole = "istmo-leases";

// The Role for what tells the gateway its hosts (sni_ingress.h), and its RoleBinding.
inline constexpr const char* kIngressRole = "istmo-ingress";

struct SiteManifestOptions {
  std::string namespace_name;
  std::string site_name;    // empty: the namespace
  std::string link_access;  // of the Site document
  bool is_ha = false;       // of the Site document
  // Where sni_kind(link_access) is something, at most one: the domain of its hosts.
  std::vector<std::string> ingress_hosts;
  std::string ingress_class;    // of the Ingress; empty: the cluster's default
  std::string ingress_gateway;  // "NAME" or "NAMESPACE/NAME": the Gateway of the TLSRoutes
  std::string ingress_version;  // apiVersion of what leads there; empty: the newest
  std::string service_type = "LoadBalancer";
  std::vector<std::string> run_arguments;  // of `istmo run`, beside its own
  std::string image;                       // empty: "istmo:<version>"
  std::string image_pull_secret;
  bool has_custom_kinds = false;  // documents may be objects of their own kind in the cluster
  uint32_t replicas = 1;
  // For how long a pod that is told to end takes connections, until everybody knows that it goes.
  uint32_t drain_delay_seconds = 5;
  uint32_t drain_seconds = 60;
};

// The ConfigMap that holds the Site document, and owns the others once it is made.
Value site_config_map(const SiteManifestOptions& options);

// ServiceAccount, Roles, RoleBindings, Services, what leads to them, Deployment, in the order in
// which they are to be made. Without owner.
std::vector<Value> gateway_objects(const SiteManifestOptions& options);

// What names of Roles begin with that let a site of another namespace see pods.
inline constexpr std::string_view kAttachedRolePrefix = "istmo-attached";

// Role and RoleBinding with which a namespace lets the site of another one use the pods that its
// AttachedConnectors select. Its owner applies them; both are named after the site's namespace.
std::vector<Value> attached_role(const std::string& namespace_name,
                                 const std::string& namespace_of_site);

// The rights of the gateway, each of which ClusterRole `admin` has: the API server refuses a Role
// with more than its author may do.
Value gateway_rules();

}  // namespace istmo::control
