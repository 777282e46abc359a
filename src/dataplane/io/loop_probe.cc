#include "dataplane/io/loop_probe.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <thread>

#include "dataplane/io/loop.h"
#include "dataplane/io/loop_self_test.h"
#include "dataplane/io/uring_loop.h"

namespace istmo::io {
namespace {

struct KernelVersion {
  int major = 0;
  int minor = 0;
  friend auto operator<=>(KernelVersion, KernelVersion) = default;
};

KernelVersion version_of(std::string_view release) {
  KernelVersion version;
  const char* end = release.data() + release.size();
  const auto [dot, error] = std::from_chars(release.data(), end, version.major);
  if (error == std::errc() && dot != end && *dot == '.') {
    std::from_chars(dot + 1, end, version.minor);
  }
  return version;
}

constexpr KernelVersion kFirstWithUring{5, 1};
constexpr KernelVersion kFirstUsable{6, 1};  // DEFER_TASKRUN

std::string too_old(std::string_view release) {
  return "kernel " + std::string(release) + " is too old for io_uring as it is used here (6.1)";
}

std::optional<int> read_disabled_sysctl() {
  std::ifstream file("/proc/sys/kernel/io_uring_disabled");
  int value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

std::string explain_here(int error_number) {
  utsname names{};
  ::uname(&names);
  return explain({.error_number = error_number,
                  .kernel_release = names.release,
                  .disabled = read_disabled_sysctl()});
}

// 0, or the errno value with which a ring like that of UringLoop is refused.
int try_ring() {
  io_uring ring{};
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  const int result = io_uring_queue_init_params(4, &ring, &params);
  if (result < 0) return -result;
  constexpr uint32_t kNeeded =
      IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_CQE_SKIP;
  const bool is_enough = (params.features & kNeeded) == kNeeded;
  io_uring_queue_exit(&ring);
  return is_enough ? 0 : EINVAL;
}

Result<LoopChoice> probe_uring() {
  if (const int error_number = try_ring()) return Error::internal(explain_here(error_number));
  // The best first. Version numbers lie, so each step down is decided by what works.
  LoopChoice choice{.kind = LoopKind::uring, .reason = "io_uring with receive bundles"};
  choice.has_receive_bundles = choice.has_receive_limit = true;
  if (self_test(choice)) return choice;
  choice.has_receive_limit = false;
  if (self_test(choice)) return choice;
  choice.has_receive_bundles = false;
  choice.reason = "io_uring without receive bundles (their self-test failed)";
  auto last = self_test(choice);
  if (last) return choice;
  return Error::internal("io_uring failed its self-test: " + last.error().text());
}

}  // namespace

std::string explain(const Refusal& refusal) {
  const KernelVersion version = version_of(refusal.kernel_release);
  const auto disabled = std::to_string(refusal.disabled.value_or(0));
  switch (refusal.error_number) {
    case EPERM:
      if (refusal.disabled.value_or(0) == 1) {
        return "io_uring disabled by sysctl kernel.io_uring_disabled=1: allowed only with "
               "CAP_SYS_ADMIN or for the group kernel.io_uring_group";
      }
      if (refusal.disabled.value_or(0) >= 2) {
        return "io_uring disabled by sysctl kernel.io_uring_disabled=" + disabled;
      }
      return "io_uring refused by seccomp (EPERM): the container runtime's profile must allow "
             "io_uring_setup, io_uring_enter and io_uring_register";
    case ENOSYS:
      if (version < kFirstWithUring) return too_old(refusal.kernel_release);
      return "io_uring refused by seccomp, or not part of this kernel (ENOSYS)";
    case ENOMEM:
      return "io_uring refused for lack of locked memory (ENOMEM): raise the memlock limit "
             "(ulimit -l)";
    case EINVAL:
      if (version < kFirstUsable) return too_old(refusal.kernel_release);
      return "io_uring of this kernel lacks what is needed (EINVAL)";
    default: return Error::from_errno(refusal.error_number, "io_uring refused").text();
  }
}

Result<LoopChoice> choose_loop(IoMode mode) {
  // Before anything else: where io_uring is answered with SIGSYS, one call would be the end.
  if (mode == IoMode::epoll) return LoopChoice{.kind = LoopKind::epoll, .reason = "--io=epoll"};
  // On a thread of its own: a ring that ends interrupts blocking calls of the thread that made it.
  Result<LoopChoice> uring = Error::internal("io_uring was not probed");
  std::thread([&uring] { uring = probe_uring(); }).join();
  if (uring) return uring;
  if (mode == IoMode::uring) return std::move(uring).error().at("--io=uring");
  return LoopChoice{.kind = LoopKind::epoll, .reason = uring.error().text()};
}

}  // namespace istmo::io
