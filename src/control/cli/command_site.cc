#include "control/cli/command_site.h"

#include <time.h>

#include "control/cli/cluster_site.h"
#include "control/cli/command_line.h"
#include "control/cli/local_site.h"
#include "control/cli/terminal.h"
#include "control/document_text.h"

namespace istmo::control {

namespace {

const Value& spec_of(const Value& document) {
  static const Value kNothing;
  const Value* spec = document.find("spec");
  return spec == nullptr ? kNothing : *spec;
}

template <class Site>
std::unique_ptr<CommandSite> boxed(Site site) {
  return std::make_unique<Site>(std::move(site));
}

}  // namespace

Result<std::unique_ptr<CommandSite>> open_site(const Arguments& arguments) {
  if (!is_in_cluster(arguments)) return boxed(TRY(LocalSite::open(arguments)));
  return boxed(TRY(ClusterSite::open(arguments)));
}

Result<std::unique_ptr<CommandSite>> open_site_to_change(const Arguments& arguments) {
  if (!is_in_cluster(arguments)) return boxed(TRY(LocalSite::open_to_change(arguments)));
  return boxed(TRY(ClusterSite::open(arguments)));
}

Result<std::unique_ptr<CommandSite>> site_of(const Arguments& arguments) {
  if (!is_in_cluster(arguments)) return boxed(TRY(LocalSite::of(arguments)));
  return boxed(TRY(ClusterSite::of(arguments)));
}

Result<std::optional<Document>> CommandSite::find(const ObjectId& id) const {
  return TRY(documents()).find(id);
}

Result<Value> CommandSite::wait_for(const ObjectId& id, Duration patience,
                                    const std::function<bool(const Value&)>& is_enough) const {
  const Instant deadline = monotonic_now() + patience;
  Value last;
  while (true) {
    last = TRY(look_at(id));
    if (is_enough(last)) return last;
    if (monotonic_now() >= deadline) break;
    sleep_for(pause_between_looks());
  }
  const std::string& message = text_at(last, "status", "message");
  return Error::timeout("waited in vain for " + id.kind + " " + id.name +
                        (message.empty() ? std::string() : ": " + message));
}

Result<Value> CommandSite::wait_applied(const Document& document, Duration patience) const {
  const Value wanted = spec_of(to_value(document));
  return wait_for(id_of(document), patience, [&](const Value& found) {
    const std::string& status = text_at(found, "status", "status");
    if (found.find("spec") == nullptr) return status == "Error";
    return spec_of(found) == wanted && !status.empty();
  });
}

Result<> CommandSite::wait_gone(const ObjectId& id, Duration patience) const {
  TRY(wait_for(id, patience, [](const Value& found) { return found.is_null(); }));
  return {};
}

Value request_of(const std::string& verb) {
  Value request = Value::map();
  request.set("verb", verb);
  return request;
}

Result<> check_document(const Document& document) {
  const ParsedDocuments parsed =
      parse_documents(write_document(document, Format::yaml), "new.yaml");
  for (const Problem& problem : parsed.problems) {
    if (problem.severity != Severity::error) continue;
    return Error::config(problem.object.kind + " \"" + problem.object.name + "\": " + problem.text);
  }
  return {};
}

int exit_code_of_showing(const CommandSite& site) {
  const Result<> runs = site.check_runs();
  if (runs) return kExitDone;
  print_error(runs.error());
  return kExitFailed;
}

bool has_condition(const Value& document, std::string_view type) {
  const Value* status = document.find("status");
  if (status == nullptr) return false;
  for (const Value& condition : items_at(*status, "conditions")) {
    if (text_at(condition, "type") == type) return text_at(condition, "status") == "True";
  }
  return false;
}

Value find_value(const std::vector<Value>& documents, const ObjectId& id) {
  for (const Value& document : documents) {
    if (text_at(document, "kind") == id.kind && text_at(document, "metadata", "name") == id.name) {
      return document;
    }
  }
  return {};
}

Value status_not_running() {
  Value status = Value::map();
  status.set("status", "Error");
  status.set("message", "The site is not running");
  return status;
}

void sleep_for(Duration time) {
  timespec left{.tv_sec = time.ns / 1'000'000'000, .tv_nsec = time.ns % 1'000'000'000};
  while (::nanosleep(&left, &left) != 0) {
  }
}

}  // namespace istmo::control
