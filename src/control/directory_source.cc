#include "control/directory_source.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <vector>

#include "base/log.h"

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
  State(io::Loop& loop, SourceSink& sink, SourcePaths paths)
      : loop_(loop), sink_(sink), reader_(std::move(paths)) {}
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
    is_stopped_ = true;
    if (!poll_.is_idle()) loop_.cancel(poll_);
  }

  bool is_idle() const { return poll_.is_idle() && !quiet_.is_armed() && !rescan_.is_armed(); }
  const SourceState& state() const { return reader_.state(); }

 private:
  // A folder that is watched: every name in it matters, or some.
  struct Watch {
    bool is_whole = false;
    std::set<std::string> names;
  };

  void watch_folder(const fs::path& folder, const std::string& name) {
    if (notices_ < 0 || is_watch_missing_) return;
    const int watch = ::inotify_add_watch(notices_, folder.c_str(), kWatchedEvents | IN_ONLYDIR);
    if (watch >= 0) {
      if (name.empty()) watches_[watch].is_whole = true;
      else watches_[watch].names.insert(name);
    } else if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
      LOG_WARNING("cannot watch a folder: documents are read twice a second instead", "folder",
                  folder.string(), "error", std::strerror(errno));
      is_watch_missing_ = true;
    }
  }

  // The folders in which a change matters, and of those above them the way down: a folder that is
  // removed and made again is seen from above. Adding a watch again changes nothing.
  void watch_everything() {
    is_watch_missing_ = false;
    watches_.clear();
    const SourcePaths& paths = reader_.paths();
    for (const std::string& path : {paths.resources, paths.certs}) {
      if (path.empty()) continue;
      fs::path folder = fs::absolute(path).lexically_normal();
      watch_folder(folder, "");
      for (int level = 0; level < 3 && folder.has_relative_path(); ++level) {
        const std::string name = folder.filename().string();
        folder = folder.parent_path();
        watch_folder(folder, name);
      }
    }
    const auto names = names_in(paths.certs);
    if (!names) return;  // the rescan says so
    for (const std::string& name : *names) {
      watch_folder(fs::path(paths.certs) / name, "");
    }
  }

  // Lost events and folders that went away matter always.
  bool matters(const inotify_event& event) const {
    if (event.mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) return true;
    const auto watch = watches_.find(event.wd);
    if (watch == watches_.end() || watch->second.is_whole) return true;
    return event.len > 0 && watch->second.names.contains(event.name);
  }

  // True: a rescan is due. What exactly happened does not matter: the rescan finds it.
  bool take_notices() {
    alignas(inotify_event) std::array<char, 16 * 1024> events;
    bool is_due = false;
    for (int i = 0; i < 64; ++i) {
      const ssize_t size = ::read(notices_, events.data(), events.size());
      if (size <= 0) break;
      for (ssize_t at = 0; at < size;) {
        const auto& event = *reinterpret_cast<const inotify_event*>(events.data() + at);
        if (matters(event)) is_due = true;
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
    loop_.timers().arm(rescan_, loop_.now() + (is_blind ? kRescanTimeUnwatched : kRescanTime));
  }

  void on_quiet() { rescan(); }
  void on_rescan_time() { rescan(); }

  void rescan() {
    watch_everything();  // before reading: what changes behind the reading gives a notice
    arm_rescan();
    if (reader_.read()) sink_.on_source_changed(reader_.state());  // last: may call stop()
  }

  io::Loop& loop_;
  SourceSink& sink_;
  SourceReader reader_;
  int notices_ = -1;  // inotify
  std::map<int, Watch> watches_;
  bool is_watch_missing_ = false;
  bool is_stopped_ = false;
  io::OpOf<State, &State::on_notice> poll_{*this};
  io::TimerOf<State, &State::on_quiet> quiet_{*this};
  io::TimerOf<State, &State::on_rescan_time> rescan_{*this};
};

DirectorySource::DirectorySource(io::Loop& loop, SourceSink& sink, SourcePaths paths)
    : state_(std::make_unique<State>(loop, sink, std::move(paths))) {}

DirectorySource::~DirectorySource() = default;

void DirectorySource::start() { state_->start(); }
const SourceState& DirectorySource::state() const { return state_->state(); }
void DirectorySource::stop() { state_->stop(); }
bool DirectorySource::is_idle() const { return state_->is_idle(); }

}  // namespace istmo::control
