#include "control/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

// Field 22 of /proc/<pid>/stat; the command name before it may hold blanks and brackets.
std::optional<uint64_t> started_ticks_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  const size_t behind_name = line.rfind(')');
  if (behind_name == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(behind_name + 1));
  std::string field;
  for (int number = 3; number <= 21; ++number) {
    fields >> field;
    if (number == 3 && field == "Z") return std::nullopt;  // ended, not yet collected
  }
  uint64_t ticks = 0;
  if (!(fields >> ticks)) return std::nullopt;
  return ticks;
}

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

std::optional<ProcessId> parse_pid_file(int descriptor) {
  char text[64] = {};
  const ssize_t length = ::pread(descriptor, text, sizeof text - 1, 0);
  if (length <= 0) return std::nullopt;
  std::istringstream in(text);
  ProcessId process;
  if (!(in >> process.pid >> process.started_ticks)) return std::nullopt;
  return process;
}

// A killed process still holds its lock while the kernel takes it apart: its first thread is gone
// before the others are, and before the files are closed. Who starts the site again right after a
// kill waits for that; a holder that lives on is reported after a moment.
bool waits_for_holder(int descriptor, Duration waited) {
  static constexpr Duration kLivingHolder = Duration::milliseconds(300);
  static constexpr Duration kEndingHolder = Duration::seconds(10);
  const std::optional<ProcessId> holder = parse_pid_file(descriptor);
  const bool lives = holder && is_alive(*holder);
  return waited < (lives ? kLivingHolder : kEndingHolder);
}

}  // namespace

Result<PidFile> PidFile::take(const fs::path& path) {
  std::optional<ProcessId> holder;
  auto lock = FileLock::take(path, [&](int descriptor, Duration waited) {
    holder = parse_pid_file(descriptor);
    return waits_for_holder(descriptor, waited);
  });
  if (!lock && lock.error().error_class() == ErrorClass::limit) {
    return Error::config("this site is already run by process " +
                         (holder ? std::to_string(holder->pid) : std::string("?")) + " (" +
                         path.string() + " is locked); end that one first");
  }
  if (!lock) return std::move(lock).error();
  const pid_t self = ::getpid();
  const std::string text =
      std::to_string(self) + " " + std::to_string(started_ticks_of(self).value_or(0)) + "\n";
  if (::ftruncate(lock->descriptor(), 0) != 0 ||
      ::pwrite(lock->descriptor(), text.data(), text.size(), 0) !=
          static_cast<ssize_t>(text.size())) {
    return Error::from_errno(errno, "write " + path.string());
  }
  return PidFile(std::move(*lock));
}

std::optional<ProcessId> running_process(const fs::path& pid_file) {
  const int descriptor = ::open(pid_file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  std::optional<ProcessId> process;
  if (::flock(descriptor, LOCK_SH | LOCK_NB) != 0) process = parse_pid_file(descriptor);
  ::close(descriptor);
  if (process && !is_alive(*process)) return std::nullopt;
  return process;
}

bool is_alive(const ProcessId& process) {
  return process.pid > 0 && started_ticks_of(process.pid) == process.started_ticks;
}

ProcessId process_now(pid_t pid) {
  return {.pid = pid, .started_ticks = started_ticks_of(pid).value_or(0)};
}

std::optional<ProcessWatch> ProcessWatch::of(const ProcessId& process) {
  const int descriptor = open_pidfd(process.pid);
  if (descriptor < 0) return std::nullopt;
  ProcessWatch watch(descriptor);
  // Checked after the handle was taken: from here on the pid cannot be used again unnoticed.
  if (!is_alive(process)) return std::nullopt;
  return watch;
}

ProcessWatch::ProcessWatch(ProcessWatch&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

ProcessWatch::~ProcessWatch() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ProcessWatch::signal(int number) const {
  ::syscall(SYS_pidfd_send_signal, descriptor_, number, nullptr, 0);
}

bool ProcessWatch::has_ended_within(Duration patience) const {
  pollfd waited{.fd = descriptor_, .events = POLLIN, .revents = 0};
  const Instant deadline = monotonic_now() + patience;
  while (true) {
    const Duration left = deadline - monotonic_now();
    const int wait_ms = left.ns <= 0 ? 0 : static_cast<int>(left.to_milliseconds()) + 1;
    const int ready = ::poll(&waited, 1, wait_ms);
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

Result<> end_process(const ProcessId& process, Duration patience,
                     const std::function<void()>& on_waiting) {
  const Duration soon = std::min(patience, Duration::milliseconds(500));
  const std::optional<ProcessWatch> watch = ProcessWatch::of(process);
  if (!watch) return {};
  watch->signal(SIGTERM);
  if (watch->has_ended_within(soon)) return {};
  on_waiting();
  if (watch->has_ended_within(patience - soon)) return {};
  watch->signal(SIGKILL);
  if (watch->has_ended_within(Duration::seconds(5))) return {};
  return Error::timeout("process " + std::to_string(process.pid) +
                        " does not end, not even when killed");
}

}  // namespace istmo::control
