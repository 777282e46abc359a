#include "control/pki.h"

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <set>

#include "site_folder.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const WallTime kNow = wall_now();

KeyPair test_ca() { return make_ca("istmo-site-ca west", kNow).value(); }

CertificateRequest server_request() {
  return {.common_name = "istmo-site-server",
          .hosts = {"west.example", "192.0.2.7", "2001:db8::7", "127.0.0.1"},
          .site_id = "0b37cf9e-7d3b-4b8f-b7d4-6b6f0a4b1c11",
          .use = CertificateUse::client_and_server};
}

proxy::Credentials credentials_of(const KeyPair& pair, const KeyPair& ca) {
  return {.certificate = pair.certificate, .private_key = pair.private_key, .ca = ca.certificate};
}

bool says(const Result<>& result, std::string_view text) {
  if (result) return false;
  BOOST_TEST_INFO(result.error().text());
  return result.error().text().find(text) != std::string::npos;
}

int run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

}  // namespace

BOOST_AUTO_TEST_SUITE(pki)

BOOST_AUTO_TEST_CASE(leaf_carries_names_and_site_and_chains_to_its_ca) {
  const KeyPair ca = test_ca();
  const KeyPair leaf = issue_certificate(ca, server_request(), kNow).value();
  const auto info = inspect_certificate(leaf.certificate, "leaf").value();
  BOOST_TEST(info.subject == "istmo-site-server");
  BOOST_TEST(info.issuer == "istmo-site-ca west");
  BOOST_TEST(info.site_id == "0b37cf9e-7d3b-4b8f-b7d4-6b6f0a4b1c11");
  BOOST_TEST(info.uris.at(0) == "istmo://site/0b37cf9e-7d3b-4b8f-b7d4-6b6f0a4b1c11");
  const std::vector<std::string> hosts{"west.example", "192.0.2.7", "2001:db8::7", "127.0.0.1"};
  BOOST_TEST(info.hosts == hosts, boost::test_tools::per_element());
  BOOST_TEST(info.serial.size() == 32u);
  BOOST_TEST(!info.is_ca);
  BOOST_TEST((info.not_before == kNow - kBackdate));
  BOOST_TEST((info.not_after == kNow + kLeafLifetime));
  BOOST_TEST(inspect_certificate(ca.certificate, "ca")->is_ca);
  BOOST_TEST(check_credentials(credentials_of(leaf, ca), "leaf", kNow).has_value());
}

BOOST_AUTO_TEST_CASE(a_request_is_signed_for_its_key_and_named_by_the_issuer) {
  const KeyPair ca = test_ca();
  const SigningRequest asked = make_signing_request().value();
  const auto certificate = sign_request(
      ca, asked.request, {.common_name = "east", .hosts = {}, .site_id = "east-id"}, kNow);
  BOOST_REQUIRE(certificate.has_value());
  BOOST_TEST(check_credentials({*certificate, asked.private_key, ca.certificate}, "leaf", kNow)
                 .has_value());
  const auto info = inspect_certificate(*certificate, "leaf").value();
  BOOST_TEST(info.site_id == "east-id");
  BOOST_TEST(!info.is_ca);
}

BOOST_AUTO_TEST_CASE(what_is_no_request_of_its_own_key_is_not_signed) {
  const KeyPair ca = test_ca();
  const auto sign = [&](const std::string& text) {
    return sign_request(ca, text, {.common_name = "east"}, kNow).has_value();
  };
  std::string request = make_signing_request()->request;
  BOOST_TEST(sign(request));
  BOOST_TEST(!sign(""));
  BOOST_TEST(!sign(ca.certificate));
  BOOST_TEST(!sign(request + std::string(kSigningRequestBytesMax, ' ')));
  const test::TemporaryFolder folder;  // a key of another kind
  BOOST_REQUIRE(run("cd '" + folder.path().string() +
                    "' && openssl req -new -newkey rsa:2048 -nodes -keyout k -out r -subj /CN=a") ==
                0);
  BOOST_TEST(!sign(test::read_text(folder.path() / "r")));
  // The signature covers the key: of two requests, one's body with the other's end.
  const std::string other = make_signing_request()->request;
  const size_t middle = request.size() / 2;
  BOOST_TEST(!sign(request.substr(0, middle) + other.substr(middle)));
}

BOOST_AUTO_TEST_CASE(credentials_go_with_any_of_several_cas) {
  const KeyPair one = test_ca();
  const KeyPair two = test_ca();
  const KeyPair leaf = issue_certificate(two, server_request(), kNow).value();
  const std::string both = one.certificate + two.certificate;
  BOOST_TEST(check_credentials({leaf.certificate, leaf.private_key, both}, "l", kNow).has_value());
  BOOST_TEST(!check_credentials(credentials_of(leaf, one), "l", kNow).has_value());
  BOOST_TEST(count_cas(both, "cas").value() == 2u);
  BOOST_TEST(!count_cas(both + leaf.certificate, "cas").has_value());
}

BOOST_AUTO_TEST_CASE(openssl_program_verifies_chain_purpose_and_names) {
  const test::TemporaryFolder folder;
  const KeyPair ca = test_ca();
  const KeyPair leaf = issue_certificate(ca, server_request(), kNow).value();
  auto client_request = server_request();
  client_request.use = CertificateUse::client;
  const KeyPair client = issue_certificate(ca, client_request, kNow).value();
  test::write_text(folder.path() / "ca.pem", ca.certificate);
  test::write_text(folder.path() / "leaf.pem", leaf.certificate);
  test::write_text(folder.path() / "client.pem", client.certificate);
  test::write_text(folder.path() / "other.pem", test_ca().certificate);
  const std::string in = "cd " + folder.path().string() + " && openssl verify -x509_strict ";
  BOOST_TEST(run(in + "-CAfile ca.pem -purpose sslserver -verify_ip 192.0.2.7 leaf.pem") == 0);
  BOOST_TEST(run(in + "-CAfile ca.pem -purpose sslserver -verify_ip 2001:db8::7 leaf.pem") == 0);
  BOOST_TEST(run(in + "-CAfile ca.pem -verify_hostname west.example leaf.pem") == 0);
  BOOST_TEST(run(in + "-CAfile ca.pem -purpose sslclient client.pem") == 0);
  BOOST_TEST(run(in + "-CAfile ca.pem -purpose sslserver client.pem") != 0);
  BOOST_TEST(run(in + "-CAfile ca.pem -verify_hostname east.example leaf.pem") != 0);
  BOOST_TEST(run(in + "-CAfile other.pem leaf.pem") != 0);
}

BOOST_AUTO_TEST_CASE(serials_and_keys_differ_each_time) {
  const KeyPair ca = test_ca();
  std::set<std::string> serials;
  std::set<std::string> keys;
  for (int i = 0; i < 20; ++i) {
    const KeyPair leaf = issue_certificate(ca, server_request(), kNow).value();
    serials.insert(inspect_certificate(leaf.certificate, "")->serial);
    keys.insert(leaf.private_key);
  }
  BOOST_TEST(serials.size() == 20u);
  BOOST_TEST(keys.size() == 20u);
}

BOOST_AUTO_TEST_CASE(hosts_that_are_no_names_are_refused) {
  auto request = server_request();
  request.hosts = {"a,DNS:evil.example"};
  const auto leaf = issue_certificate(test_ca(), request, kNow);
  BOOST_TEST(!leaf.has_value());
  BOOST_TEST(leaf.error().text().find("a,DNS:evil.example") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(long_common_name_is_cut_at_a_character) {
  auto request = server_request();
  request.common_name = std::string(63, 'a') + "\xc3\xa3" + "b";  // a tilde over octets 64, 65
  const KeyPair leaf = issue_certificate(test_ca(), request, kNow).value();
  BOOST_TEST(inspect_certificate(leaf.certificate, "")->subject == std::string(63, 'a'));
}

BOOST_AUTO_TEST_CASE(rotation_is_due_when_a_third_of_life_is_left) {
  const KeyPair leaf = issue_certificate(test_ca(), server_request(), kNow).value();
  const auto third = (kLeafLifetime + kBackdate) / 3;
  const WallTime end = kNow + kLeafLifetime;
  BOOST_TEST(!needs_rotation(leaf.certificate, kNow));
  BOOST_TEST(!needs_rotation(leaf.certificate, end - third - std::chrono::minutes(1)));
  BOOST_TEST(needs_rotation(leaf.certificate, end - third + std::chrono::minutes(1)));
  BOOST_TEST(needs_rotation(leaf.certificate, kNow - std::chrono::hours(1)));
  BOOST_TEST(needs_rotation("no certificate", kNow));
}

BOOST_AUTO_TEST_CASE(leaf_never_outlives_its_ca) {
  const KeyPair ca = test_ca();
  const WallTime late = kNow + kCaLifetime - std::chrono::days(10);
  const KeyPair leaf = issue_certificate(ca, server_request(), late).value();
  BOOST_TEST((inspect_certificate(leaf.certificate, "")->not_after == kNow + kCaLifetime));
  const auto after = issue_certificate(ca, server_request(), kNow + kCaLifetime);
  BOOST_TEST(!after.has_value());
  BOOST_TEST(after.error().text().find("expired on") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(errors_name_the_file_and_what_is_wrong) {
  const KeyPair ca = test_ca();
  const KeyPair other = test_ca();
  const KeyPair leaf = issue_certificate(ca, server_request(), kNow).value();
  const KeyPair leaf2 = issue_certificate(ca, server_request(), kNow).value();
  auto mixed = credentials_of(leaf, ca);
  mixed.private_key = leaf2.private_key;
  BOOST_TEST(says(check_credentials(mixed, "west.pem", kNow),
                  "west.pem: the private key does not belong"));
  BOOST_TEST(says(check_credentials(credentials_of(leaf, other), "west.pem", kNow),
                  "west.pem: certificate was not signed by the CA"));
  BOOST_TEST(says(check_credentials(credentials_of(leaf, ca), "west.pem",
                                    kNow + kLeafLifetime + std::chrono::seconds(1)),
                  "west.pem: certificate expired on"));
  BOOST_TEST(
      says(check_credentials(credentials_of(leaf, ca), "west.pem", kNow - std::chrono::hours(1)),
           "is not valid before"));
  BOOST_TEST(
      says(check_credentials({.certificate = "x", .private_key = "", .ca = ""}, "west.pem", kNow),
           "west.pem: no PEM certificate"));
}

BOOST_AUTO_TEST_CASE(names_are_compared_as_names_and_addresses) {
  const KeyPair leaf = issue_certificate(test_ca(), server_request(), kNow).value();
  BOOST_TEST(names_hosts(leaf.certificate, {"WEST.example", "2001:db8:0:0::7", "192.0.2.7"}));
  BOOST_TEST(!names_hosts(leaf.certificate, {"west.example", "192.0.2.8"}));
  BOOST_TEST(!names_hosts(leaf.certificate, {"istmo-site-server"}));
}

BOOST_AUTO_TEST_CASE(codes_and_uuids_have_their_shape_and_differ) {
  std::set<std::string> codes;
  std::set<std::string> uuids;
  std::set<char> symbols;
  for (int i = 0; i < 200; ++i) {
    const std::string code = random_code();
    const std::string uuid = random_uuid();
    BOOST_TEST(code.size() == 24u);
    BOOST_TEST(is_uuid(uuid));
    BOOST_TEST(uuid[14] == '4');
    symbols.insert(code.begin(), code.end());
    codes.insert(code);
    uuids.insert(uuid);
  }
  BOOST_TEST(codes.size() == 200u);
  BOOST_TEST(uuids.size() == 200u);
  BOOST_TEST(symbols.size() == 62u);
  BOOST_TEST(!is_uuid("0b37cf9e-7d3b-4b8f-b7d4-6b6f0a4b1c1g"));
}

BOOST_AUTO_TEST_CASE(comparison_and_digest) {
  BOOST_TEST(equals_in_constant_time("same", "same"));
  BOOST_TEST(!equals_in_constant_time("same", "sane"));
  BOOST_TEST(!equals_in_constant_time("same", "sam"));
  // FIPS 180-2, appendix B.1
  BOOST_TEST(sha256_hex("abc") ==
             "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

BOOST_AUTO_TEST_CASE(times_are_written_and_read_as_rfc3339) {
  const WallTime time{std::chrono::seconds(1795382101)};
  BOOST_TEST(to_rfc3339(time) == "2026-11-22T21:15:01Z");
  BOOST_TEST((parse_rfc3339("2026-11-22T21:15:01Z").value() == time));
  BOOST_TEST(!parse_rfc3339("2026-11-22 21:15").has_value());
}

BOOST_AUTO_TEST_SUITE_END()
