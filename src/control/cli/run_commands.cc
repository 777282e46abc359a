// run, check, version, connection: the verbs around a running process.
#include <signal.h>
#include <unistd.h>

#include <filesystem>

#include "base/log.h"
#include "control/certificate_issuer.h"
#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
#include "control/cli/platform.h"
#include "control/controller.h"
#include "control/durations.h"
#include "control/kubernetes/kubernetes_platform.h"
#include "control/linux_platform.h"
#include "control/service_address.h"
#include "dataplane/io/cores.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

// The state folder of a site; a temporary one goes with its owner.
class StateFolder {
 public:
  static Result<StateFolder> of(const RunArguments& run) {
    if (!run.state.empty()) return make(fs::absolute(run.state), Lifetime::kept);
    const fs::path path = run.path.empty() ? fs::path() : fs::absolute(run.path);
    if (fs::is_directory(path)) return make(path / "runtime", Lifetime::kept);
    std::string name = (fs::temp_directory_path() / "istmo-run.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return Error::from_errno(errno, "mkdtemp " + name);
    return make(name, Lifetime::temporary);
  }
  StateFolder(StateFolder&& other) noexcept
      : path_(std::exchange(other.path_, {})), lifetime_(other.lifetime_) {}
  StateFolder& operator=(StateFolder&&) = delete;
  ~StateFolder() {
    std::error_code ignored;
    if (!path_.empty() && lifetime_ == Lifetime::temporary) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  enum class Lifetime : uint8_t { kept, temporary };
  StateFolder(fs::path path, Lifetime lifetime) : path_(std::move(path)), lifetime_(lifetime) {}
  static Result<StateFolder> make(const fs::path& path, Lifetime lifetime) {
    std::error_code code;
    fs::create_directories(path / "resources", code);
    if (code) return Error::config("cannot make " + path.string() + ": " + code.message());
    fs::permissions(path, fs::perms::owner_all, code);
    return StateFolder(path, lifetime);
  }

  fs::path path_;
  Lifetime lifetime_;
};

io::IoMode io_mode_of(const std::string& name) {
  if (name == "uring") return io::IoMode::uring;
  return name == "epoll" ? io::IoMode::epoll : io::IoMode::automatic;
}

// Workers inherit the mask: only the control loop reads these, by signalfd.
void block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

PlatformMaker linux_platform(const SourcePaths& paths, const fs::path& state) {
  return [paths, state](io::Loop& loop, PlatformSink& sink) {
    return std::make_unique<LinuxPlatform>(loop, sink, paths, state);
  };
}

PlatformMaker kubernetes_platform(const KubeAccess& access, const transport::KeyLog* key_log) {
  return [access, key_log](io::Loop& loop, PlatformSink& sink) {
    return KubernetesPlatform::make(loop, sink, access, key_log);
  };
}

bool is_in_cluster(const RunArguments& run) { return run.path.empty(); }

uint32_t usual_workers(const RunArguments& run) {
  const io::UsableCores cores = io::usable_cores();
  return is_in_cluster(run) ? io::workers_in_pod(cores) : io::workers_on_machine(cores);
}

Result<ControllerOptions> controller_options(const Arguments& arguments, const fs::path& state) {
  const RunArguments& run = arguments.run;
  ControllerOptions options;
  options.namespace_name = arguments.namespace_name;
  options.state = state;
  options.admin = run.admin.empty() ? AdminAddress::unix_socket(state / "admin.sock")
                                    : TRY(AdminAddress::parse(run.admin));
  // Without a namespace the address is the state folder's own: two sites never share one.
  options.service_host = run.service_host;
  if (run.service_host.empty()) {
    options.service_host = service_host_of(
        arguments.namespace_name.empty() ? state.string() : arguments.namespace_name);
  }
  TRY(check_service_host(options.service_host));
  if (options.namespace_name.empty()) options.namespace_name = kDefaultNamespace;
  options.ingress_hosts = run.ingress_hosts;
  options.workers = run.workers == 0 ? usual_workers(run) : run.workers;
  options.loop = TRY(io::choose_loop(io_mode_of(run.io)));
  if (!run.health_address.empty()) options.health = TRY(HealthAddress::parse(run.health_address));
  options.drain_delay = TRY(parse_duration(run.drain_delay.empty() ? "0s" : run.drain_delay));
  options.drain_timeout =
      TRY(parse_duration(run.drain_timeout.empty() ? kDefaultDrainTimeout : run.drain_timeout));
  return options;
}

// What the documents come to, as far as that can be said without running them: host names are not
// looked up, and certificates that the site would make count as made.
std::vector<Problem> compile_problems(const Desired& desired) {
  Observed observed;
  observed.is_link_access_asked = !desired.grants.empty();
  for (const auto& [name, access] : router_accesses(desired, observed)) {
    if (!makes_credentials(access, desired)) continue;
    observed.credentials[access.tls_credentials] = {};
  }
  for (const auto& [name, certificate] : desired.certificates) observed.credentials[name] = {};
  std::vector<Problem> problems = compile(desired, observed).problems;
  for (const auto& [name, document] : desired.certificates) {
    Result<> checked = check_certificate(document, desired);
    if (checked) checked = check_secret_is_free(document, desired);
    if (checked) continue;
    problems.push_back(
        {.origin = document.origin, .object = id_of(document), .text = checked.error().text()});
  }
  return problems;
}

std::string connections_text(const std::vector<Value>& connections) {
  Table table(
      {"ID", "LISTENER", "CONNECTOR", "ROUTING-KEY", "CLIENT", "SERVER", "IN", "OUT", "AGE"});
  for (const Value& connection : connections) {
    std::vector<std::string> row;
    for (const char* key : {"id", "listener", "connector", "routingKey", "client", "server",
                            "bytesIn", "bytesOut", "ageSeconds"}) {
      row.push_back(text_at(connection, key));
    }
    row.back() += "s";
    table.add(std::move(row));
  }
  return table.text();
}

}  // namespace

Result<int> run_site(const Arguments& arguments) {
  const RunArguments& run = arguments.run;
  std::error_code ignored;
  if (!is_in_cluster(run) && !fs::exists(run.path, ignored)) {
    return Error::config("there is no file or folder " + run.path);
  }
  log::set_level(log::level_from(run.log_level).value_or(log::Level::info));
  block_signals();
  const StateFolder state = TRY(StateFolder::of(run));
  const PidFile pid_file = TRY(PidFile::take(state.path() / "istmo.pid"));
  ControllerOptions options = TRY(controller_options(arguments, state.path()));
  std::optional<transport::KeyLog> key_log;
  options.platform = linux_platform(SourcePaths::of(run.path), state.path());
  if (!run.tls_keylog.empty()) {
    key_log.emplace(TRY(transport::KeyLog::open(run.tls_keylog)));
    options.key_log = &*key_log;
  }
  if (is_in_cluster(run)) {
    const KubeAccess access = TRY(kube_access(arguments.kube, arguments.namespace_name));
    options.namespace_name = access.namespace_name;
    options.platform = kubernetes_platform(access, options.key_log);
  }
  // The control loop needs nothing that only io_uring has.
  const auto loop = TRY(io::make_loop({.kind = io::LoopKind::epoll}, {}));
  Controller controller(*loop, std::move(options));
  TRY(controller.run());
  return kExitDone;
}

Result<int> check_documents(const Arguments& arguments) {
  std::error_code ignored;
  if (!fs::exists(arguments.run.path, ignored)) {
    return Error::config("there is no file or folder " + arguments.run.path);
  }
  DocumentStore store;
  store.apply(read_source(SourcePaths::of(arguments.run.path)));
  std::vector<Problem> problems = store.problems();
  for (Problem& problem : compile_problems(store.desired())) problems.push_back(std::move(problem));
  size_t errors = 0;  // also what waits: nothing else will come
  for (const Problem& problem : problems) {
    if (problem.severity != Severity::warning) ++errors;
    print(problem.to_string() + "\n");
  }
  const size_t warnings = problems.size() - errors;
  print(std::to_string(store.desired().all().size()) + " documents, " + std::to_string(errors) +
        " errors, " + std::to_string(warnings) + " warnings\n");
  return errors == 0 ? kExitDone : kExitFailed;
}

Result<int> show_version(const Arguments& arguments) {
  std::vector<std::pair<std::string, std::string>> components{{"cli", ISTMO_VERSION}};
  if (const auto site = site_of(arguments)) {
    const auto answer = (*site)->ask(request_of("site"));
    const std::string version =
        answer && !answer->empty() ? text_at(answer->front(), "version") : std::string();
    if (!version.empty()) components.emplace_back("site", version);
  }
  std::vector<Value> items;
  Table table({"COMPONENT", "VERSION"});
  for (const auto& [component, version] : components) {
    table.add({component, version});
    Value& item = items.emplace_back(Value::map());
    item.set("component", component);
    item.set("version", version);
  }
  print(arguments.output == Output::text ? table.text() : list_text(items, arguments.output));
  return kExitDone;
}

Result<int> list_connections(const Arguments& arguments) {
  const auto site = TRY(open_site(arguments));
  const auto connections = site->ask(request_of("connections"));
  if (!connections) return print_no_list(connections.error(), arguments.output);
  print(arguments.output == Output::text ? connections_text(*connections)
                                         : list_text(*connections, arguments.output));
  return kExitDone;
}

Result<int> delete_connection(const Arguments& arguments) {
  const auto site = TRY(open_site(arguments));
  Value request = request_of("delete-connection");
  request.set("id", arguments.connection_id);
  TRY(site->ask(request));
  print("Connection " + arguments.connection_id + " is deleted\n");
  return kExitDone;
}

}  // namespace istmo::control
