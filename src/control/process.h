// The process of a site: its pid file, whether it runs, how it is started in the background and
// how it is ended.
//
// The running site holds a lock on its pid file for as long as it lives, so a stale file never
// looks alive and a second process for the same state folder is refused. Before anything is
// signalled, the pid is checked against the start time in the file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "control/file_lock.h"

namespace istmo::control {

struct ProcessId {
  pid_t pid = 0;
  uint64_t started_ticks = 0;  // /proc/<pid>/stat field 22: a pid that was used again differs
};

// Held by a running site. The destructor removes the file and frees the lock.
class PidFile {
 public:
  // Error::config when another process holds it. Blocks while a holder that was killed is still
  // being taken apart (at most 10 s), or 300 ms for one that lives.
  static Result<PidFile> take(const std::filesystem::path& path);

 private:
  explicit PidFile(FileLock lock) : lock_(std::move(lock)) {}
  FileLock lock_;
};

// Who holds the lock, if anybody does.
std::optional<ProcessId> running_process(const std::filesystem::path& pid_file);

bool is_alive(const ProcessId& process);

// The process that has this pid now (start time 0 when there is none).
ProcessId process_now(pid_t pid);

// A handle on another process that cannot come to mean a different one (pidfd).
class ProcessWatch {
 public:
  static std::optional<ProcessWatch> of(const ProcessId& process);  // nothing: it is gone
  ProcessWatch(ProcessWatch&& other) noexcept;
  ProcessWatch& operator=(ProcessWatch&&) = delete;
  ~ProcessWatch();
  void signal(int number) const;
  bool has_ended_within(Duration patience) const;

 private:
  explicit ProcessWatch(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

// SIGTERM, after `patience` SIGKILL. Returns when the process has ended. `on_waiting` is called
// once if that takes more than a moment.
Result<> end_process(
    const ProcessId& process, Duration patience, const std::function<void()>& on_waiting = [] {});

struct BackgroundStart {
  std::string name;                    // of the namespace, for the unit
  std::vector<std::string> arguments;  // behind the program's own name
  std::filesystem::path log_file;
};

struct BackgroundSite {
  std::optional<ProcessId> process;  // nothing under systemd
  std::string notice;                // for the user; may be empty
};

// Starts this program again, detached from the terminal: as a systemd user unit where a user
// systemd runs and does it, else as a process of its own session whose output goes to the log file.
Result<BackgroundSite> start_in_background(const BackgroundStart& start);

// Removes the unit of the namespace, if there is one, and stops it.
Result<> forget_unit(const std::string& name);

// The text of the unit: a pure function, so that its quoting is testable.
std::string unit_text(const std::string& program, const BackgroundStart& start);

}  // namespace istmo::control
