// The CA over its life, and two sites that renew a certificate by what their messages say.
#include "control/certificate_renewal.h"

#include <boost/test/unit_test.hpp>

#include "control/access_documents.h"
#include "site_folder.h"

using namespace istmo;
using namespace istmo::control;
namespace fs = std::filesystem;

namespace {

const WallTime kStart = wall_now();
constexpr std::chrono::seconds kDay = std::chrono::days(1);

SiteState open_state(const fs::path& folder, WallTime now) {
  auto state = SiteState::open({.runtime = folder, .site_name = "west", .site_id = {}}, now);
  if (!state) BOOST_FAIL(state.error().text());
  return std::move(*state);
}

// A site that issued a certificate by a token, and the one that holds it. Each round carries what
// each says to the other, as mesh messages do.
struct Pair {
  explicit Pair(WallTime time) : now(time) {
    const auto given = issuer.issue_for({.common_name = holder.site_id(),
                                         .hosts = {},
                                         .site_id = holder.site_id(),
                                         .lifetime = kGivenLifetime},
                                        "grant", now);
    for (Document& document : make_link_documents("t", *given, {{"192.0.2.1", 55671}}, 1)) {
      written.put(std::move(document));
    }
  }

  void round() {
    RemoteSite seen_issuer, seen_holder;
    seen_issuer.state.site.id = issuer.site_id();
    seen_issuer.trust = of_issuer->trust_for(holder.site_id());
    seen_holder.state.site.id = holder.site_id();
    seen_holder.trust = of_holder.trust_for(issuer.site_id());
    LinkState link{.link = "t", .site_id = issuer.site_id(), .connections_open = 1};
    desired = written;
    of_holder.update(desired, {seen_issuer}, {link}, now);
    LinkState incoming{.is_incoming = true, .site_id = holder.site_id(), .connections_open = 1};
    Desired nothing;
    of_issuer->update(nothing, {seen_holder}, {incoming}, now);
  }
  proxy::Credentials held() {
    const auto& data = desired.secrets.at("t").data;
    return {data.at("tls.crt"), data.at("tls.key"), data.at("ca.crt")};
  }

  test::TemporaryFolder issuer_folder, holder_folder;
  WallTime now;
  SiteState issuer = open_state(issuer_folder.path(), now);
  SiteState holder = open_state(holder_folder.path(), now);
  std::optional<CertificateRenewal> of_issuer{issuer};
  CertificateRenewal of_holder{holder};
  Desired written;  // the documents of the holder
  Desired desired;  // and what acts
};

}  // namespace

BOOST_AUTO_TEST_SUITE(renewal)

BOOST_AUTO_TEST_CASE(a_ca_hands_over_to_a_successor_that_everybody_trusts_before) {
  const test::TemporaryFolder folder;
  const std::string first = open_state(folder.path(), kStart).ca_certificates();
  SiteState state = open_state(folder.path(), kStart + kCaLifetime * 2 / 3 - kDay);
  BOOST_TEST(state.ca_certificates() == first);
  const WallTime trusted = kStart + kCaLifetime * 2 / 3 + kDay;
  BOOST_REQUIRE(state.rotate_ca(trusted).has_value());
  const std::string both = state.ca_certificates();
  BOOST_TEST(both.starts_with(first));
  BOOST_TEST(count_cas(both, "").value() == 2u);
  BOOST_TEST(open_state(folder.path(), trusted).ca_certificates() == both);  // on disk
  const std::string second = both.substr(first.size());
  const auto issued = [&](WallTime time) {
    const auto made = state.issue_for({.common_name = "x"}, "test", time);
    return proxy::Credentials{made->certificate, made->private_key, first};
  };
  BOOST_TEST(check_credentials(issued(trusted), "", trusted).has_value());
  const WallTime handed = kStart + kCaLifetime * 5 / 6 + kDay;
  proxy::Credentials late = issued(handed);
  BOOST_TEST(!check_credentials(late, "", handed).has_value());
  late.ca = second;
  BOOST_TEST(check_credentials(late, "", handed).has_value());
  const WallTime over = kStart + kCaLifetime + kDay;
  BOOST_REQUIRE(state.rotate_ca(over).has_value());
  BOOST_TEST(state.ca_certificates() == second);
  BOOST_TEST(open_state(folder.path(), over).ca_certificates() == second);
}

BOOST_AUTO_TEST_CASE(a_site_that_slept_over_the_change_of_its_ca_starts) {
  const test::TemporaryFolder folder;
  open_state(folder.path(), kStart);
  open_state(folder.path(), kStart + kCaLifetime - kDay);  // makes the successor
  const auto state = open_state(folder.path(), kStart + kCaLifetime + kDay);
  BOOST_TEST(count_cas(state.ca_certificates(), "").value() == 1u);
}

BOOST_AUTO_TEST_CASE(own_certificates_go_over_to_the_successor) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path(), kStart);
  const WallTime before = kStart + kCaLifetime * 5 / 6 - kDay;
  BOOST_REQUIRE(state.rotate_ca(before).has_value());
  const auto old = state.server_credentials("istmo-site-server", {"127.0.0.1"}, before);
  BOOST_TEST(bool(*state.server_credentials("istmo-site-server", {"127.0.0.1"}, before) == *old));
  const auto fresh =
      state.server_credentials("istmo-site-server", {"127.0.0.1"}, before + 2 * kDay);
  BOOST_TEST(fresh->certificate != old->certificate);
  BOOST_TEST(fresh->ca == old->ca);
  BOOST_TEST(check_credentials(*fresh, "", before + 2 * kDay).has_value());
}

BOOST_AUTO_TEST_CASE(a_certificate_of_a_token_is_renewed_over_its_link) {
  Pair pair(kStart);
  pair.round();
  const proxy::Credentials first = pair.held();
  pair.now = kStart + kCaLifetime / 2;
  for (int i = 0; i < 4; ++i) pair.round();
  BOOST_TEST(bool(pair.held() == first));  // there is time
  pair.now = kStart + kCaLifetime * 3 / 4;
  BOOST_REQUIRE(pair.issuer.rotate_ca(pair.now).has_value());
  for (int i = 0; i < 4; ++i) pair.round();
  const proxy::Credentials second = pair.held();
  BOOST_TEST(second.certificate != first.certificate);
  BOOST_TEST(second.private_key != first.private_key);
  BOOST_TEST(second.ca == pair.issuer.ca_certificates());
  BOOST_TEST(check_credentials(second, "", pair.now).has_value());
  const auto info = inspect_certificate(second.certificate, "").value();
  BOOST_TEST(info.site_id == pair.holder.site_id());
  BOOST_TEST(pair.issuer.issued().size() == 2u);
  BOOST_TEST(pair.holder.renewals().at("t").pending.request.empty());
  // The author puts another certificate in its place: that one acts.
  pair.written.secrets.at("t").data["tls.crt"] = "another";
  pair.round();
  BOOST_TEST(pair.held().certificate == "another");
  BOOST_TEST(pair.holder.renewals().at("t").replaces_sha256 == sha256_hex("another"));
}

// In a cluster it is asked for when the Link has been read.
BOOST_AUTO_TEST_CASE(
    what_was_renewed_outlives_a_secret_that_was_not_read_yet_and_ends_with_its_link) {
  Pair pair(kStart);
  pair.now = kStart + kCaLifetime * 3 / 4;
  for (int i = 0; i < 3; ++i) pair.round();
  BOOST_REQUIRE(pair.holder.renewals().contains("t"));
  Desired unread = pair.written;
  unread.secrets.clear();
  pair.of_holder.update(unread, {}, {}, pair.now);
  BOOST_TEST(pair.holder.renewals().contains("t"));
  Desired nothing;
  pair.of_holder.update(nothing, {}, {}, pair.now);
  BOOST_TEST(!pair.holder.renewals().contains("t"));
}

BOOST_AUTO_TEST_CASE(the_key_that_waits_for_its_certificate_survives_a_restart) {
  Pair pair(kStart);
  pair.round();
  const proxy::Credentials first = pair.held();
  pair.now = kStart + kCaLifetime * 3 / 4;
  pair.round();  // asks
  const std::string request = pair.of_holder.trust_for(pair.issuer.site_id()).request;
  BOOST_TEST(!request.empty());
  pair.holder = open_state(pair.holder_folder.path(), pair.now);
  pair.of_issuer.emplace(pair.issuer);  // forgot what it answered
  for (int i = 0; i < 3; ++i) pair.round();
  BOOST_TEST(pair.issuer.issued().size() == 2u);
  BOOST_TEST(bool(pair.held() != first));
}

BOOST_AUTO_TEST_CASE(a_neighbour_that_asks_again_and_again_gets_one_certificate_in_ten_minutes) {
  Pair pair(kStart);
  CertificateRenewal renewal(pair.issuer);
  const LinkState link{
      .is_incoming = true, .site_id = pair.holder.site_id(), .connections_open = 1};
  RemoteSite site;
  site.state.site.id = pair.holder.site_id();
  Desired nothing;
  for (int i = 0; i < 5; ++i) {
    site.trust.request = make_signing_request()->request;
    renewal.update(nothing, {site}, {link}, kStart);
  }
  BOOST_TEST(pair.issuer.issued().size() == 2u);
  renewal.update(nothing, {site}, {link}, kStart + CertificateRenewal::kBetween);
  BOOST_TEST(pair.issuer.issued().size() == 3u);
}

BOOST_AUTO_TEST_CASE(who_did_not_link_here_gets_no_certificate) {
  Pair pair(kStart);
  CertificateRenewal renewal(pair.issuer);
  RemoteSite site;
  site.state.site.id = pair.holder.site_id();
  site.trust.request = make_signing_request()->request;
  Desired nothing;
  renewal.update(nothing, {site},
                 {{.link = "out", .site_id = site.state.site.id, .connections_open = 1}}, kStart);
  BOOST_TEST(pair.issuer.issued().size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_ca_that_did_not_sign_the_certificate_in_use_is_not_taken) {
  Pair pair(kStart);
  pair.round();
  const proxy::Credentials first = pair.held();
  RemoteSite site;
  site.state.site.id = pair.issuer.site_id();
  for (const std::string& ca : {make_ca("other", kStart)->certificate, first.certificate,
                                first.ca + first.certificate, std::string("nonsense")}) {
    site.trust.ca = ca;
    pair.desired = pair.written;
    pair.of_holder.update(pair.desired, {site},
                          {{.link = "t", .site_id = site.state.site.id, .connections_open = 1}},
                          kStart);
    BOOST_TEST(bool(pair.held() == first));
  }
}

BOOST_AUTO_TEST_SUITE_END()
