#include "control/kubernetes/exec_plugin.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "control/json.h"
#include "control/kubernetes/api_json.h"
#include "control/value.h"

extern char** environ;

namespace istmo::control {
namespace {

constexpr Duration kPatience = Duration::seconds(60);
constexpr size_t kPrintedBytesMax = 1024 * 1024;

class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { close(); }
  void close() {
    if (const int number = std::exchange(number_, -1); number >= 0) ::close(number);
  }
  int number() const { return number_; }

 private:
  int number_;
};

std::string exec_info(const KubeExec& plugin, const KubeAccess& access) {
  Value spec = Value::map();
  spec.set("interactive", false);
  if (plugin.gets_cluster) {
    Value& cluster = spec.set("cluster", Value::map());
    cluster.set("server", access.server());
    if (!access.server_name.empty()) cluster.set("tls-server-name", access.server_name);
  }
  Value info = Value::map();
  info.set("apiVersion", plugin.api_version);
  info.set("kind", "ExecCredential");
  info.set("spec", std::move(spec));
  return write_json(info, JsonStyle::compact);
}

std::vector<std::string> environment_of(const KubeExec& plugin, const KubeAccess& access) {
  std::vector<std::string> variables;
  for (char** at = environ; *at != nullptr; ++at) variables.emplace_back(*at);
  for (const auto& [name, value] : plugin.environment) variables.push_back(name + "=" + value);
  variables.push_back("KUBERNETES_EXEC_INFO=" + exec_info(plugin, access));
  return variables;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

Error failed(const KubeExec& plugin, const std::string& why) {
  return Error::config("the credential plugin '" + plugin.command + "' of the kubeconfig " + why +
                       (plugin.install_hint.empty() ? "" : ": " + plugin.install_hint));
}

// Until it has closed its output. Nothing: it took too long, or printed too much.
std::optional<std::string> read_all(int output) {
  std::string text;
  const Instant deadline = monotonic_now() + kPatience;
  while (text.size() <= kPrintedBytesMax) {
    pollfd waiting{.fd = output, .events = POLLIN, .revents = 0};
    const int64_t left = (deadline - monotonic_now()).to_milliseconds();
    if (left <= 0) return std::nullopt;
    if (::poll(&waiting, 1, static_cast<int>(left)) <= 0) continue;
    char buffer[4096];
    const ssize_t size = ::read(output, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    text.append(buffer, static_cast<size_t>(size));
  }
  return std::nullopt;
}

}  // namespace

Result<> take_exec_credential(std::string_view printed, KubeAccess& access) {
  const auto credential = read_api_json(printed);
  if (!credential || text_at(*credential, "kind") != "ExecCredential") {
    return Error::config("printed no ExecCredential");
  }
  access.token = text_at(*credential, "status", "token");
  access.certificate_pem = text_at(*credential, "status", "clientCertificateData");
  access.private_key_pem = text_at(*credential, "status", "clientKeyData");
  if (access.token.empty() && access.certificate_pem.empty()) {
    return Error::config("gave neither a token nor a certificate");
  }
  if (access.certificate_pem.empty() != access.private_key_pem.empty()) {
    return Error::config("gave a certificate or a key without the other");
  }
  return {};
}

Result<> run_exec_plugin(KubeAccess& access) {
  if (!access.exec) return {};
  const KubeExec& plugin = *access.exec;
  std::vector<std::string> words{plugin.command};
  words.insert(words.end(), plugin.arguments.begin(), plugin.arguments.end());
  std::vector<std::string> variables = environment_of(plugin, access);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  const FileDescriptor output(ends[0]);
  FileDescriptor input(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.number(), STDOUT_FILENO);
  pid_t pid = -1;
  const int spawned = ::posix_spawnp(&pid, plugin.command.c_str(), &actions, nullptr,
                                     pointers_to(words).data(), pointers_to(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  input.close();
  if (spawned != 0) return failed(plugin, "cannot be run (" + std::string(strerror(spawned)) + ")");
  const auto printed = read_all(output.number());
  if (!printed) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!printed) return failed(plugin, "did not end in time");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return failed(plugin, "failed");
  if (const auto taken = take_exec_credential(*printed, access); !taken) {
    return failed(plugin, taken.error().text());
  }
  return {};
}

}  // namespace istmo::control
