// How many cores this process may use, and how many workers are worth having here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace istmo::io {

// What `--workers` takes at most, and what another site may say of itself.
constexpr uint32_t kWorkersMax = 512;

// What limits a process to less than the machine.
struct CoreLimits {
  uint32_t affinity = 1;           // CPUs in the affinity mask
  std::string_view cpu_max;        // cgroup v2 cpu.max: "150000 100000" or "max 100000"
  std::string_view cfs_quota_us;   // cgroup v1 cpu.cfs_quota_us: "-1" is no limit
  std::string_view cfs_period_us;  // cgroup v1 cpu.cfs_period_us
};

struct UsableCores {
  uint32_t count = 1;      // the quota rounded up, at most the affinity, from 1 to kWorkersMax
  bool has_quota = false;  // somebody said how much of the machine is meant for this process
};

// Text that cannot be read is no limit.
UsableCores count_cores(const CoreLimits& limits);

// What the control groups below `root` (of /proc and /sys) say of this process.
UsableCores usable_cores(uint32_t affinity, const std::string& root);
UsableCores usable_cores();

// How many workers a site has that was told nothing. On a machine: one per usable core. In a pod
// without a limit the cores are those of the node, which is not the pod's to fill.
constexpr uint32_t kPodWorkersMax = 4;
inline uint32_t workers_on_machine(const UsableCores& cores) { return cores.count; }
inline uint32_t workers_in_pod(const UsableCores& cores) {
  return cores.has_quota ? cores.count : std::min(cores.count, kPodWorkersMax);
}

}  // namespace istmo::io
