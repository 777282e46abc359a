// init, delete, status: the site of a namespace as a whole.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
#include "control/durations.h"
#include "control/service_address.h"
#include "control/site_options.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr Duration kKillAfterDrain = Duration::seconds(10);
constexpr size_t kLogBytesShown = 2000;
constexpr const char* kStartPatience = "30s";

void add_option(std::vector<std::string>& words, const char* name, const std::string& value) {
  if (value.empty()) return;
  words.push_back(name);
  words.push_back(value);
}

// The site's own command line: `istmo run <folder> ...`.
std::vector<std::string> run_words(const SitePaths& paths, const std::string& namespace_name,
                                   const RunArguments& run) {
  std::vector<std::string> words{
      "run", paths.root.string(), "--state", paths.runtime.string(), "--namespace", namespace_name};
  add_option(words, "--service-host", run.service_host);
  add_option(words, "--admin", run.admin);
  add_option(words, "--log-level", run.log_level);
  add_option(words, "--io", run.io);
  add_option(words, "--health-address", run.health_address);
  add_option(words, "--drain-delay", run.drain_delay);
  add_option(words, "--drain-timeout", run.drain_timeout);
  if (run.workers > 0) add_option(words, "--workers", std::to_string(run.workers));
  if (!run.tls_keylog.empty()) {
    add_option(words, "--tls-keylog", fs::absolute(run.tls_keylog).string());
  }
  for (const std::string& host : run.ingress_hosts) add_option(words, "--ingress-host", host);
  return words;
}

Result<> check_options(const RunArguments& run) {
  if (!run.service_host.empty()) TRY(check_service_host(run.service_host));
  if (run.admin.empty()) return {};
  const AdminAddress admin = TRY(AdminAddress::parse(run.admin));
  if (!admin.is_for_this_machine()) {
    print_notice("istmo: warning: whoever reaches " + admin.to_string() +
                 " commands this site; nothing asks who it is\n");
  }
  return {};
}

// What the site was told before, as long as nothing else is given now. TLS secrets are written
// only when that is asked for again.
RunArguments merged(const RunArguments& given, const RunArguments& before) {
  RunArguments run = given;
  const auto keep = [](auto& now, const auto& earlier) {
    if (now.empty()) now = earlier;
  };
  keep(run.admin, before.admin);
  keep(run.log_level, before.log_level);
  keep(run.health_address, before.health_address);
  keep(run.drain_delay, before.drain_delay);
  keep(run.drain_timeout, before.drain_timeout);
  keep(run.service_host, before.service_host);
  keep(run.ingress_hosts, before.ingress_hosts);
  keep(run.io, before.io);
  if (run.workers == 0) run.workers = before.workers;
  return run;
}

// From the command line that `init` noted: what it does not understand any more is forgotten.
RunArguments arguments_before(const SiteOptions& options) {
  std::vector<const char*> words{"istmo"};
  for (const std::string& word : options.arguments) words.push_back(word.c_str());
  auto parsed = parse_command_line(static_cast<int>(words.size()), words.data());
  const auto* arguments = std::get_if<Arguments>(&parsed);
  return arguments == nullptr ? RunArguments{} : arguments->run;
}

std::string end_of_log(const SitePaths& paths) {
  const auto text = read_file(paths.log_file());
  if (!text || text->empty()) return {};
  const size_t start = text->size() > kLogBytesShown ? text->size() - kLogBytesShown : 0;
  return "; the end of its log:\n" + text->substr(start);
}

// Until the admin socket answers, or the process has ended without ever answering.
Result<> wait_until_answering(const LocalSite& site, const std::optional<ProcessId>& process,
                              Duration patience) {
  const Instant deadline = monotonic_now() + patience;
  do {
    if (auto client = site.connect(); client && client->ask(request_of("ping"))) return {};
    const auto watch = process ? ProcessWatch::of(*process) : std::nullopt;
    if (process && (!watch || watch->has_ended_within(Duration::milliseconds(15)))) {
      return Error::internal("the site ended right after its start" + end_of_log(site.paths()));
    }
    if (!process) ::usleep(15'000);
  } while (monotonic_now() < deadline);
  return Error::timeout("the site does not answer" + end_of_log(site.paths()));
}

Result<> write_first_documents(const LocalSite& site, const NewSite& made) {
  if (TRY(site.documents()).site() != nullptr) return {};
  SiteDocument document;
  document.metadata.name = made.site_name.empty() ? site.namespace_name() : made.site_name;
  document.link_access = made.link_access;
  return site.write(document);
}

// A site that is there keeps its name.
Result<> check_site_name(const LocalSite& site, const std::string& name) {
  const Desired documents = TRY(site.documents());
  if (name.empty() || documents.site() == nullptr || documents.site()->name() == name) return {};
  return Error::config("the site of namespace '" + site.namespace_name() + "' is called '" +
                       documents.site()->name() + "' already");
}

bool has_ingress_now(const LocalSite& site, const std::string& ingress) {
  if (!ingress.empty()) return ingress != "none";
  const auto before = read_site_options(site.paths());
  return !before || before->has_ingress;
}

Result<> start_site(const LocalSite& site, const RunArguments& run, const NewSite& made) {
  const Duration patience =
      TRY(parse_duration(made.timeout.empty() ? kStartPatience : made.timeout));
  TRY(make_site_folders(site.paths()));
  TRY(write_first_documents(site, made));
  const SiteOptions options{.admin = run.admin,
                            .service_host = run.service_host,
                            .has_ingress = has_ingress_now(site, made.ingress),
                            .arguments = run_words(site.paths(), site.namespace_name(), run)};
  TRY(write_site_options(site.paths(), options));
  const auto started = TRY(start_in_background({.name = site.namespace_name(),
                                                .arguments = options.arguments,
                                                .log_file = site.paths().log_file()}));
  if (!started.notice.empty()) print_notice("istmo: " + started.notice + "\n");
  const auto& process = started.process;
  Result<> answers = wait_until_answering(site, process, patience);
  // It may be too young for its pid file to name it.
  if (!answers && process) TRY(end_process(*process, kKillAfterDrain));
  return answers;
}

std::string counted(uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

uint64_t number_at(const Value& value, std::string_view key) {
  return std::strtoull(text_at(value, key).c_str(), nullptr, 10);
}

// v1's sentence.
std::string status_text(const CommandSite& handle, const Value& site) {
  const std::string& namespace_name = text_at(site, "namespace");
  std::string text = "Istmo is enabled for namespace \"" + namespace_name + "\"";
  const std::string& site_name = text_at(site, "name");
  if (site_name != namespace_name) text += " with site name \"" + site_name + "\"";
  const uint64_t linked = number_at(site, "linkedSites");
  const uint64_t services = number_at(site, "services");
  text += linked == 0 ? std::string(". It is not connected to any other sites.")
                      : ". It is connected to " + counted(linked, "other site") + ".";
  text += services == 0 ? std::string(" It has no exposed services.")
                        : " It has " + counted(services, "exposed service") + ".";
  return text + "\n" + handle.services_place(site) + "\n";
}

}  // namespace

Result<> make_site(const Arguments& arguments, const NewSite& made) {
  const LocalSite site = TRY(LocalSite::at(arguments.namespace_name));
  const FileLock lock = TRY(site.lock());
  if (site.process()) {
    return Error::config("Istmo is already installed in namespace '" + site.namespace_name() +
                         "' and runs (process " + std::to_string(site.process()->pid) +
                         "); `istmo delete -n " + site.namespace_name() + "` removes it");
  }
  RunArguments run = arguments.run;
  if (!run.admin.empty()) run.admin = TRY(AdminAddress::parse(run.admin)).to_string();
  const auto before = read_site_options(site.paths());
  if (before) run = merged(run, arguments_before(*before));
  TRY(check_options(run));
  if (run.service_host.empty()) run.service_host = service_host_of(site.namespace_name());
  TRY(check_site_name(site, made.site_name));
  std::error_code ignored;
  const bool is_new = !fs::exists(site.paths().root, ignored);
  Result<> started = start_site(site, run, made);
  if (started) return started;
  // Nothing is left of an attempt that failed, so that it can be repeated.
  TRY(end_site(site.namespace_name()));
  if (is_new) TRY(remove_site_folders(site.paths()));
  return started;
}

Result<> end_site(const std::string& namespace_name) {
  const LocalSite site = TRY(LocalSite::at(namespace_name));
  const auto process = site.process();
  TRY(forget_unit(namespace_name));
  if (!process) return {};
  Duration delay, drain = Duration::seconds(10);
  if (const auto options = read_site_options(site.paths())) {
    const auto& words = options->arguments;
    for (size_t index = 0; index + 1 < words.size(); ++index) {
      const auto is_given = parse_duration(words[index + 1]);
      if (words[index] == "--drain-delay") delay = is_given.value_or(delay);
      if (words[index] == "--drain-timeout") drain = is_given.value_or(drain);
    }
  }
  drain = delay + drain;
  return end_process(*process, drain + kKillAfterDrain, [&] {
    print_notice("istmo: open connections have up to " + to_string(drain) + " to end\n");
  });
}

Result<int> init_site(const Arguments& arguments) {
  const std::string& ingress = arguments.init.ingress;
  if (!ingress.empty() && ingress != "external" && ingress != "none") {
    return Error::config("--ingress " + ingress + " is for a cluster: external or none");
  }
  TRY(make_site(arguments, {.site_name = arguments.init.site_name,
                            .link_access = "",
                            .ingress = arguments.init.ingress,
                            .timeout = arguments.init.timeout}));
  print("Istmo is now installed in namespace '" + arguments.namespace_name +
        "'.  Use 'istmo status' to get more information.\n");
  return kExitDone;
}

Result<int> delete_site(const Arguments& arguments) {
  const LocalSite site = TRY(LocalSite::open_to_change(arguments));
  const FileLock lock = TRY(site.lock());
  TRY(LocalSite::open(arguments));  // still there when the lock was free
  TRY(end_site(site.namespace_name()));
  TRY(remove_site_folders(site.paths()));
  print("Istmo is now removed from '" + site.namespace_name() + "'.\n");
  return kExitDone;
}

Result<int> show_site(const Arguments& arguments) {
  const auto site = TRY(site_of(arguments));
  if (!TRY(site->is_installed())) {
    print(arguments.output == Output::text ? site->absence_text()
                                           : list_text({}, arguments.output));
    return kExitDone;
  }
  if (arguments.output != Output::text) {
    print(list_text(TRY(site->documents_with_status("Site")), arguments.output));
    return exit_code_of_showing(*site);
  }
  const std::vector<Value> items = TRY(site->ask(request_of("site")));
  if (items.empty()) return Error::internal("the site did not say what it is");
  print(status_text(*site, items.front()));
  return kExitDone;
}

}  // namespace istmo::control
