#include "dataplane/io/loop_probe.h"

#include <boost/test/unit_test.hpp>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <csignal>

#include "dataplane/io/loop.h"
#include "dataplane/io/loop_self_test.h"

using namespace istmo::io;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// From now on in this process every io_uring system call is answered with `action`.
bool forbid_uring(uint32_t action) {
  std::array<sock_filter, 5> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, __NR_io_uring_setup, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, __NR_io_uring_register, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// The wait status of a child that runs `body` where io_uring is answered with `action`.
template <class Body>
int status_under(uint32_t action, Body&& body) {
  const pid_t child = fork();
  if (child == 0) _exit(forbid_uring(action) ? body() : 99);
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

// 0 if the automatic choice is an epoll loop that works, for a reason that names `part`.
int expect_epoll(std::string_view part) {
  const auto choice = choose_loop(IoMode::automatic);
  if (!choice || choice->kind != LoopKind::epoll) return 1;
  if (!contains(choice->reason, part)) return 2;
  if (choose_loop(IoMode::uring).has_value()) return 3;
  return self_test(*choice).has_value() ? 0 : 4;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(loop_probe)

BOOST_AUTO_TEST_CASE(refusals_are_told_apart) {
  BOOST_TEST(contains(
      explain({.error_number = EPERM, .kernel_release = "6.8.0-45-generic", .disabled = 0}),
      "seccomp (EPERM)"));
  BOOST_TEST(contains(explain({.error_number = EPERM, .kernel_release = "6.1.0-18-amd64"}),
                      "seccomp (EPERM)"));
  BOOST_TEST(contains(explain({.error_number = EPERM, .kernel_release = "6.8.0", .disabled = 2}),
                      "kernel.io_uring_disabled=2"));
  BOOST_TEST(contains(explain({.error_number = EPERM, .kernel_release = "6.8.0", .disabled = 1}),
                      "io_uring_group"));
  BOOST_TEST(contains(explain({.error_number = ENOSYS, .kernel_release = "6.8.0", .disabled = 0}),
                      "seccomp, or not part of this kernel (ENOSYS)"));
  BOOST_TEST(contains(explain({.error_number = ENOSYS, .kernel_release = "4.19.0-27-amd64"}),
                      "kernel 4.19.0-27-amd64 is too old"));
  BOOST_TEST(contains(explain({.error_number = EINVAL, .kernel_release = "5.15.0"}),
                      "kernel 5.15.0 is too old"));
  BOOST_TEST(contains(explain({.error_number = EINVAL, .kernel_release = "6.10.2"}), "lacks"));
  BOOST_TEST(contains(explain({.error_number = ENOMEM, .kernel_release = "6.1.0"}), "memlock"));
  BOOST_TEST(contains(explain({.error_number = EMFILE, .kernel_release = "nonsense"}), "refused"));
}

BOOST_AUTO_TEST_CASE(seccomp_with_eperm_means_epoll_and_says_so) {
  const int status =
      status_under(SECCOMP_RET_ERRNO | EPERM, [] { return expect_epoll("seccomp (EPERM)"); });
  BOOST_TEST(WIFEXITED(status));
  BOOST_TEST(WEXITSTATUS(status) == 0);
}

BOOST_AUTO_TEST_CASE(seccomp_with_enosys_means_epoll_and_says_so) {
  const int status =
      status_under(SECCOMP_RET_ERRNO | ENOSYS, [] { return expect_epoll("(ENOSYS)"); });
  BOOST_TEST(WIFEXITED(status));
  BOOST_TEST(WEXITSTATUS(status) == 0);
}

// Where the first io_uring call is the end, --io=epoll must live, and prove the filter works.
BOOST_AUTO_TEST_CASE(io_epoll_never_touches_io_uring) {
  const int lives = status_under(SECCOMP_RET_KILL_PROCESS, [] {
    const auto choice = choose_loop(IoMode::epoll);
    return choice && self_test(*choice) ? 0 : 1;
  });
  BOOST_TEST(WIFEXITED(lives));
  BOOST_TEST(WEXITSTATUS(lives) == 0);
  const int dies = status_under(SECCOMP_RET_KILL_PROCESS,
                                [] { return choose_loop(IoMode::automatic).has_value() ? 0 : 1; });
  BOOST_TEST(WIFSIGNALED(dies));
  BOOST_TEST(WTERMSIG(dies) == SIGSYS);
}

BOOST_AUTO_TEST_SUITE_END()
