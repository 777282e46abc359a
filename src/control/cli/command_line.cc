#include "control/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "control/cli/usage.h"
#include "dataplane/io/cores.h"
#include "dataplane/proxy/replica.h"

namespace istmo::control {

namespace {

// Names of values tell the completions what to offer.
constexpr const char* kFile = "FILE";
constexpr const char* kNamespace = "NAMESPACE";

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_usage(const CLI::Option* option) const override {
    const std::string dots = option->get_expected_max() > 1 ? "..." : "";
    const std::string name = make_option_name(option, true) + dots;
    return option->get_required() ? name : "[" + name + "]";
  }
};

UsageAnswer usage_error(const std::string& command, const std::string& text) {
  const std::string hint = "Run `" + command + " --help` to see what it takes.\n";
  return {kExitUsage, command + ": " + text + "\n" + hint};
}

// The CLI11 application around one Arguments, which its options write into.
class Parser {
 public:
  Parser();
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  std::variant<Arguments, UsageAnswer> parse(int argc, const char* const* argv);
  CommandNode tree() const { return node_of(app_); }

 private:
  // The innermost verb that was understood: it knows best what would be right.
  struct Innermost {
    const CLI::App* app;
    std::string command;  // "istmo link"
  };
  Innermost innermost() const;
  std::string unknown_word(const CLI::App& app) const;
  UsageAnswer answer_of(const CLI::ParseError& error) const;

  using Setup = void (Parser::*)(CLI::App&);
  CLI::App& verb(CLI::App& parent, const char* name, const char* description, Verb verb,
                 Setup setup);
  CLI::App& group(const char* name, const char* description);
  void choice(CLI::Option* option, const std::vector<std::string>& choices);

  void add_global_flags();
  void add_v1_verbs();
  void add_links_and_tokens();
  void add_resources();
  void add_resource(const char* name, Noun noun, Setup create, Setup update, Setup remove);
  void add_own_verbs();

  void with_nothing(CLI::App&) {}
  void with_output(CLI::App& app);
  void with_verbose_output(CLI::App& app);
  void with_running(CLI::App& app);
  void with_init(CLI::App& app);
  void with_run(CLI::App& app);
  void with_check(CLI::App& app);
  void with_token_create(CLI::App& app);
  void with_token_status(CLI::App& app);
  void with_link_create(CLI::App& app);
  void with_link_status(CLI::App& app);
  void with_link_name(CLI::App& app);
  void with_link_generate(CLI::App& app);
  void with_attached_role(CLI::App& app);
  void with_expose(CLI::App& app);
  void with_unexpose(CLI::App& app);
  void with_ingress_host(CLI::App& app);
  void with_ingress(CLI::App& app);
  void with_site_create(CLI::App& app);
  void with_site_update(CLI::App& app);
  void with_site_flags(CLI::App& app);
  void with_site_name(CLI::App& app);
  void with_site_remove(CLI::App& app);
  void with_service_create(CLI::App& app);
  void with_service_update(CLI::App& app);
  void with_service_flags(CLI::App& app);
  void with_waiting(CLI::App& app);
  void with_resource_name(CLI::App& app);
  void with_resource_status(CLI::App& app);
  void with_connection_id(CLI::App& app);
  void with_debug_dump(CLI::App& app);
  void with_shell(CLI::App& app);

  CommandNode node_of(const CLI::App& app) const;
  CommandFlag flag_of(const CLI::Option& option) const;

  Arguments arguments_;
  std::string output_;
  CLI::App app_{"Joins services in different clusters, clouds and machines into one network.",
                "istmo"};
  std::map<const CLI::Option*, std::vector<std::string>> choices_;
};

Parser::Parser() {
  app_.require_subcommand(1);
  app_.fallthrough();  // -n and --platform may stand behind the verb
  app_.set_version_flag("--version", "istmo " ISTMO_VERSION, "Print the version and exit");
  app_.formatter(std::make_shared<HelpFormatter>());
  add_global_flags();
  app_.footer(kEverywhere);  // verbs take it over
  add_v1_verbs();
  add_links_and_tokens();
  add_resources();
  add_own_verbs();
  app_.footer("");
}

std::variant<Arguments, UsageAnswer> Parser::parse(int argc, const char* const* argv) {
  try {
    std::vector<std::string> words = reversed_words(argc, argv);
    app_.parse(words);
  } catch (const CLI::ParseError& error) {
    return answer_of(error);
  }
  if (output_ == "json") arguments_.output = Output::json;
  if (output_ == "yaml") arguments_.output = Output::yaml;
  const std::string problem = wrong_combination(arguments_);
  if (!problem.empty()) return usage_error(innermost().command, problem);
  return arguments_;
}

Parser::Innermost Parser::innermost() const {
  Innermost found{&app_, "istmo"};
  while (!found.app->get_subcommands().empty()) {
    found.app = found.app->get_subcommands().front();
    found.command += " " + found.app->get_name();
  }
  return found;
}

// A word where a verb should stand; empty when there is none.
std::string Parser::unknown_word(const CLI::App& app) const {
  if (app.get_subcommands([](const CLI::App*) { return true; }).empty()) return {};
  for (const std::string& word : app_.remaining(true)) {
    if (!word.starts_with('-')) return word;
  }
  return {};
}

UsageAnswer Parser::answer_of(const CLI::ParseError& error) const {
  const auto [app, command] = innermost();
  if (dynamic_cast<const CLI::CallForVersion*>(&error) != nullptr) {
    return {kExitDone, std::string(error.what()) + "\n"};
  }
  const std::string word = unknown_word(*app);
  if (!word.empty()) {
    std::vector<std::string> verbs;
    for (const CLI::App* verb : app->get_subcommands([](const CLI::App*) { return true; })) {
      verbs.push_back(verb->get_name());
    }
    const std::string closest = closest_word(word, verbs);
    return usage_error(command, "there is no command '" + word + "'" +
                                    (closest.empty() ? "" : "; did you mean '" + closest + "'?"));
  }
  if (error.get_exit_code() == 0) {
    return {kExitDone, app_.help("", {})};
  }
  return usage_error(command, error.what());
}

void Parser::choice(CLI::Option* option, const std::vector<std::string>& choices) {
  option->check(CLI::IsMember(choices));
  choices_[option] = choices;
}

CLI::App& Parser::group(const char* name, const char* description) {
  CLI::App& app = *app_.add_subcommand(name, description);
  app.require_subcommand(1);
  return app;
}

CLI::App& Parser::verb(CLI::App& parent, const char* name, const char* description, Verb verb,
                       Setup setup) {
  CLI::App& app = *parent.add_subcommand(name, description);
  app.callback([this, verb] { arguments_.verb = verb; });
  (this->*setup)(app);
  return app;
}

void Parser::add_global_flags() {
  app_.add_option("-n,--namespace", arguments_.namespace_name, "The local site's namespace")
      ->type_name(kNamespace)
      ->check(usage::namespace_name, "");
  app_.add_option("--admin", arguments_.run.admin, "Admin socket: unix:PATH or HOST:PORT")
      ->check(usage::admin_address, "");
  choice(app_.add_option("-p,--platform", arguments_.platform, "Where the site lives"), kPlatforms);
  app_.add_option("--kubeconfig", arguments_.kube.kubeconfig, "Access to a cluster")
      ->type_name(kFile);
  app_.add_option("--context", arguments_.kube.context, "Context of the kubeconfig to use");
}

void Parser::add_v1_verbs() {
  verb(app_, "init", "Make a site in this namespace and start it", Verb::init, &Parser::with_init);
  verb(app_, "delete", "Stop the site of this namespace and remove it", Verb::remove,
       &Parser::with_nothing);
  verb(app_, "status", "Show the site of this namespace", Verb::status,
       &Parser::with_verbose_output);
  verb(app_, "expose", "Offer a workload to all linked sites", Verb::expose, &Parser::with_expose);
  verb(app_, "unexpose", "Take a workload out of a service", Verb::unexpose,
       &Parser::with_unexpose);
  verb(group("service", "Services of the application network"), "status",
       "Show services and who serves them", Verb::service_status, &Parser::with_verbose_output);
}

void Parser::add_links_and_tokens() {
  CLI::App& token = group("token", "Tokens: the right to link to this site");
  verb(token, "create", "Write a token to a file", Verb::token_create, &Parser::with_token_create);
  verb(token, "status", "Show the token of a file, or all that this site gave", Verb::token_status,
       &Parser::with_token_status);
  CLI::App& link = group("link", "Links to other sites");
  verb(link, "create", "Link this site to the one that made a token", Verb::link_create,
       &Parser::with_link_create);
  verb(link, "status", "Show links", Verb::link_status, &Parser::with_link_status);
  verb(link, "delete", "Remove a link", Verb::link_remove, &Parser::with_link_name);
  verb(link, "generate", "Print the Link and Secret with which another site links to this one",
       Verb::link_generate, &Parser::with_link_generate);
}

void Parser::add_resources() {
  add_resource("site", Noun::site, &Parser::with_site_create, &Parser::with_site_update,
               &Parser::with_site_remove);
  add_resource("listener", Noun::listener, &Parser::with_service_create,
               &Parser::with_service_update, &Parser::with_resource_name);
  add_resource("connector", Noun::connector, &Parser::with_service_create,
               &Parser::with_service_update, &Parser::with_resource_name);
}

void Parser::add_resource(const char* name, Noun noun, Setup create, Setup update, Setup remove) {
  CLI::App& app = group(name, (std::string(name) + " resources of this namespace").c_str());
  app.parse_complete_callback([this, noun] { arguments_.resource.noun = noun; });
  verb(app, "create", "Make one and wait until it works", Verb::resource_create, create);
  verb(app, "update", "Change one", Verb::resource_update, update);
  verb(app, "status", "Show one or all", Verb::resource_status, &Parser::with_resource_status);
  verb(app, "delete", "Remove one", Verb::resource_remove, remove);
  CLI::App& generate = verb(app, "generate", "Print the document that create would write",
                            Verb::resource_generate, create);
  with_output(generate);
}

void Parser::add_own_verbs() {
  CLI::App& connection = group("connection", "Open connections of this site");
  verb(connection, "list", "Show open connections", Verb::connection_list, &Parser::with_output);
  verb(connection, "delete", "End one connection with a reset", Verb::connection_remove,
       &Parser::with_connection_id);
  verb(app_, "run", "Run a site in the foreground from documents", Verb::run, &Parser::with_run);
  verb(app_, "check", "Validate documents and print every problem", Verb::check,
       &Parser::with_check);
  verb(group("generate", "Manifests to be applied in a cluster"), "attached-role",
       "Print what lets the site of another namespace use this one's AttachedConnectors",
       Verb::attached_role, &Parser::with_attached_role);
  verb(group("debug", "To look into what is wrong"), "dump",
       "Write documents, status and logs, without secrets, to an archive", Verb::debug_dump,
       &Parser::with_debug_dump);
  verb(app_, "version", "Show versions", Verb::version, &Parser::with_output);
  CLI::App& help = *app_.add_subcommand("help", "Show what a command takes");
  help.callback([] { throw CLI::CallForHelp(); });
  verb(app_, "completion", "Print the completion script of a shell", Verb::completion,
       &Parser::with_shell);
}

void Parser::with_attached_role(CLI::App& app) {
  with_output(app);
  app.add_option("--namespace-of-site", arguments_.namespace_of_site,
                 "Namespace of the site that binds them")
      ->required()
      ->type_name(kNamespace)
      ->check(usage::namespace_name, "");
}

void Parser::with_output(CLI::App& app) {
  choice(app.add_option("-o,--output", output_, "Print resource documents instead"), kOutputs);
}

void Parser::with_verbose_output(CLI::App& app) {
  with_output(app);
  app.add_flag("-v,--verbose", arguments_.is_verbose, "Say more");
}

void Parser::with_running(CLI::App& app) {
  RunArguments& run = arguments_.run;
  app.add_option(
         "--workers", run.workers,
         "Worker threads (default: one per usable core; in a pod its CPU limit, else at most 4)")
      ->check(CLI::Range(1U, io::kWorkersMax));
  choice(app.add_option("--io", run.io, "Engine of the kernel to use")->default_str("auto"),
         kIoModes);
  choice(app.add_option("--log-level", run.log_level, "Least important messages to log"),
         kLogLevels);
  app.add_option("--tls-keylog", run.tls_keylog, "Write TLS secrets to a file, for debugging only")
      ->envname("SSLKEYLOGFILE")
      ->type_name(kFile);
  app.add_option("--health-address", run.health_address,
                 "Serve /healthz, /readyz and /metrics here, to whoever reaches it: [ADDRESS]:PORT")
      ->check(usage::health_address, "");
  app.add_option("--drain-delay", run.drain_delay,
                 "How long SIGTERM lets connections come, while /readyz refuses (a pod: 5s)")
      ->default_str("0s")
      ->check(usage::duration, "");
  app.add_option("--drain-timeout", run.drain_timeout,
                 "How long SIGTERM lets connections end (a pod: 60s)")
      ->default_str(kDefaultDrainTimeout)
      ->check(usage::duration, "");
  app.add_option("--service-host", run.service_host,
                 "Address at which services of other sites are offered here")
      ->check(usage::service_host, "");
  with_ingress_host(app);
}

void Parser::with_ingress_host(CLI::App& app) {
  app.add_option("--ingress-host", arguments_.run.ingress_hosts,
                 "Name or address under which other sites reach this one (repeatable); of "
                 "route, ingress and gateway the domain of their hosts")
      ->check(usage::host, "")
      ->allow_extra_args(false);
}

void Parser::with_init(CLI::App& app) {
  with_running(app);
  app.add_option("--site-name", arguments_.init.site_name, "Default: the namespace")
      ->check(usage::resource_name, "");
  choice(app.add_option("--ingress", arguments_.init.ingress,
                        "How other sites get here (none: no tokens); external on a machine, "
                        "loadbalancer, nodeport, route, ingress, gateway, local in a cluster"),
         {"external", "none", "loadbalancer", "nodeport", "route", "ingress", "ingress-nginx",
          "gateway", "local"});
  with_ingress(app);
  app.add_option("--timeout", arguments_.init.timeout,
                 "How long to wait for the site (default: 30s, in a cluster 120s)")
      ->check(usage::duration, "");
  app.add_option("--image", arguments_.init.image, "Kubernetes: image of the gateway")
      ->envname("ISTMO_IMAGE");
  app.add_option("--replicas", arguments_.init.replicas, "Kubernetes: pods of the gateway")
      ->check(CLI::Range(1U, proxy::kReplicasMax))
      ->capture_default_str();
  app.add_option("--image-pull-secret", arguments_.init.image_pull_secret,
                 "Kubernetes: Secret with access to the image")
      ->check(usage::resource_name, "");
  choice(app.add_option("-o,--output", output_, "Kubernetes: print the manifest, make nothing"),
         kOutputs);
}

void Parser::with_ingress(CLI::App& app) {
  app.add_option("--ingress-class", arguments_.init.ingress_class,
                 "Kubernetes: class of the Ingress (default: the cluster's)")
      ->check(usage::resource_name, "");
  app.add_option("--ingress-gateway", arguments_.init.ingress_gateway,
                 "Kubernetes: the Gateway of --ingress gateway: [NAMESPACE/]NAME")
      ->check(usage::gateway_name, "");
}

void Parser::with_run(CLI::App& app) {
  with_running(app);
  app.add_option("path", arguments_.run.path,
                 "A folder of documents, or one file of many; in a cluster: none")
      ->type_name(kFile);
  app.add_option("--state", arguments_.run.state, "Folder for keys, status and sockets")
      ->type_name(kFile);
}

void Parser::with_check(CLI::App& app) {
  app.add_option("path", arguments_.run.path, "A folder of documents, or one file of many")
      ->required()
      ->type_name(kFile);
}

void Parser::with_token_create(CLI::App& app) {
  TokenArguments& token = arguments_.token;
  app.add_option("file", token.file, "Where to write the token")->required()->type_name(kFile);
  choice(app.add_option("-t,--token-type", token.type, "claim, or cert: long-lived")
             ->capture_default_str(),
         {"claim", "cert"});
  app.add_option("--expiry", token.expiry, "How long it can be used")
      ->capture_default_str()
      ->check(usage::positive_duration, "");
  app.add_option("--uses", token.uses, "How many links it can make")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--name", token.name, "Name of the token")->check(usage::resource_name, "");
  app.add_option("--password", token.password, "The secret code (default: random)");
  app.add_option("--ingress-host", arguments_.run.ingress_hosts,
                 "Name or address that the token carries; the site keeps it (repeatable)")
      ->check(usage::host, "")
      ->allow_extra_args(false);
}

void Parser::with_token_status(CLI::App& app) {
  with_output(app);
  app.add_option("file", arguments_.token.file, "The token's file")->type_name(kFile);
}

void Parser::with_link_create(CLI::App& app) {
  app.add_option("file", arguments_.token.file, "The token's file")->required()->type_name(kFile);
  app.add_option("--name", arguments_.link.name, "Name of the link (default: link1, link2, ...)")
      ->check(usage::resource_name, "");
  app.add_option("--cost", arguments_.link.cost, "Cost of the link")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
}

void Parser::with_link_status(CLI::App& app) {
  with_verbose_output(app);
  app.add_option("name", arguments_.link.name, "Only this link");
  app.add_option("--wait", arguments_.link.wait, "Wait so many seconds for links to connect")
      ->check(usage::waiting_time, "");
}

void Parser::with_link_name(CLI::App& app) {
  app.add_option("name", arguments_.link.name, "Name of the link")->required();
}

void Parser::with_link_generate(CLI::App& app) {
  with_output(app);
  app.add_option("name,--name", arguments_.link.name, "Name of the link")
      ->check(usage::resource_name, "");
  app.add_option("--host", arguments_.link.host, "Name or address under which this site is reached")
      ->check(usage::host, "");
  app.add_option("--cost", arguments_.link.cost, "Cost of the link")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
}

void Parser::with_expose(CLI::App& app) {
  ExposeArguments& expose = arguments_.expose;
  app.add_option("target", expose.target, kTarget)->required()->expected(1, 2);
  app.add_option("--address", expose.address,
                 "Name of the service: how other sites know it (default: the workload's)")
      ->check(usage::resource_name, "");
  app.add_option("--port", expose.ports,
                 "Port of the service (repeatable; default: those that the workload names)")
      ->check(usage::port_pair, "")
      ->allow_extra_args(false);
  app.add_option("--target-port", expose.target_ports, "Port of the workload, if another one")
      ->check(CLI::Range(1, 65535))
      ->allow_extra_args(false);
  choice(app.add_option("--protocol", expose.protocol, "Protocol")->capture_default_str(), {"tcp"});
}

void Parser::with_unexpose(CLI::App& app) {
  app.add_option("target", arguments_.expose.target, kTarget)->required()->expected(1, 2);
  app.add_option("--address", arguments_.expose.address, "Name of the service");
}

void Parser::with_site_create(CLI::App& app) {
  app.add_option("name", arguments_.resource.name, "Name of the site")
      ->required()
      ->check(usage::resource_name, "");
  with_site_flags(app);
  with_ingress_host(app);
  with_ingress(app);
}

void Parser::with_site_update(CLI::App& app) {
  with_site_name(app);
  with_site_flags(app);
}

void Parser::with_site_flags(CLI::App& app) {
  with_waiting(app);
  ResourceArguments& resource = arguments_.resource;
  app.add_flag("--enable-link-access", resource.enables_link_access, "Let other sites link here");
  app.add_flag("--enable-ha", resource.enables_ha, "Kubernetes: two pods of the gateway");
  choice(
      app.add_option("--link-access-type", resource.link_access_type, "How other sites link here"),
      kLinkAccessTypes);
}

void Parser::with_site_name(CLI::App& app) {
  app.add_option("name", arguments_.resource.name, "Name of the site")
      ->check(usage::resource_name, "");
}

void Parser::with_site_remove(CLI::App& app) {
  with_site_name(app);
  app.add_flag("--all", arguments_.resource.all, "All other resources too");
  with_waiting(app);
}

void Parser::with_service_create(CLI::App& app) {
  ResourceArguments& resource = arguments_.resource;
  app.add_option("name", resource.name, "Name")->required()->check(usage::resource_name, "");
  app.add_option("port", resource.port, "Port")->required()->check(CLI::Range(1, 65535));
  with_service_flags(app);
}

void Parser::with_service_update(CLI::App& app) {
  ResourceArguments& resource = arguments_.resource;
  app.add_option("name", resource.name, "Name")->required();
  app.add_option("--port", resource.port, "Port")->check(CLI::Range(1, 65535));
  with_service_flags(app);
}

void Parser::with_service_flags(CLI::App& app) {
  ResourceArguments& resource = arguments_.resource;
  app.add_option("-r,--routing-key", resource.routing_key, "Routing key (default: the name)")
      ->check(usage::plain_text, "");
  app.add_option("--host", resource.host, "Host name or address")->check(usage::plain_text, "");
  app.add_option("--selector", resource.selector, "Pods to connect to (Kubernetes)");
  app.add_option("--tls-credentials", resource.tls_credentials, "Name of a Secret")
      ->check(usage::resource_name, "");
  choice(app.add_option("--type", resource.type, "Protocol"), {"tcp"});
  with_waiting(app);
}

void Parser::with_waiting(CLI::App& app) {
  choice(app.add_option("--wait", arguments_.resource.wait, "What to wait for"),
         {"configured", "ready", "none"});
  app.add_option("--timeout", arguments_.resource.timeout, "How long to wait")
      ->capture_default_str()
      ->check(usage::duration, "");
}

void Parser::with_resource_name(CLI::App& app) {
  app.add_option("name", arguments_.resource.name, "Name")->required();
  with_waiting(app);
}

void Parser::with_resource_status(CLI::App& app) {
  with_output(app);
  app.add_option("name", arguments_.resource.name, "Only this one");
}

void Parser::with_connection_id(CLI::App& app) {
  app.add_option("id", arguments_.connection_id, "As `connection list` shows it")->required();
}

void Parser::with_debug_dump(CLI::App& app) {
  app.add_option("file", arguments_.dump_file, "Default: istmo-dump-NAMESPACE-TIME.tar.gz")
      ->type_name(kFile);
}

void Parser::with_shell(CLI::App& app) {
  choice(app.add_option("shell", arguments_.shell, "The shell")->required(), kShells);
}

CommandFlag Parser::flag_of(const CLI::Option& option) const {
  CommandFlag flag{.description = option.get_description(),
                   .takes_value = option.get_type_size() > 0};
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  if (option.get_type_name() == kFile) flag.completes = Completes::file;
  if (option.get_type_name() == kNamespace) flag.completes = Completes::namespaces;
  if (const auto found = choices_.find(&option); found != choices_.end()) {
    flag.completes = Completes::choices;
    flag.choices = found->second;
  }
  return flag;
}

CommandNode Parser::node_of(const CLI::App& app) const {
  CommandNode node{.name = app.get_name(), .description = app.get_description()};
  for (const CLI::Option* option : app.get_options()) {
    const CommandFlag flag = flag_of(*option);
    if (!flag.names.empty()) {
      node.flags.push_back(flag);
    } else {
      node.completes = flag.completes;
      node.choices = flag.choices;
    }
  }
  for (const CLI::App* child : app.get_subcommands({})) node.commands.push_back(node_of(*child));
  return node;
}

}  // namespace

std::variant<Arguments, UsageAnswer> parse_command_line(int argc, const char* const* argv) {
  return Parser().parse(argc, argv);
}

CommandNode command_tree() { return Parser().tree(); }

}  // namespace istmo::control
