// debug dump: what somebody else needs to look into a site, in one archive, without its secrets.
//
// What cannot be had (no right, nothing there) is named in problems.txt and on stderr; the rest is
// there. Every text goes through Redaction.
#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <set>

#include "control/cli/archive.h"
#include "control/cli/cluster_site.h"
#include "control/cli/command_line.h"
#include "control/cli/commands.h"
#include "control/cli/local_site.h"
#include "control/cli/redaction.h"
#include "control/cli/terminal.h"
#include "control/document_text.h"
#include "control/health_server.h"
#include "control/kubernetes/cluster_documents.h"
#include "control/kubernetes/cluster_objects.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/object_keeper.h"
#include "control/pki.h"
#include "control/private_file.h"
#include "control/site_options.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr size_t kLogBytesMax = 4 * 1024 * 1024;  // of each log, its end

// What goes into the archive. Secrets are learnt from everything before the first text is written.
class Dump {
 public:
  void add(const std::string& name, std::string text) { files_[name] = std::move(text); }
  void add(const std::string& name, const std::vector<Value>& values) {
    for (const Value& value : values) redaction_.learn(value);
    values_[name] = values;
  }
  // Takes what is there and remembers why it is not.
  template <class T>
  void add(const std::string& name, Result<T> found) {
    if (found) add(name, std::move(*found));
    else miss(name, found.error());
  }
  void miss(const std::string& name, const Error& error) {
    problems_ += name + ": " + error.text() + "\n";
  }
  Redaction& redaction() { return redaction_; }
  const std::string& problems() const { return problems_; }

  Result<std::string> archive(const std::string& folder) const {
    Archive archive(folder, wall_now().time_since_epoch().count());
    for (const auto& [name, values] : values_) {
      std::vector<Value> shown;
      for (const Value& value : values) shown.push_back(redaction_.object(value));
      archive.add(name, redaction_.text(write_list(shown, Format::yaml)));
    }
    for (const auto& [name, text] : files_) archive.add(name, redaction_.text(text));
    archive.add("problems.txt", redaction_.text(problems_));
    return archive.take();
  }

 private:
  Redaction redaction_;
  std::map<std::string, std::vector<Value>> values_;
  std::map<std::string, std::string> files_;
  std::string problems_;
};

std::string end_of(std::string text) {
  if (text.size() > kLogBytesMax) text.erase(0, text.size() - kLogBytesMax);
  return text;
}

// The same of every site.
void add_site(Dump& dump, const CommandSite& site) {
  dump.add("versions.txt", std::string("cli ") + ISTMO_VERSION + "\n");
  dump.add("documents.yaml", site.documents_with_status(""));
  for (const char* verb : {"site", "links", "services"}) {
    dump.add(std::string("overview/") + verb + ".yaml", site.ask(request_of(verb)));
  }
}

// --- a site of this machine --------------------------------------------------------------------

// Keys and codes that the site keeps, in whatever form.
void learn_state(Dump& dump, const fs::path& runtime) {
  std::error_code error;
  for (fs::recursive_directory_iterator at(runtime, error), end; !error && at != end;
       at.increment(error)) {
    const bool is_record = at->path().extension() == ".json" || at->path().extension() == ".pem" ||
                           at->path().extension() == ".key";
    if (!is_record || !at->is_regular_file()) continue;
    const auto text = read_private_file(at->path());
    if (text) dump.redaction().learn_text(*text);
    else dump.miss("secrets of " + at->path().string(), text.error());
  }
  if (error) dump.miss("secrets of the site", Error::internal(error.message()));
}

std::string files_below(const fs::path& folder) {
  std::string text;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    if (!at->is_regular_file()) continue;
    text += fs::relative(at->path(), folder).string() + " " + std::to_string(at->file_size()) +
            " octets\n";
  }
  return text;
}

Result<> add_local_site(Dump& dump, const Arguments& arguments) {
  const LocalSite site = TRY(LocalSite::open(arguments));
  learn_state(dump, site.paths().runtime);
  add_site(dump, site);
  std::vector<Value> written;
  if (const auto documents = site.documents()) {
    for (const Document& document : documents->all()) written.push_back(to_value(document));
    dump.add("input.yaml", written);
  } else {
    dump.miss("input.yaml", documents.error());
  }
  for (const char* verb : {"workers", "connections"}) {
    dump.add(std::string("metrics/") + verb + ".yaml", site.ask(request_of(verb)));
  }
  if (!site.paths().root.empty()) dump.add("files.txt", files_below(site.paths().root));
  auto log = read_file(site.paths().log_file());
  if (log) dump.add("logs/istmo.txt", end_of(std::move(*log)));
  else dump.miss("logs/istmo.txt", log.error());
  return {};
}

// --- a site of a cluster -----------------------------------------------------------------------

// Objects of one kind by any of these labels, each once.
void add_objects(Dump& dump, ApiClient& api, const char* kind,
                 const std::vector<std::string>& selectors) {
  const std::string file = std::string("resources/") + kind + ".yaml";
  std::vector<Value> objects;
  std::set<std::string> names;
  for (const std::string& selector : selectors) {
    auto found = api.list(kind, selector);
    if (!found) return dump.miss(file, found.error());
    for (Value& object : *found) {
      if (names.insert(text_at(object, "metadata", "name")).second) {
        objects.push_back(std::move(object));
      }
    }
  }
  dump.add(file, objects);
}

// About the gateway's workload and about what it looks after.
void add_events(Dump& dump, ApiClient& api) {
  auto events = api.list("Event", "");
  if (events) {
    std::erase_if(*events, [](const Value& event) {
      const bool is_from_us = text_at(event, "source", "component") == kManagedBy ||
                              text_at(event, "reportingComponent") == kManagedBy;
      return !is_from_us && !text_at(event, "involvedObject", "name").starts_with(kPodLabelValue);
    });
  }
  dump.add("resources/Event.yaml", std::move(events));
}

std::string restarts_of(const Value& pod, const std::string& container) {
  for (const Value& status : value_at(pod, {"status", "containerStatuses"}).items()) {
    if (text_at(status, "name") == container) return text_at(status, "restartCount");
  }
  return {};
}

void add_pod(Dump& dump, ApiClient& api, const Value& pod) {
  const std::string name = text_at(pod, "metadata", "name");
  const std::string path = object_path({"Pod", name}, api.access().namespace_name);
  for (const Value& of : value_at(pod, {"spec", "containers"}).items()) {
    const std::string& container = text_at(of, "name");
    const std::string restarts = restarts_of(pod, container);
    const auto add_log = [&](const std::string& suffix, const std::string& query) {
      const std::string file = "logs/" + name + "-" + container + suffix + ".txt";
      dump.add(file, api.text(path + "/log?container=" + container + "&limitBytes=" +
                                  std::to_string(kLogBytesMax) + "&tailLines=20000" + query,
                              "log of pod " + name));
    };
    add_log("", "");
    if (!restarts.empty() && restarts != "0") add_log("-previous", "&previous=true");
  }
  dump.add("metrics/" + name + ".txt",
           api.text(path + ":" + std::to_string(kHealthPort) + "/proxy/metrics",
                    "metrics of pod " + name));
}

Result<> add_cluster_site(Dump& dump, const Arguments& arguments) {
  const ClusterSite site = TRY(ClusterSite::of(arguments));
  ApiClient& api = site.api();
  const std::string of_gateway = std::string(kPodLabel) + "=" + kPodLabelValue;
  add_objects(dump, api, "Secret", {managed_by_us(), documents_selector()});
  add_objects(dump, api, "ConfigMap", {managed_by_us(), documents_selector()});
  add_objects(dump, api, "Service", {managed_by_us(), of_gateway});
  for (const char* kind : {"Deployment", "ReplicaSet", "Pod", "EndpointSlice", "Role",
                           "RoleBinding", "NetworkPolicy", "PodDisruptionBudget"}) {
    add_objects(dump, api, kind, {managed_by_us(), of_gateway});
  }
  add_events(dump, api);
  add_site(dump, site);
  dump.add("versions-kubernetes.json", api.text("/version", "version of the API server"));
  if (const auto pods = api.list("Pod", of_gateway)) {
    for (const Value& pod : *pods) add_pod(dump, api, pod);
  }
  return {};
}

// "istmo-dump-oeste-20261126213350"
std::string default_name(const std::string& namespace_name) {
  const std::time_t now = wall_now().time_since_epoch().count();
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d%H%M%S", &parts);
  return "istmo-dump-" + namespace_name + "-" + text;
}

Result<std::string> namespace_of(const Arguments& arguments) {
  if (!is_in_cluster(arguments)) return arguments.namespace_name;
  return TRY(kube_access(arguments.kube, arguments.namespace_name)).namespace_name;
}

}  // namespace

Result<int> dump_for_debugging(const Arguments& arguments) {
  const std::string name = default_name(TRY(namespace_of(arguments)));
  fs::path file(arguments.dump_file.empty() ? name : arguments.dump_file);
  if (arguments.dump_file.empty() || !file.has_extension()) file += ".tar.gz";
  Dump dump;
  TRY(is_in_cluster(arguments) ? add_cluster_site(dump, arguments)
                               : add_local_site(dump, arguments));
  const std::string archive = TRY(dump.archive(name));
  TRY(write_file(file, archive));
  if (!dump.problems().empty()) print_notice("istmo: not in the archive:\n" + dump.problems());
  print("Istmo dump details written to compressed archive: " + file.string() + "\n");
  return kExitDone;
}

}  // namespace istmo::control
