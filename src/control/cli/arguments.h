// What a command line says: plain values, one struct per family of options. Each verb reads its
// own and ignores the rest. Values; made by command_line.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

enum class Verb : uint8_t {
  init,
  remove,
  status,
  token_create,
  token_status,
  link_create,
  link_status,
  link_remove,
  link_generate,
  expose,
  unexpose,
  service_status,
  resource_create,
  resource_update,
  resource_status,
  resource_remove,
  resource_generate,
  connection_list,
  connection_remove,
  run,
  check,
  attached_role,
  debug_dump,
  version,
  completion,
};

enum class Noun : uint8_t { site, listener, connector };

enum class Output : uint8_t { text, json, yaml };

inline constexpr const char* kDefaultDrainTimeout = "10s";

// How a site runs: `run` and `init` understand these. What was not given is empty: an `init` that
// starts a site again keeps what it was told before.
struct RunArguments {
  std::string path;       // `run`: a file or a folder; empty: the documents of a namespace
  std::string state;      // `run`: the state folder; empty: see the issue of `run`
  std::string admin;      // empty: unix socket in the state folder
  std::string log_level;  // empty: info
  std::string tls_keylog;
  std::string health_address;  // empty: no health server
  std::string drain_delay;     // empty: none
  std::string drain_timeout;   // empty: kDefaultDrainTimeout
  std::string service_host;
  std::vector<std::string> ingress_hosts;
  uint32_t workers = 0;  // 0: workers_in_pod(), workers_on_machine()
  std::string io;        // empty: auto
};

struct InitArguments {
  std::string site_name;
  // "external" or "none"; in a cluster "loadbalancer", "nodeport", "route", "ingress", "gateway",
  // "local" or "none". Empty: as before, or the first.
  std::string ingress;
  std::string ingress_class;      // Kubernetes: of the Ingress
  std::string ingress_gateway;    // Kubernetes: "NAME" or "NAMESPACE/NAME" of a Gateway
  std::string timeout;            // empty: 30s, in a cluster 120s
  std::string image;              // Kubernetes: of the gateway; empty: "istmo:<version>"
  std::string image_pull_secret;  // Kubernetes
  uint32_t replicas = 1;          // Kubernetes
};

struct TokenArguments {
  std::string file;
  std::string type = "claim";
  std::string expiry = "15m";
  uint32_t uses = 1;
  std::string name;
  std::string password;  // the code; empty: a random one
};

struct LinkArguments {
  std::string name;
  uint32_t cost = 1;
  std::string wait;  // a duration, or seconds
  std::string host;
};

struct ExposeArguments {
  std::vector<std::string> target;  // "host/10.0.0.1", or "host" "10.0.0.1"
  std::string address;
  std::vector<std::string> ports;  // "8080" or v1's "8080:9090" (port:target port)
  std::vector<uint16_t> target_ports;
  std::string protocol = "tcp";
};

struct ResourceArguments {
  Noun noun = Noun::site;
  std::string name;
  std::optional<uint16_t> port;
  std::optional<std::string> routing_key;
  std::optional<std::string> host;
  std::optional<std::string> selector;
  std::optional<std::string> tls_credentials;
  std::optional<std::string> type;
  bool enables_link_access = false;
  std::string link_access_type;
  bool enables_ha = false;
  bool all = false;
  std::string wait;
  std::string timeout = "60s";
};

struct KubeArguments {
  std::string kubeconfig;  // empty: KUBECONFIG, else ~/.kube/config
  std::string context;     // empty: the current one
};

struct Arguments {
  Verb verb = Verb::version;
  std::string namespace_name;
  std::string platform;
  Output output = Output::text;
  bool is_verbose = false;
  std::string shell;              // completion
  std::string dump_file;          // debug dump; empty: named by namespace and time
  std::string connection_id;      // connection delete
  std::string namespace_of_site;  // generate attached-role
  KubeArguments kube;
  RunArguments run;
  InitArguments init;
  TokenArguments token;
  LinkArguments link;
  ExposeArguments expose;
  ResourceArguments resource;
};

}  // namespace istmo::control
