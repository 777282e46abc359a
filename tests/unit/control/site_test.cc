// Paths, service addresses, options, the pid file and the unit of a site.
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <set>
#include <thread>

#include "control/paths.h"
#include "control/process.h"
#include "control/service_address.h"
#include "control/site_options.h"
#include "control_fixture.h"

namespace istmo::control {

BOOST_AUTO_TEST_SUITE(site)

BOOST_AUTO_TEST_CASE(namespaces_live_below_the_data_folder_of_the_user) {
  const TestFolder folder;
  ::setenv("XDG_DATA_HOME", folder.path().c_str(), 1);
  const auto paths = namespace_paths("west");
  BOOST_REQUIRE(paths.has_value());
  BOOST_TEST(paths->resources() == folder.path() / "istmo/namespaces/west/input/resources");
  BOOST_TEST(paths->admin_socket() == folder.path() / "istmo/namespaces/west/runtime/admin.sock");
  ::setenv("XDG_DATA_HOME", "relative/is/ignored", 1);
  ::setenv("HOME", "/ana", 1);
  BOOST_TEST(namespaces_root() == "/ana/.local/share/istmo/namespaces");
}

BOOST_AUTO_TEST_CASE(a_namespace_name_cannot_leave_the_folder) {
  for (const char* name : {"", "..", "a/b", "West", "-a", "a-", "a.b", "a b"}) {
    BOOST_TEST(!namespace_paths(name).has_value(), name);
  }
  BOOST_TEST(!check_namespace_name(std::string(64, 'a')).has_value());
  BOOST_TEST(check_namespace_name("west-2").has_value());
}

BOOST_AUTO_TEST_CASE(any_text_becomes_a_resource_name) {
  BOOST_TEST(as_resource_name("backend-10.0.0.1-8080") == "backend-10-0-0-1-8080");
  BOOST_TEST(as_resource_name("::1") == "1");
  BOOST_TEST(as_resource_name("Db_Host") == "db-host");
  BOOST_TEST(check_resource_name(as_resource_name("---")).has_value());
}

BOOST_AUTO_TEST_CASE(folders_of_a_site_are_private_and_can_be_removed) {
  const TestFolder folder;
  const SitePaths paths{.root = folder.path() / "west", .runtime = folder.path() / "west/runtime"};
  BOOST_REQUIRE(make_site_folders(paths).has_value());
  using std::filesystem::perms;
  BOOST_TEST((std::filesystem::status(paths.root).permissions() == perms::owner_all));
  BOOST_REQUIRE(remove_site_folders(paths).has_value());
  BOOST_TEST(!std::filesystem::exists(paths.root));
}

BOOST_AUTO_TEST_CASE(each_namespace_has_its_own_loopback_address) {
  std::set<std::string> hosts;
  for (int number = 0; number < 500; ++number) {
    const std::string host = service_host_of("namespace" + std::to_string(number));
    BOOST_TEST(host.starts_with("127."));
    BOOST_TEST(!host.starts_with("127.0."));
    BOOST_TEST(io::Address::parse(host, 80).has_value());
    hosts.insert(host);
  }
  BOOST_TEST(hosts.size() == 500u);
  BOOST_TEST(service_host_of("west") == service_host_of("west"));
}

BOOST_AUTO_TEST_CASE(a_service_host_must_be_an_address_of_this_machine) {
  BOOST_TEST(check_service_host("127.9.9.9").has_value());
  BOOST_TEST(!check_service_host("192.0.2.1").has_value());  // RFC 5737: nobody's
  BOOST_TEST(!check_service_host("localhost").has_value());
}

BOOST_AUTO_TEST_CASE(options_are_read_as_they_were_written) {
  const TestFolder folder;
  const SitePaths paths{.root = folder.path(), .runtime = folder.path() / "runtime"};
  BOOST_TEST(!read_site_options(paths).has_value());
  BOOST_REQUIRE(make_site_folders(paths).has_value());
  const SiteOptions written{.admin = "127.0.0.1:4711",
                            .service_host = "127.9.8.7",
                            .has_ingress = false,
                            .arguments = {"run", "/a b", "--io", "epoll"}};
  BOOST_REQUIRE(write_site_options(paths, written).has_value());
  const auto read = read_site_options(paths);
  BOOST_REQUIRE(read.has_value());
  BOOST_TEST(read->platform == "linux");
  BOOST_TEST(read->service_host == written.service_host);
  BOOST_TEST(!read->has_ingress);
  BOOST_TEST(read->arguments == written.arguments, boost::test_tools::per_element());
  BOOST_TEST(admin_address_of(paths)->to_string() == "127.0.0.1:4711");
}

BOOST_AUTO_TEST_CASE(a_file_with_a_secret_is_captured_by_no_file_that_lay_in_wait) {
  namespace fs = std::filesystem;
  const TestFolder folder;
  const std::string victim = folder.write("victim", "untouched");
  const fs::path token = folder / "token";
  fs::create_symlink(victim, token);
  fs::create_symlink(victim, folder / "token.new");
  BOOST_REQUIRE(write_file(token, "secret").has_value());
  BOOST_TEST(read_file(victim).value() == "untouched");
  BOOST_TEST(read_file(token).value() == "secret");
  BOOST_TEST((fs::symlink_status(token).type() == fs::file_type::regular));
  BOOST_TEST((fs::status(token).permissions() == (fs::perms::owner_read | fs::perms::owner_write)));
  BOOST_TEST(!write_file(folder / "nowhere/token", "secret").has_value());
  const auto left = std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
  BOOST_TEST(left == 3);
}

BOOST_AUTO_TEST_CASE(a_site_is_run_by_one_process) {
  const TestFolder folder;
  const std::filesystem::path file = folder / "istmo.pid";
  BOOST_TEST(!running_process(file).has_value());
  {
    const auto held = PidFile::take(file);
    BOOST_REQUIRE(held.has_value());
    const auto process = running_process(file);
    BOOST_REQUIRE(process.has_value());
    BOOST_TEST(process->pid == ::getpid());
    const auto second = PidFile::take(file);
    BOOST_REQUIRE(!second.has_value());
    BOOST_TEST(second.error().text().contains(std::to_string(::getpid())));
  }
  BOOST_TEST(!running_process(file).has_value());
}

// As after a kill: the first thread has ended, so the process shows as a zombie, but another
// thread keeps its files open a little longer, here until the gate opens.
BOOST_AUTO_TEST_CASE(a_holder_that_is_ending_is_waited_for) {
  const TestFolder folder;
  const std::filesystem::path file = folder / "istmo.pid";
  int gate[2];
  BOOST_REQUIRE(::pipe(gate) == 0);
  const pid_t child = ::fork();
  BOOST_REQUIRE(child >= 0);
  if (child == 0) {
    ::close(gate[1]);
    const auto held = PidFile::take(file);
    std::thread last([&gate] {
      char octet = 0;
      static_cast<void>(!::read(gate[0], &octet, 1));
      ::_exit(0);
    });
    ::syscall(SYS_exit, 0);  // this thread alone
  }
  ::close(gate[0]);
  const ProcessId holder = process_now(child);
  while (is_alive(holder)) std::this_thread::yield();
  bool is_taken = false;
  std::thread next([&] { is_taken = PidFile::take(file).has_value(); });
  // The gate stays shut for longer than a holder that lives is waited for.
  const auto mine = PidFile::take(folder / "mine.pid");
  for (int i = 0; i < 2; ++i) BOOST_TEST(!PidFile::take(folder / "mine.pid").has_value());
  ::close(gate[1]);
  next.join();
  BOOST_TEST(is_taken);
  BOOST_TEST(::waitpid(child, nullptr, 0) == child);
}

// Who waited holds the lock of a file that its last holder removed: nobody would look there.
BOOST_AUTO_TEST_CASE(a_lock_that_was_waited_for_is_on_the_file_that_is_there) {
  const TestFolder folder;
  const std::filesystem::path file = folder / "istmo.pid";
  auto first = std::make_unique<PidFile>(std::move(PidFile::take(file).value()));
  const auto waiting = FileLock::take(file, [&](int, Duration) {
    first.reset();
    return true;
  });
  BOOST_REQUIRE(waiting.has_value());
  BOOST_TEST(std::filesystem::exists(file));
  const auto second = FileLock::take(file, [](int, Duration) { return false; });
  BOOST_TEST(!second.has_value());
}

BOOST_AUTO_TEST_CASE(a_pid_file_that_nobody_holds_names_no_process) {
  const TestFolder folder;
  const std::string file = folder.write("istmo.pid", std::to_string(::getpid()) + " 1\n");
  BOOST_TEST(!running_process(file).has_value());
}

BOOST_AUTO_TEST_CASE(a_pid_that_was_used_again_is_not_signalled) {
  ProcessId self = process_now(::getpid());
  BOOST_TEST(is_alive(self));
  self.started_ticks += 1;
  BOOST_TEST(!is_alive(self));
  BOOST_TEST(end_process(self, Duration::seconds(1)).has_value());  // and this test goes on
}

BOOST_AUTO_TEST_CASE(a_process_that_ignores_sigterm_is_killed_and_waiting_for_it_is_told) {
  const auto before = ::signal(SIGTERM, SIG_IGN);  // inherited: the child never obeys it
  const pid_t child = ::fork();
  if (child == 0) {
    while (true) ::pause();
  }
  ::signal(SIGTERM, before);
  const ProcessId process = process_now(child);
  int told = 0;
  const auto ended = end_process(process, Duration::milliseconds(50), [&] { ++told; });
  BOOST_TEST(ended.has_value());
  BOOST_TEST(told == 1);
  int status = 0;
  BOOST_TEST(::waitpid(child, &status, 0) == child);
  BOOST_TEST(WIFSIGNALED(status));
}

BOOST_AUTO_TEST_CASE(a_unit_quotes_what_systemd_would_understand_otherwise) {
  const std::string text =
      unit_text("/opt/is tmo",
                {.name = "west", .arguments = {"run", "/a b", "50%", "$HOME"}, .log_file = "/log"});
  BOOST_TEST(text.contains(R"(ExecStart="/opt/is tmo" "run" "/a b" "50%%" "$$HOME")"));
  BOOST_TEST(text.contains("StandardError=append:/log\n"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::control
