#include "dataplane/io/cores.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace istmo::io {
namespace {

std::optional<int64_t> first_number(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\n");
  if (start == std::string_view::npos) return std::nullopt;
  text.remove_prefix(start);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

std::optional<uint32_t> quota_of(std::string_view quota_us, std::string_view period_us) {
  const auto quota = first_number(quota_us);
  const auto period = first_number(period_us);
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<uint32_t>(std::min<int64_t>((*quota + *period - 1) / *period, 1 << 20));
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

uint32_t affinity_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

// A limit may sit on any ancestor, and the path that /proc names may not exist inside a container,
// where the own group is the root: every level counts, the root included.
template <class Visitor>
void for_each_level(const std::string& root, std::string path, Visitor&& visit) {
  while (true) {
    visit(root + path);
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return;
    path.resize(slash);
  }
}

}  // namespace

UsableCores count_cores(const CoreLimits& limits) {
  UsableCores cores{.count = std::clamp(limits.affinity, 1U, kWorkersMax)};
  const auto apply = [&cores](std::optional<uint32_t> quota) {
    if (!quota) return;
    cores.has_quota = true;
    cores.count = std::min(cores.count, *quota);
  };
  const size_t blank = limits.cpu_max.find(' ');
  if (blank != std::string_view::npos) {
    apply(quota_of(limits.cpu_max.substr(0, blank), limits.cpu_max.substr(blank)));
  }
  apply(quota_of(limits.cfs_quota_us, limits.cfs_period_us));
  return cores;
}

UsableCores usable_cores(uint32_t affinity, const std::string& root) {
  UsableCores cores{.count = affinity};
  const auto apply = [&cores](const std::string& folder) {
    const std::string cpu_max = read_file(folder + "/cpu.max");
    const std::string quota = read_file(folder + "/cpu.cfs_quota_us");
    const std::string period = read_file(folder + "/cpu.cfs_period_us");
    const UsableCores level = count_cores({.affinity = cores.count,
                                           .cpu_max = cpu_max,
                                           .cfs_quota_us = quota,
                                           .cfs_period_us = period});
    cores = {.count = level.count, .has_quota = cores.has_quota || level.has_quota};
  };
  // Lines are "hierarchy:controllers:path"; cgroup v2 has no controllers.
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.empty()) for_each_level(root + "/sys/fs/cgroup", path, apply);
    if (("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    for_each_level(root + "/sys/fs/cgroup/cpu", path, apply);
    for_each_level(root + "/sys/fs/cgroup/cpu,cpuacct", path, apply);
  }
  return cores;
}

UsableCores usable_cores() { return usable_cores(affinity_count(), {}); }

}  // namespace istmo::io
