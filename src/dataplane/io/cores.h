// How many workers are worth having here: one per core that this process may use.
#pragma once

#include <cstdint>
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

// The quota rounded up, at most the affinity, from 1 to kWorkersMax. Text that cannot be read is no
// limit.
uint32_t count_cores(const CoreLimits& limits);

// The same for this process.
uint32_t usable_cores();

}  // namespace istmo::io
