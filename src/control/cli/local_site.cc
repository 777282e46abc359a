#include "control/cli/local_site.h"

#include <utility>

#include "control/cli/command_line.h"
#include "control/cli/terminal.h"
#include "control/document_store.h"
#include "control/document_text.h"
#include "control/site_options.h"
#include "control/source_reader.h"

namespace istmo::control {

namespace fs = std::filesystem;

Result<LocalSite> LocalSite::at(const std::string& namespace_name) {
  return LocalSite(namespace_name, TRY(namespace_paths(namespace_name)));
}

Result<LocalSite> LocalSite::of(const Arguments& arguments) {
  LocalSite site = TRY(at(arguments.namespace_name));
  site.admin_ = arguments.run.admin;
  return site;
}

Result<LocalSite> LocalSite::open(const Arguments& arguments) {
  LocalSite site = TRY(of(arguments));
  if (site.exists() || !site.admin_.empty()) return site;
  return Error::config("Istmo is not installed in namespace '" + site.name_ +
                       "'; run `istmo init -n " + site.name_ + "` first");
}

Result<LocalSite> LocalSite::open_to_change(const Arguments& arguments) {
  Arguments of_namespace = arguments;
  of_namespace.run.admin.clear();
  LocalSite site = TRY(open(of_namespace));
  if (arguments.run.admin.empty()) return site;
  const AdminAddress own = TRY(admin_address_of(site.paths_));
  const AdminAddress given = TRY(AdminAddress::parse(arguments.run.admin));
  if (own.to_string() == given.to_string()) return site;
  return Error::config("--admin " + arguments.run.admin + " is not the site of namespace '" +
                       site.name_ + "', into whose folder this command writes; name the site " +
                       "by -n alone, or change the documents that it was started with");
}

bool LocalSite::exists() const {
  std::error_code ignored;
  return fs::exists(paths_.root, ignored);
}

Result<bool> LocalSite::is_installed() const {
  std::error_code ignored;
  return !admin_.empty() || fs::exists(paths_.platform_file(), ignored);
}

std::string LocalSite::absence_text() const {
  std::string text = "Istmo is not enabled in namespace '" + name_ + "'\n";
  if (exists()) {
    text += "Documents of an earlier site are left in " + paths_.root.string() +
            "; `istmo delete -n " + name_ + "` removes them\n";
  }
  return text;
}

std::string LocalSite::services_place(const Value& site) const {
  return "Services are offered here at " + text_at(site, "serviceHost") + ".";
}

Result<FileLock> LocalSite::lock() const {
  std::error_code code;
  fs::create_directories(paths_.lock_file().parent_path(), code);
  if (code) return Error::config("cannot make " + paths_.lock_file().parent_path().string());
  bool is_told = false;
  return FileLock::take(paths_.lock_file(), [&](int, Duration) {
    if (!std::exchange(is_told, true)) {
      print_notice("istmo: another command starts or ends the site of namespace '" + name_ +
                   "'; waiting for it\n");
    }
    return true;
  });
}

Result<Desired> LocalSite::documents() const {
  DocumentStore store;
  store.apply(read_source({.resources = paths_.resources().string(), .certs = {}}));
  return store.desired();
}

fs::path LocalSite::file_of(const ObjectId& id) const {
  return paths_.resources() / (id.kind + "-" + id.name + ".yaml");
}

Result<std::optional<fs::path>> LocalSite::file_holding(const ObjectId& id) const {
  const SourceState source = read_source({.resources = paths_.resources().string(), .certs = {}});
  for (const auto& [path, file] : source.files) {
    const ParsedDocuments parsed = parse_documents(file.text, path);
    bool is_here = false;
    for (const Document& document : parsed.documents) is_here |= id_of(document) == id;
    for (const ObjectId& invalid : parsed.invalid) is_here |= invalid == id;
    if (!is_here) continue;
    if (parsed.documents.size() + parsed.invalid.size() == 1) return fs::path(path);
    return Error::config(id.kind + " " + id.name + " stands in " + path +
                         " together with other documents; edit that file");
  }
  return std::optional<fs::path>();
}

Result<> LocalSite::write(const Document& document) const {
  const ObjectId id = id_of(document);
  TRY(check_resource_name(id.name));
  const auto holder = TRY(file_holding(id));
  return write_file(holder.value_or(file_of(id)), write_document(document, Format::yaml));
}

Result<> LocalSite::remove(const ObjectId& id) const {
  const auto holder = TRY(file_holding(id));
  if (!holder) return Error::config("there is no " + id.kind + " '" + id.name + "'");
  std::error_code code;
  fs::remove(*holder, code);
  if (code) return Error::config("cannot remove " + holder->string() + ": " + code.message());
  return {};
}

Result<AdminClient> LocalSite::connect() const {
  const auto address = admin_.empty() ? admin_address_of(paths_) : AdminAddress::parse(admin_);
  auto client = AdminClient::connect(TRY(Result<AdminAddress>(address)));
  if (client) return client;
  if (!admin_.empty()) return std::move(client).error();
  return Error::refused("the site of namespace '" + name_ + "' does not run (" +
                        client.error().text() + "); `istmo init -n " + name_ +
                        "` starts it again, its log is " + paths_.log_file().string());
}

Result<> LocalSite::check_runs() const {
  TRY(connect());
  return {};
}

Result<> LocalSite::check_takes_changes() const {
  const std::vector<Value> items = TRY(ask(request_of("site")));
  if (items.empty() || text_at(items.front(), "isEnding") != "true") return {};
  return Error::refused("the site of namespace '" + name_ +
                        "' ends and takes no changes any more; wait for the command that ends it");
}

Result<std::vector<Value>> LocalSite::ask(const Value& request) const {
  AdminClient client = TRY(connect());
  return client.ask(request);
}

Result<std::vector<Value>> LocalSite::documents_with_status(const std::string& kind) const {
  if (auto client = connect()) {
    Value request = request_of("documents");
    if (!kind.empty()) request.set("kind", kind);
    return client->ask(request);
  } else if (!admin_.empty()) {
    return std::move(client).error();
  }
  std::vector<Value> documents;
  for (const Document& document : TRY(this->documents()).all()) {
    if (!kind.empty() && kind_of(document) != kind) continue;
    documents.push_back(to_value(document, status_not_running()));
  }
  return documents;
}

Result<Value> LocalSite::look_at(const ObjectId& id) const {
  Value request = request_of("documents");
  request.set("kind", id.kind);
  request.set("name", id.name);
  return find_value(TRY(ask(request)), id);
}

}  // namespace istmo::control
