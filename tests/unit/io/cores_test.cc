#include "dataplane/io/cores.h"

#include <stdlib.h>

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <string>

using namespace istmo::io;

namespace {

// A root folder with the files that the kernel would show there.
class FakeRoot {
 public:
  FakeRoot() { BOOST_REQUIRE(::mkdtemp(path_.data()) != nullptr); }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  FakeRoot& write(const std::string& file, const std::string& text) {
    const std::filesystem::path path = path_ + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return *this;
  }
  UsableCores cores(uint32_t affinity) const { return usable_cores(affinity, path_); }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() / "istmo-cores.XXXXXX").string();
};

}  // namespace

BOOST_AUTO_TEST_SUITE(cores)

BOOST_AUTO_TEST_CASE(without_a_quota_the_affinity_counts) {
  BOOST_TEST(count_cores({.affinity = 6}).count == 6U);
  BOOST_TEST(count_cores({.affinity = 6, .cpu_max = "max 100000\n"}).count == 6U);
  BOOST_TEST(
      count_cores({.affinity = 6, .cfs_quota_us = "-1\n", .cfs_period_us = "100000\n"}).count ==
      6U);
}

BOOST_AUTO_TEST_CASE(quota_is_rounded_up_and_never_raises) {
  BOOST_TEST(count_cores({.affinity = 8, .cpu_max = "150000 100000\n"}).count == 2U);
  BOOST_TEST(count_cores({.affinity = 8, .cpu_max = "200000 100000"}).count == 2U);
  BOOST_TEST(count_cores({.affinity = 8, .cpu_max = "10000 100000"}).count == 1U);
  BOOST_TEST(count_cores({.affinity = 2, .cpu_max = "900000 100000"}).count == 2U);
  BOOST_TEST(
      count_cores({.affinity = 8, .cfs_quota_us = "250000", .cfs_period_us = "100000"}).count ==
      3U);
}

BOOST_AUTO_TEST_CASE(nonsense_is_no_limit_and_one_is_the_least) {
  for (const char* text : {"", "x", "100000", "100000 0", "-5 100000", "1 x", " "}) {
    BOOST_TEST(count_cores({.affinity = 4, .cpu_max = text}).count == 4U);
  }
  BOOST_TEST(count_cores({.affinity = 0}).count == 1U);
}

BOOST_AUTO_TEST_CASE(no_site_has_more_workers_than_another_one_believes) {
  BOOST_TEST(count_cores({.affinity = 1000}).count == kWorkersMax);
}

BOOST_AUTO_TEST_CASE(this_process_has_at_least_one) { BOOST_TEST(usable_cores().count >= 1U); }

BOOST_AUTO_TEST_CASE(a_container_finds_its_limit_at_the_root_of_what_it_sees) {
  FakeRoot root;
  root.write("/proc/self/cgroup", "0::/\n").write("/sys/fs/cgroup/cpu.max", "250000 100000\n");
  BOOST_TEST(root.cores(16).count == 3U);
  BOOST_TEST(workers_in_pod(root.cores(16)) == 3U);
  BOOST_TEST(workers_on_machine(root.cores(16)) == 3U);
  BOOST_TEST(root.cores(2).count == 2U);
  root.write("/sys/fs/cgroup/cpu.max", "600000 100000\n");
  BOOST_TEST(workers_in_pod(root.cores(16)) == 6U);
}

BOOST_AUTO_TEST_CASE(the_least_limit_of_all_levels_counts) {
  FakeRoot root;
  root.write("/proc/self/cgroup", "0::/pods/one\n")
      .write("/sys/fs/cgroup/pods/one/cpu.max", "max 100000\n")
      .write("/sys/fs/cgroup/pods/cpu.max", "150000 100000\n");
  BOOST_TEST(root.cores(16).count == 2U);
  BOOST_TEST(root.cores(16).has_quota);
}

BOOST_AUTO_TEST_CASE(limits_of_cgroup_v1_count) {
  for (const std::string folder : {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}) {
    FakeRoot root;
    root.write("/proc/self/cgroup", "5:memory:/\n4:cpu,cpuacct:/pod\n")
        .write(folder + "/pod/cpu.cfs_quota_us", "120000\n")
        .write(folder + "/pod/cpu.cfs_period_us", "100000\n");
    BOOST_TEST(workers_in_pod(root.cores(16)) == 2U, folder);
  }
}

BOOST_AUTO_TEST_CASE(a_pod_without_a_limit_does_not_fill_its_node) {
  FakeRoot root;
  root.write("/proc/self/cgroup", "0::/\n").write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  BOOST_TEST(workers_in_pod(root.cores(16)) == kPodWorkersMax);
  BOOST_TEST(workers_in_pod(root.cores(3)) == 3U);
  BOOST_TEST(workers_on_machine(root.cores(16)) == 16U);
  BOOST_TEST(workers_in_pod(FakeRoot().cores(16)) == kPodWorkersMax);
}

BOOST_AUTO_TEST_SUITE_END()
