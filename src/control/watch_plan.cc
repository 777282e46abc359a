#include "control/watch_plan.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

namespace istmo::control {
namespace {

namespace fs = std::filesystem;

constexpr int kLinksMax = 40;  // of one path, as path_resolution(7) has it
constexpr int kLevelsAbove = 3;

bool is_absent(const std::error_code& failure) {
  return failure == std::errc::no_such_file_or_directory || failure == std::errc::not_a_directory;
}

class Planner {
 public:
  WatchPlan take() { return std::move(plan_); }

  void add_whole(const fs::path& folder) { plan_[folder.string()].is_whole = true; }

  void add_way_down_to(fs::path folder) {
    for (int level = 0; level < kLevelsAbove && folder.has_relative_path(); ++level) {
      const std::string name = folder.filename().string();
      folder = folder.parent_path();
      add_name(folder, name);
    }
  }

  // Walks an absolute path as the kernel does.
  void follow(const fs::path& path) {
    fs::path at = path.root_path();
    std::vector<fs::path> rest;  // the next one at its end
    const auto put_before = [&](const fs::path& more) {
      const std::vector<fs::path> parts(more.begin(), more.end());
      rest.insert(rest.end(), parts.rbegin(), parts.rend());
    };
    put_before(path.relative_path());
    int links = 0;
    while (!rest.empty()) {
      const fs::path name = std::move(rest.back());
      rest.pop_back();
      if (name.empty() || name == ".") continue;
      if (name == "..") {
        at = at.parent_path();
        continue;
      }
      const Step& step = look_at(at / name);
      const bool is_end = rest.empty() && links > 0;
      if (step.kind != Step::Kind::other || is_end) add_name(at, name.string());
      if (step.kind == Step::Kind::absent) return;
      if (step.kind == Step::Kind::other) {
        at /= name;
        continue;
      }
      if (++links > kLinksMax) return;
      if (step.target.is_absolute()) at = step.target.root_path();
      put_before(step.target.relative_path());
    }
  }

 private:
  void add_name(const fs::path& folder, const std::string& name) {
    plan_[folder.string()].names.insert(name);
  }

  struct Step {
    enum class Kind : uint8_t { link, other, absent };
    Kind kind = Kind::other;
    fs::path target;  // of a link
  };

  // Links of many files lead through the same folders: each is looked at once.
  const Step& look_at(const fs::path& path) {
    const auto [place, is_new] = steps_.try_emplace(path.string());
    if (!is_new) return place->second;
    std::error_code failure;
    place->second.target = fs::read_symlink(path, failure);
    if (!failure) place->second.kind = Step::Kind::link;
    else if (is_absent(failure)) place->second.kind = Step::Kind::absent;
    return place->second;
  }

  WatchPlan plan_;
  std::map<std::string, Step> steps_;
};

// A folder, and what links in it lead to; for a folder of folders those as well.
Result<> plan_folder(const fs::path& folder, int levels, Planner& planner) {
  planner.add_whole(folder);
  std::error_code failure;
  for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    std::error_code unknown;
    if (entry->is_symlink(unknown)) planner.follow(entry->path());
    if (levels > 1 && entry->is_directory(unknown)) {
      if (auto planned = plan_folder(entry->path(), levels - 1, planner); !planned) return planned;
    }
  }
  if (failure && !is_absent(failure)) return Error::config(failure.message());
  return {};
}

}  // namespace

Result<WatchPlan> plan_watches(const SourcePaths& paths) {
  Planner planner;
  for (const std::string& path : {paths.resources, paths.certs}) {
    if (path.empty()) continue;
    const fs::path top = fs::absolute(path).lexically_normal();
    planner.follow(top);
    planner.add_way_down_to(top);
    if (auto planned = plan_folder(top, path == paths.certs ? 2 : 1, planner); !planned) {
      return std::move(planned).error();
    }
  }
  return planner.take();
}

}  // namespace istmo::control
