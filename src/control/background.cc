// Starting a site in the background: the second half of process.h.
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>

#include "control/paths.h"
#include "control/process.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

fs::path own_program() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

fs::path environment_path(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? fs::path() : fs::path(value);
}

fs::path unit_folder() {
  fs::path config = environment_path("XDG_CONFIG_HOME");
  if (!config.is_absolute()) config = environment_path("HOME") / ".config";
  return config / "systemd" / "user";
}

// A user systemd that can be talked to has this socket.
bool has_user_systemd() {
  const fs::path runtime = environment_path("XDG_RUNTIME_DIR");
  std::error_code ignored;
  return !runtime.empty() && unit_folder().is_absolute() &&
         fs::is_socket(runtime / "systemd" / "private", ignored);
}

// One unit per namespace; a namespace below another data folder than the usual one is another.
std::string unit_name(const std::string& name) {
  const fs::path usual = environment_path("HOME") / ".local" / "share" / "istmo" / "namespaces";
  if (namespaces_root() == usual) return "istmo-" + name + ".service";
  const size_t place = std::hash<std::string>{}(namespaces_root().string());
  return "istmo-" + name + "-" + std::to_string(place % 1'000'000) + ".service";
}

// Runs a program with its output discarded; its exit status, or -1.
int run_quietly(const std::vector<std::string>& words) {
  const pid_t child = ::fork();
  if (child < 0) return -1;
  if (child == 0) {
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (int descriptor : {0, 1, 2}) ::dup2(nowhere, descriptor);
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// In quotes, as systemd.syntax(7) wants words: backslash escapes, and no specifiers or variables.
std::string unit_word(const std::string& word) {
  std::string quoted = "\"";
  for (char octet : word) {
    if (octet == '"' || octet == '\\') quoted += '\\';
    if (octet == '%' || octet == '$') quoted += octet;
    quoted += octet;
  }
  return quoted + "\"";
}

// False when systemd does not do it: then nothing of the unit is left.
bool start_unit(const BackgroundStart& start) {
  const std::string unit = unit_name(start.name);
  const fs::path file = unit_folder() / unit;
  std::error_code code;
  fs::create_directories(file.parent_path(), code);
  std::ofstream out(file);
  out << unit_text(own_program().string(), start);
  if (out.flush() && run_quietly({"systemctl", "--user", "daemon-reload"}) == 0 &&
      run_quietly({"systemctl", "--user", "enable", "--now", unit}) == 0) {
    return true;
  }
  [[maybe_unused]] const Result<> forgotten = forget_unit(start.name);
  return false;
}

// Without lingering, systemd ends the units of a user who has logged out.
bool user_lingers() {
  const passwd* user = ::getpwuid(::geteuid());
  std::error_code ignored;
  return user != nullptr &&
         fs::exists(fs::path("/var/lib/systemd/linger") / user->pw_name, ignored);
}

// Between fork and exec in the grandchild: only async-signal-safe calls.
[[noreturn]] void become_daemon(const char* program, char* const* arguments, int log) {
  const int nowhere = ::open("/dev/null", O_RDWR);
  ::dup2(nowhere, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::close_range(3, ~0u, 0);
  if (::chdir("/") != 0) ::_exit(127);
  ::execv(program, arguments);
  static constexpr char kText[] = "istmo: cannot start itself again\n";
  [[maybe_unused]] const ssize_t written = ::write(2, kText, sizeof kText - 1);
  ::_exit(127);
}

// Forks twice, so that the site belongs to no terminal and to no parent.
Result<pid_t> fork_detached(const std::string& program, char* const* arguments, int log) {
  int channel[2];
  if (::pipe2(channel, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  const pid_t child = ::fork();
  if (child < 0) return Error::from_errno(errno, "fork");
  if (child == 0) {
    ::setsid();
    const pid_t grandchild = ::fork();
    if (grandchild == 0) become_daemon(program.c_str(), arguments, log);
    [[maybe_unused]] const ssize_t told = ::write(channel[1], &grandchild, sizeof grandchild);
    ::_exit(0);
  }
  ::close(channel[1]);
  pid_t grandchild = -1;
  const ssize_t got = ::read(channel[0], &grandchild, sizeof grandchild);
  ::close(channel[0]);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (got != sizeof grandchild || grandchild < 0) return Error::internal("fork failed twice");
  return grandchild;
}

Result<ProcessId> start_detached(const BackgroundStart& start) {
  const std::string program = own_program().string();
  const int log = ::open(start.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) return Error::from_errno(errno, "open " + start.log_file.string());
  std::vector<char*> arguments{const_cast<char*>("istmo")};
  for (const auto& word : start.arguments) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const Result<pid_t> pid = fork_detached(program, arguments.data(), log);
  ::close(log);
  return process_now(TRY(Result<pid_t>(pid)));
}

}  // namespace

std::string unit_text(const std::string& program, const BackgroundStart& start) {
  std::string command = unit_word(program);
  for (const std::string& word : start.arguments) command += " " + unit_word(word);
  return "[Unit]\n"
         "Description=Istmo site " +
         start.name +
         "\n"
         "\n"
         "[Service]\n"
         "ExecStart=" +
         command +
         "\n"
         "StandardError=append:" +
         start.log_file.string() +
         "\n"
         "Restart=on-failure\n"
         "\n"
         "[Install]\n"
         "WantedBy=default.target\n";
}

Result<BackgroundSite> start_in_background(const BackgroundStart& start) {
  BackgroundSite started;
  if (has_user_systemd()) {
    if (start_unit(start)) {
      if (!user_lingers()) {
        started.notice =
            "systemd ends the site when you log out; `loginctl enable-linger` lets it run on";
      }
      return started;
    }
    started.notice = "systemd does not start the site: it runs as a process of its own";
  }
  started.process = TRY(start_detached(start));
  return started;
}

Result<> forget_unit(const std::string& name) {
  const fs::path file = unit_folder() / unit_name(name);
  std::error_code code;
  if (!file.is_absolute() || !fs::exists(file, code)) return {};
  run_quietly({"systemctl", "--user", "disable", "--now", unit_name(name)});
  fs::remove(file, code);
  if (code) return Error::config("cannot remove " + file.string() + ": " + code.message());
  run_quietly({"systemctl", "--user", "daemon-reload"});
  return {};
}

}  // namespace istmo::control
