#include "control/directory_source.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "control/watch_plan.h"

namespace istmo::control {
namespace {

namespace fs = std::filesystem;

constexpr Duration kRescanTimeUnwatched = Duration::milliseconds(500);
constexpr uint32_t kWatchedEvents = IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE |
                                    IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF |
                                    IN_ATTRIB;

}  // namespace

class DirectorySource::State {
 public:
  State(io::Loop& loop, SourceSink& sink, SourcePaths paths, Duration rescan_time)
      : loop_(loop), sink_(sink), reader_(std::move(paths)), rescan_time_(rescan_time) {}
  ~State() {
    if (notices_ >= 0) ::close(notices_);
  }

  void start() {
    notices_ = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (notices_ < 0) {
      LOG_WARNING("no inotify: documents are read twice a second instead", "error",
                  std::strerror(errno));
    }
    watch_everything();
    reader_.read();
    if (notices_ >= 0) loop_.poll(poll_, io::Fd(notices_), POLLIN);
    arm_rescan();
  }

  void stop() {
    quiet_.unlink();
    rescan_.unlink();
    writer_.unlink();
    is_stopped_ = true;
    if (!poll_.is_idle()) loop_.cancel(poll_);
  }

  bool is_idle() const {
    return poll_.is_idle() && !quiet_.is_armed() && !rescan_.is_armed() && !writer_.is_armed();
  }
  const SourceState& state() const { return reader_.state(); }

 private:
  struct Watch {
    fs::path folder;
    FolderWatch what;
  };

  // Adding a watch again changes nothing. Two paths may lead to one folder: it has one number.
  void watch_folder(const std::string& folder, const FolderWatch& what) {
    const int number = ::inotify_add_watch(notices_, folder.c_str(), kWatchedEvents | IN_ONLYDIR);
    if (number >= 0) {
      Watch& watch = watches_[number];
      watch.folder = folder;
      watch.what.is_whole |= what.is_whole;
      watch.what.names.insert(what.names.begin(), what.names.end());
    } else if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
      const char* error = std::strerror(errno);
      if (!std::exchange(is_watch_missing_, true) && !was_watch_missing_) {
        LOG_WARNING("cannot watch a folder: documents are read twice a second instead", "folder",
                    folder, "error", error);
      }
    }
  }

  void watch_everything() {
    if (notices_ < 0) return;
    const auto plan = plan_watches(reader_.paths());
    if (!plan) {  // the rescan says why; what was watched still is
      is_watch_missing_ |= watches_.empty();
      return;
    }
    was_watch_missing_ = std::exchange(is_watch_missing_, false);
    const auto before = std::exchange(watches_, {});
    for (const auto& [folder, what] : *plan) watch_folder(folder, what);
    for (const auto& [number, watch] : before) {
      if (!watches_.contains(number)) ::inotify_rm_watch(notices_, number);
    }
  }

  // Lost events and folders that went away matter always.
  bool matters(const inotify_event& event) const {
    if (event.mask & IN_Q_OVERFLOW) return true;
    const auto watch = watches_.find(event.wd);
    if (watch == watches_.end()) return false;  // not watched any more
    if (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) return true;
    const FolderWatch& what = watch->second.what;
    return what.is_whole || (event.len > 0 && what.names.contains(event.name));
  }

  // What exactly happened does not matter, the rescan finds it; but a file that is being written
  // is read when that is over.
  bool is_rescan_due(const inotify_event& event) {
    if (!matters(event)) return false;
    const auto watch = watches_.find(event.wd);
    constexpr uint32_t kWritten = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE;
    if (watch == watches_.end() || event.len == 0 || !(event.mask & kWritten)) return true;
    struct stat found{};
    const fs::path path = watch->second.folder / event.name;
    if (::lstat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return true;
    const bool is_new_link = (event.mask & IN_CREATE) && found.st_nlink > 1;
    if (is_new_link || (event.mask & IN_CLOSE_WRITE)) {
      writers_.erase(FileIdentity::of(found));
      return true;
    }
    writers_[FileIdentity::of(found)] = loop_.now();
    if (!writer_.is_armed()) loop_.timers().arm(writer_, loop_.now() + kWriterTime);
    return false;
  }

  // True: a rescan is due.
  bool take_notices() {
    alignas(inotify_event) std::array<char, 16 * 1024> events;
    bool is_due = false;
    for (int i = 0; i < 64; ++i) {
      const ssize_t size = ::read(notices_, events.data(), events.size());
      if (size <= 0) break;
      for (ssize_t at = 0; at < size;) {
        const auto& event = *reinterpret_cast<const inotify_event*>(events.data() + at);
        if (is_rescan_due(event)) is_due = true;
        at += static_cast<ssize_t>(sizeof event + event.len);
      }
    }
    return is_due;
  }

  void on_notice(io::Completion&& done) {
    if (is_stopped_) return;
    if (done.failed()) {
      is_watch_missing_ = true;
      return arm_rescan();
    }
    const bool is_due = take_notices();
    loop_.poll(poll_, io::Fd(notices_), POLLIN);
    if (is_due && !quiet_.is_armed()) loop_.timers().arm(quiet_, loop_.now() + kQuietTime);
  }

  void arm_rescan() {
    const bool is_blind = notices_ < 0 || is_watch_missing_;
    loop_.timers().arm(rescan_, loop_.now() + (is_blind ? kRescanTimeUnwatched : rescan_time_));
  }

  void on_quiet() { rescan(); }
  void on_rescan_time() { rescan(); }

  // A writer that has paused for long is not waited for.
  void on_writer_time() {
    const auto has_paused = [&](const auto& writer) {
      return writer.second + kWriterTime <= loop_.now();
    };
    const bool is_due = std::erase_if(writers_, has_paused) > 0;
    Instant next = Instant::never();
    for (const auto& [file, last] : writers_) next = std::min(next, last + kWriterTime);
    if (!writers_.empty()) loop_.timers().arm(writer_, next);
    if (is_due) rescan();  // last: may call stop()
  }

  void rescan() {
    watch_everything();  // before reading: what changes behind the reading gives a notice
    arm_rescan();
    std::set<FileIdentity> being_written;
    for (const auto& [file, last] : writers_) being_written.insert(file);
    if (reader_.read(being_written))
      sink_.on_source_changed(reader_.state());  // last: may call stop()
  }

  io::Loop& loop_;
  SourceSink& sink_;
  SourceReader reader_;
  const Duration rescan_time_;
  int notices_ = -1;  // inotify
  std::map<int, Watch> watches_;
  std::map<FileIdentity, Instant> writers_;  // files being written: the last notice of it
  bool is_watch_missing_ = false;
  bool was_watch_missing_ = false;  // at the rescan before
  bool is_stopped_ = false;
  io::OpOf<State, &State::on_notice> poll_{*this};
  io::TimerOf<State, &State::on_quiet> quiet_{*this};
  io::TimerOf<State, &State::on_rescan_time> rescan_{*this};
  io::TimerOf<State, &State::on_writer_time> writer_{*this};
};

DirectorySource::DirectorySource(io::Loop& loop, SourceSink& sink, SourcePaths paths,
                                 Duration rescan_time)
    : state_(std::make_unique<State>(loop, sink, std::move(paths), rescan_time)) {}

DirectorySource::~DirectorySource() = default;

void DirectorySource::start() { state_->start(); }
const SourceState& DirectorySource::state() const { return state_->state(); }
void DirectorySource::stop() { state_->stop(); }
bool DirectorySource::is_idle() const { return state_->is_idle(); }

}  // namespace istmo::control
