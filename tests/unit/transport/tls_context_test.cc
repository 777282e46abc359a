#include "dataplane/transport/tls_context.h"

#include <sys/stat.h>

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
  struct stat status{};
  BOOST_TEST(::stat(file.c_str(), &status) == 0);
  BOOST_TEST((status.st_mode & 0777) == 0600u);
}

BOOST_AUTO_TEST_CASE(a_key_log_that_cannot_be_opened_says_which) {
  const auto log = KeyLog::open("/nowhere/keys.log");
  BOOST_TEST_REQUIRE(!log.has_value());
  BOOST_TEST(log.error().text() == "open TLS key log /nowhere/keys.log: No such file or directory");
}

BOOST_AUTO_TEST_SUITE_END()
