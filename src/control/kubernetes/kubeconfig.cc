#include "control/kubernetes/kubeconfig.h"

#include <sstream>

#include "control/access_documents.h"
#include "control/base64.h"
#include "control/document_text.h"
#include "control/paths.h"
#include "control/plain_text.h"
#include "control/private_file.h"

namespace istmo::control {
namespace {

bool flag_at(const Value& map, std::string_view key) { return text_at(map, key) == "true"; }

// An entry of `clusters`, `users` or `contexts`, and the file that it stands in: paths in it are
// relative to that.
struct Entry {
  Value value;
  std::filesystem::path file;

  std::filesystem::path path_at(std::string_view key) const {
    const std::string path = text_at(value, key);
    return path.empty() ? std::filesystem::path() : file.parent_path() / path;
  }
  Error error(const std::string& text) const {
    return Error::config(file.string() + ":" + std::to_string(value.position().line) + ": " + text);
  }
  // The octets of `key`-data, else of the file that `key` names; empty: neither is there.
  Result<std::string> octets_at(const std::string& key) const {
    const std::string data = text_at(value, key + "-data");
    if (!data.empty()) {
      auto octets = decode_base64(data);
      if (!octets) return error(key + "-data: " + octets.error().text());
      return octets;
    }
    const std::filesystem::path path = path_at(key);
    if (path.empty()) return std::string();
    auto octets = read_private_file(path);
    if (!octets) return error(key + ": " + octets.error().text());
    return octets;
  }
};

// What several files say together: who says something first is right.
class Files {
 public:
  Result<> add(const std::filesystem::path& file) {
    const std::string text = TRY(read_private_file(file));
    for (const Value& document : TRY(parse_values(text, file.string()))) {
      if (!document.is_map()) return Error::config(file.string() + " is no kubeconfig");
      if (current_.empty()) current_ = text_at(document, "current-context");
      documents_.push_back({document, file});
    }
    return {};
  }

  const std::string& current_context() const { return current_; }
  bool is_empty() const { return documents_.empty(); }

  // What stands under `kind` in the entry called `name` of the list `list`.
  Result<Entry> find(const char* list, const char* kind, const std::string& name) const {
    for (const Entry& document : documents_) {
      const Value* entries = document.value.find(list);
      if (!entries) continue;
      for (const Value& entry : entries->items()) {
        const Value* content = entry.find(kind);
        if (text_at(entry, "name") != name || !content) continue;
        return Entry{*content, document.file};
      }
    }
    std::string files;
    for (const Entry& document : documents_) files += " " + document.file.string();
    return Error::config("there is no " + std::string(kind) + " '" + name + "' in" + files);
  }

 private:
  std::vector<Entry> documents_;
  std::string current_;
};

Result<Files> read_files(const KubeconfigOptions& options) {
  Files files;
  if (!options.file.empty()) {
    TRY(files.add(options.file));
    return files;
  }
  for (const std::filesystem::path& file : options.files) {
    std::error_code error;
    if (!std::filesystem::exists(file, error)) continue;
    TRY(files.add(file));
  }
  return files;
}

Result<> read_server(const Entry& cluster, KubeAccess& access) {
  const std::string server = text_at(cluster.value, "server");
  if (server.empty()) return cluster.error("the cluster has no server");
  // Only the path tells them apart, and it is made whole.
  const auto url = parse_https_url(server);
  if (!url) {
    return cluster.error("server '" + server + "': " + url.error().text() +
                         " (the API server is reached over https only)");
  }
  access.host = url->host;
  access.port = url->port;
  access.path = url->path;
  while (access.path.ends_with('/')) access.path.pop_back();
  return {};
}

Result<> read_cluster(const Entry& cluster, KubeAccess& access) {
  TRY(read_server(cluster, access));
  if (const std::string proxy = text_at(cluster.value, "proxy-url"); !proxy.empty()) {
    return cluster.error("proxy-url is not supported: name a server that is reached directly");
  }
  access.server_name = text_at(cluster.value, "tls-server-name");
  access.takes_any_certificate = flag_at(cluster.value, "insecure-skip-tls-verify");
  access.ca_pem = TRY(cluster.octets_at("certificate-authority"));
  if (access.takes_any_certificate && !access.ca_pem.empty()) {
    return cluster.error("both certificate-authority and insecure-skip-tls-verify are set");
  }
  return {};
}

Result<KubeExec> read_exec(const Entry& user, const Value& value) {
  KubeExec exec{.api_version = text_at(value, "apiVersion"),
                .command = text_at(value, "command"),
                .arguments = {},
                .environment = {},
                .gets_cluster = flag_at(value, "provideClusterInfo"),
                .install_hint = text_at(value, "installHint")};
  if (exec.command.empty()) return user.error("exec has no command");
  if (exec.api_version != "client.authentication.k8s.io/v1" &&
      exec.api_version != "client.authentication.k8s.io/v1beta1") {
    return user.error("exec has apiVersion '" + exec.api_version +
                      "': client.authentication.k8s.io/v1 and v1beta1 are known");
  }
  if (text_at(value, "interactiveMode") == "Always") {
    return user.error("exec wants to ask somebody (interactiveMode Always): use another user");
  }
  // A name is looked for in PATH, a path begins at the file.
  if (exec.command.contains('/')) exec.command = user.file.parent_path() / exec.command;
  if (const Value* arguments = value.find("args")) {
    for (const Value& argument : arguments->items()) exec.arguments.push_back(argument.text());
  }
  if (const Value* variables = value.find("env")) {
    for (const Value& variable : variables->items()) {
      exec.environment.emplace_back(text_at(variable, "name"), text_at(variable, "value"));
    }
  }
  return exec;
}

Result<> read_user(const Entry& user, KubeAccess& access) {
  for (const char* key : {"auth-provider", "as", "as-uid", "as-groups"}) {
    if (user.value.find(key)) {
      return user.error(std::string(key) + " is not supported: use exec, a token or a certificate");
    }
  }
  access.certificate_pem = TRY(user.octets_at("client-certificate"));
  access.private_key_pem = TRY(user.octets_at("client-key"));
  if (access.certificate_pem.empty() != access.private_key_pem.empty()) {
    return user.error("client-certificate and client-key belong together, one is missing");
  }
  access.token = text_at(user.value, "token");
  access.token_file = user.path_at("tokenFile");
  access.user = text_at(user.value, "username");
  access.password = text_at(user.value, "password");
  if (const Value* exec = user.value.find("exec")) access.exec = TRY(read_exec(user, *exec));
  return {};
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
    text.pop_back();
  }
  return text;
}

}  // namespace

std::string KubeAccess::server() const {
  const std::string name = host.contains(':') ? "[" + host + "]" : host;
  return "https://" + name + ":" + std::to_string(port) + path;
}

KubeconfigOptions default_kubeconfig(std::string file, std::string context,
                                     std::string namespace_name) {
  KubeconfigOptions options{.file = std::move(file),
                            .files = {},
                            .context = std::move(context),
                            .namespace_name = std::move(namespace_name)};
  std::string list = environment("KUBECONFIG");
  if (list.empty()) list = environment("HOME") + "/.kube/config";
  std::istringstream files(list);
  for (std::string one; std::getline(files, one, ':');) {
    if (!one.empty()) options.files.emplace_back(one);
  }
  return options;
}

Result<std::string> current_context(const KubeconfigOptions& options) {
  return TRY(read_files(options)).current_context();
}

Result<KubeAccess> read_kubeconfig(const KubeconfigOptions& options) {
  const Files files = TRY(read_files(options));
  if (files.is_empty()) {
    return Error::config(
        "there is no kubeconfig: set KUBECONFIG, or give --kubeconfig FILE (for a site on this "
        "machine: --platform linux)");
  }
  KubeAccess access;
  access.context = options.context.empty() ? files.current_context() : options.context;
  if (access.context.empty()) {
    return Error::config(
        "no kubeconfig has a current context: choose one with `kubectl config use-context NAME` or "
        "--context NAME");
  }
  const Entry context = TRY(files.find("contexts", "context", access.context));
  access.namespace_name =
      options.namespace_name.empty() ? text_at(context.value, "namespace") : options.namespace_name;
  if (access.namespace_name.empty()) access.namespace_name = "default";
  const std::string cluster = text_at(context.value, "cluster");
  const Entry server = TRY(files.find("clusters", "cluster", cluster));
  TRY(read_cluster(server, access));
  if (const std::string name = text_at(context.value, "user"); !name.empty()) {
    const Entry user = TRY(files.find("users", "user", name));
    TRY(read_user(user, access));
  }
  return access;
}

Result<KubeAccess> read_service_account(const std::filesystem::path& folder,
                                        const std::string& host, const std::string& port) {
  KubeAccess access;
  const auto number = port_from(port);
  if (host.empty() || !number) {
    return Error::config(
        "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not name an API server: this is "
        "no pod, or it has enableServiceLinks off");
  }
  access.host = host;
  access.port = *number;
  access.ca_pem = TRY(read_private_file(folder / "ca.crt"));
  access.token_file = folder / "token";
  TRY(read_private_file(access.token_file));
  access.namespace_name = trimmed(TRY(read_private_file(folder / "namespace")));
  if (access.namespace_name.empty()) {
    return Error::config((folder / "namespace").string() + " is empty");
  }
  return access;
}

}  // namespace istmo::control
