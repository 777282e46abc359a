#include "dataplane/transport/tls_context.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "world.h"

using namespace istmo;
using namespace istmo::test;
using transport::KeyLog;
using transport::TlsContext;
using transport::TlsContextOptions;
using transport::TlsRole;

namespace {

std::string error_of(const TlsContextOptions& options) {
  const auto context = TlsContext::create(options);
  if (context) return {};
  BOOST_TEST((context.error().error_class() == ErrorClass::config));
  return context.error().text();
}

// A folder of this test's own, removed with it.
struct Folder {
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "istmo-test-XXXXXX";
    BOOST_TEST_REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status{};
  BOOST_TEST_REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 0777;
}

void write_file(const std::filesystem::path& path, std::string_view text, mode_t mode) {
  std::ofstream(path) << text;
  BOOST_TEST_REQUIRE(::chmod(path.c_str(), mode) == 0);
}

std::string key_log_error(const std::filesystem::path& path) {
  const auto log = KeyLog::open(path);
  return log ? "" : log.error().text();
}

// Files of this process end at `bytes`: a write beyond comes short.
struct FileLimit {
  explicit FileLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    BOOST_TEST_REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before.rlim_max};
    BOOST_TEST_REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileLimit() { ::setrlimit(RLIMIT_FSIZE, &before); }
  rlimit before{};
};

struct IsRoot {
  boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const {
    boost::test_tools::assertion_result result(::geteuid() == 0);
    result.message() << "only root can give a file away";
    return result;
  }
};
const boost::unit_test::precondition needs_root{IsRoot{}};

std::string text_of_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tls_context)

BOOST_AUTO_TEST_CASE(what_is_wrong_is_named) {
  const TlsContextOptions good = tls_options(TlsRole::server);
  BOOST_TEST(error_of(good) == "");

  TlsContextOptions options = good;
  options.certificate_chain_pem = "no certificate";
  BOOST_TEST(error_of(options).starts_with("tls: certificate: "));
  options = good;
  options.certificate_chain_pem += "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  BOOST_TEST(error_of(options).starts_with("tls: certificate: "));
  options = good;
  options.private_key_pem = "";
  BOOST_TEST(error_of(options).starts_with("tls: private key: "));
  options = good;
  options.private_key_pem = test_ca().issue({"other"}).key_pem;
  BOOST_TEST(error_of(options).starts_with("tls: private key: "));
  options = good;
  options.ca_pem = "";
  BOOST_TEST(error_of(options).starts_with("tls: CA certificate: "));
}

BOOST_AUTO_TEST_CASE(a_client_needs_no_certificate_and_a_server_does) {
  BOOST_TEST(error_of({.role = TlsRole::client, .ca_pem = test_ca().certificate_pem()}) == "");
  BOOST_TEST(error_of({.role = TlsRole::server, .ca_pem = test_ca().certificate_pem()})
                 .starts_with("tls: certificate: "));
}

BOOST_AUTO_TEST_CASE(unchecked_means_that_any_certificate_will_do) {
  const TestCa other("other ca");
  const TestCertificate own = other.issue({"somebody"});
  for (const auto& world : make_worlds()) {
    const auto sockets = world->connect();
    End west, east;
    west.make_tls(world->west(), sockets.west,
                  {.remote_certificate = transport::RemoteCertificate::unchecked});
    east.make_tls(world->east(), sockets.east,
                  {.role = TlsRole::server,
                   .certificate_chain_pem = own.certificate_pem,
                   .private_key_pem = own.key_pem,
                   .remote_certificate = transport::RemoteCertificate::unchecked});
    west.transport->start();
    east.transport->start();
    BOOST_TEST(world->run_until([&] { return west.is_open && east.is_open; }));
    BOOST_TEST(!west.tls().remote_identity().has_value());
    BOOST_TEST(!east.tls().remote_identity().has_value());
    west.abort();
    BOOST_TEST(world->run_until([&] { return west.is_closed() && east.is_closed(); }));
  }
}

BOOST_AUTO_TEST_CASE(secrets_are_appended_to_a_file_of_the_owner) {
  const Folder folder;
  const auto file = folder.path / "keys.log";
  for (int round = 1; round <= 2; ++round) {
    const auto log = KeyLog::open(file);
    BOOST_TEST_REQUIRE(log.has_value());
    TlsContextOptions options = tls_options(TlsRole::server);
    options.key_log = &*log;
    const auto world = std::move(make_worlds().front());
    const auto sockets = world->connect();
    End west, east;
    west.make_tls(world->west(), sockets.west, tls_options(TlsRole::client));
    east.make_tls(world->east(), sockets.east, options);
    west.transport->start();
    east.transport->start();
    BOOST_TEST(world->run_until([&] { return west.is_open && east.is_open; }));
    west.abort();
    BOOST_TEST(world->run_until([&] { return west.is_closed() && east.is_closed(); }));

    const std::string text = text_of_file(file);
    size_t count = 0;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      count += line.starts_with("CLIENT_TRAFFIC_SECRET_0 ") ? 1 : 0;
    }
    BOOST_TEST(count == static_cast<size_t>(round));
    BOOST_TEST(text.ends_with("\n"));
  }
  BOOST_TEST(mode_of(file) == 0600u);
}

BOOST_AUTO_TEST_CASE(a_key_log_that_others_could_read_is_closed_to_them) {
  const Folder folder;
  const auto file = folder.path / "keys.log";
  for (const mode_t mode : {0644u, 0660u, 0604u, 0620u}) {
    write_file(file, "# before\n", mode);
    const auto log = KeyLog::open(file);
    BOOST_TEST_REQUIRE(log.has_value());
    BOOST_TEST(mode_of(file) == 0600u);
    log->write_line("line");
    BOOST_TEST(text_of_file(file) == "# before\nline\n");
  }
}

BOOST_AUTO_TEST_CASE(a_key_log_of_somebody_else_is_refused, *needs_root) {
  const Folder folder;
  const auto file = folder.path / "keys.log";
  write_file(file, "", 0600);
  BOOST_TEST_REQUIRE(::chown(file.c_str(), 12345, 12345) == 0);
  BOOST_TEST(key_log_error(file) ==
             "TLS key log " + file.string() + " belongs to another user: name a file of your own");
}

BOOST_AUTO_TEST_CASE(a_key_log_is_a_file_itself) {
  const Folder folder;
  const auto target = folder.path / "target", link = folder.path / "link";
  write_file(target, "", 0644);
  std::filesystem::create_symlink(target, link);
  BOOST_TEST(key_log_error(link) ==
             "TLS key log " + link.string() + " is a symbolic link: name the file itself");
  BOOST_TEST(mode_of(target) == 0644u);
  const auto pipe = folder.path / "pipe";
  BOOST_TEST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  BOOST_TEST(key_log_error(pipe) == "TLS key log " + pipe.string() + " is no regular file");
  ::close(reader);
  BOOST_TEST(key_log_error(pipe) != "");  // and nobody waits for a reader
  BOOST_TEST(key_log_error(folder.path) != "");
}

BOOST_AUTO_TEST_CASE(a_line_that_was_cut_short_does_not_spoil_the_next) {
  const Folder folder;
  const auto file = folder.path / "keys.log";
  const auto log = KeyLog::open(file);
  BOOST_TEST_REQUIRE(log.has_value());
  log->write_line("first");
  {
    const FileLimit limit(10);  // as a full disk would
    log->write_line("second");
    log->write_line("third");
  }
  log->write_line("fourth");
  log->write_line("fifth");
  BOOST_TEST(text_of_file(file) == "first\nseco\nfourth\nfifth\n");
}

BOOST_AUTO_TEST_CASE(a_key_log_that_cannot_be_opened_says_which) {
  const auto log = KeyLog::open("/nowhere/keys.log");
  BOOST_TEST_REQUIRE(!log.has_value());
  BOOST_TEST(log.error().text() == "open TLS key log /nowhere/keys.log: No such file or directory");
}

BOOST_AUTO_TEST_SUITE_END()
