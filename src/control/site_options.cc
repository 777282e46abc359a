#include "control/site_options.h"

#include <fstream>
#include <sstream>

#include "control/document_text.h"
#include "control/private_file.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

std::string text_of(const Value& map, std::string_view key, std::string otherwise) {
  const Value* value = map.find(key);
  return value == nullptr ? std::move(otherwise) : value->text();
}

}  // namespace

std::optional<SiteOptions> read_site_options(const SitePaths& paths) {
  const auto text = read_file(paths.platform_file());
  if (!text) return std::nullopt;
  const auto values = parse_values(*text, paths.platform_file().string());
  if (!values || values->empty()) return std::nullopt;
  const Value& map = values->front();
  SiteOptions options{.platform = text_of(map, "platform", "linux"),
                      .admin = text_of(map, "admin", ""),
                      .service_host = text_of(map, "serviceHost", ""),
                      .has_ingress = text_of(map, "ingress", "external") != "none"};
  if (const Value* arguments = map.find("arguments")) {
    for (const Value& argument : arguments->items()) options.arguments.push_back(argument.text());
  }
  return options;
}

Result<> write_site_options(const SitePaths& paths, const SiteOptions& options) {
  Value map = Value::map();
  map.set("platform", options.platform);
  if (!options.admin.empty()) map.set("admin", options.admin);
  map.set("serviceHost", options.service_host);
  map.set("ingress", options.has_ingress ? "external" : "none");
  Value arguments = Value::list();
  for (const std::string& argument : options.arguments) arguments.add(argument);
  map.set("arguments", std::move(arguments));
  return write_file(paths.platform_file(), write_value(map, Format::yaml));
}

Result<AdminAddress> admin_address_of(const SitePaths& paths) {
  const auto options = read_site_options(paths);
  if (options && !options->admin.empty()) return AdminAddress::parse(options->admin);
  return AdminAddress::unix_socket(paths.admin_socket());
}

Result<> write_file(const fs::path& file, std::string_view text) {
  return write_private_file(file, text, FolderKind::shared);
}

Result<std::string> read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return Error::from_errno(errno, "read " + file.string());
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad()) return Error::config("cannot read " + file.string());
  return text.str();
}

}  // namespace istmo::control
