// Certificate documents, and what the issuer makes of them over time and restarts.
#include "control/certificate_issuer.h"

#include <boost/test/unit_test.hpp>

#include "control_fixture.h"
#include "site_folder.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const WallTime kStart = wall_now();
constexpr std::chrono::seconds kDay = std::chrono::days(1);

// A site with its state on disk. look() is what a refresh of the controller does.
struct Site {
  Site() { restart(); }
  void restart() {
    issuer.reset();
    auto opened =
        SiteState::open({.runtime = folder.path(), .site_name = "west", .site_id = {}}, now);
    if (!opened) BOOST_FAIL(opened.error().text());
    state.emplace(std::move(*opened));
    issuer.emplace(*state);
  }
  const CertificateState& look(const std::string& documents, const std::string& name = "web") {
    BOOST_REQUIRE(state->rotate_ca(now).has_value());
    observed.credentials.clear();
    issuer->update(desired_from(documents), observed, now);
    return observed.certificates[name];
  }
  proxy::Credentials held(const std::string& name = "web") {
    const auto secrets = issuer->secrets();
    BOOST_REQUIRE(secrets.contains(name));
    BOOST_TEST(check_credentials(secrets.at(name), name, now).has_value());
    BOOST_TEST(bool(observed.credentials.at(name) == secrets.at(name)));
    return secrets.at(name);
  }

  test::TemporaryFolder folder;
  WallTime now = kStart;
  std::optional<SiteState> state;
  std::optional<CertificateIssuer> issuer;
  Observed observed;
};

const std::string kWeb = document("Certificate", "web",
                                  "{ca: istmo-site-ca, subject: web, hosts: [a, 192.0.2.1], "
                                  "server: true}");
const std::string kCa = document("Certificate", "root", "{subject: Root, signing: true}");
const std::string kLeaf = document("Certificate", "web", "{ca: root, subject: w, client: true}");

}  // namespace

BOOST_AUTO_TEST_SUITE(certificate_issuer)

BOOST_AUTO_TEST_CASE(a_certificate_of_the_sites_ca_has_the_names_that_it_asks_for) {
  Site site;
  const CertificateState state = site.look(kWeb);
  BOOST_TEST(state.error == "");
  const proxy::Credentials held = site.held();
  const auto info = inspect_certificate(held.certificate, "").value();
  BOOST_TEST(info.subject == "web");
  BOOST_TEST(names_hosts(held.certificate, {"a", "192.0.2.1"}));
  BOOST_TEST(info.site_id == "");
  BOOST_TEST(state.expiration == to_rfc3339(info.not_after));
  BOOST_TEST(held.ca == site.state->ca_certificates());
}

BOOST_AUTO_TEST_CASE(one_that_can_link_is_listed_as_issued_and_a_servers_is_not) {
  Site site;
  site.look(kWeb);
  BOOST_TEST(site.state->issued().empty());
  site.look(kWeb + document("Certificate", "leste", "{subject: leste, client: true}"), "leste");
  BOOST_REQUIRE(site.state->issued().size() == 1u);
  BOOST_TEST(site.state->issued()[0].subject == "leste");
  BOOST_TEST(site.state->issued()[0].reason == "certificate leste");
}

BOOST_AUTO_TEST_CASE(a_restart_and_a_further_look_keep_the_key) {
  Site site;
  site.look(kCa + kLeaf);
  const auto first = site.issuer->secrets();
  site.now += 30 * kDay;
  site.look(kLeaf + kCa);
  BOOST_TEST(bool(site.issuer->secrets() == first));
  site.restart();
  site.look(kCa + kLeaf);
  BOOST_TEST(bool(site.issuer->secrets() == first));
}

BOOST_AUTO_TEST_CASE(it_is_renewed_in_the_last_third_of_its_life) {
  Site site;
  site.look(kWeb);
  const proxy::Credentials first = site.held();
  site.now = kStart + kLeafLifetime * 2 / 3 - 2 * kDay;
  site.look(kWeb);
  BOOST_TEST(bool(site.held() == first));
  site.now = kStart + kLeafLifetime * 2 / 3 + 2 * kDay;
  const std::string expiration = site.look(kWeb).expiration;
  BOOST_TEST(site.held().private_key != first.private_key);
  BOOST_TEST(expiration == to_rfc3339(site.now + kLeafLifetime));
}

BOOST_AUTO_TEST_CASE(changed_hosts_subject_use_or_ca_are_issued_anew) {
  Site site;
  site.look(kCa + kWeb);
  std::string before = site.held().certificate;
  for (const char* spec : {"{ca: istmo-site-ca, subject: web, hosts: [b], server: true}",
                           "{ca: istmo-site-ca, subject: v, hosts: [b], server: true}",
                           "{ca: istmo-site-ca, subject: v, hosts: [b], client: true}",
                           "{ca: root, subject: v, hosts: [b], client: true}"}) {
    BOOST_TEST(site.look(kCa + document("Certificate", "web", spec)).error == "");
    const std::string after = site.held().certificate;
    BOOST_TEST(after != before);
    BOOST_TEST(names_hosts(after, {"b"}));
    before = after;
  }
}

BOOST_AUTO_TEST_CASE(a_signing_certificate_is_a_ca_and_its_renewal_leaves_what_it_signed_good) {
  Site site;
  site.look(kCa + kLeaf);
  const proxy::Credentials ca = site.held("root");
  const proxy::Credentials leaf = site.held();
  BOOST_TEST(inspect_certificate(ca.certificate, "").value().is_ca);
  BOOST_TEST(ca.ca == ca.certificate);
  BOOST_TEST(leaf.ca == ca.certificate);
  BOOST_TEST(site.state->issued().empty());  // nobody gets in with it
  // What the CA signs in the meantime is not due when the CA is.
  site.now = kStart + kCaLifetime / 2;
  const std::string late = document("Certificate", "late", "{ca: root, subject: l, client: true}");
  site.look(kCa + kLeaf + late);
  const proxy::Credentials signed_late = site.held("late");
  site.now = kStart + kCaLifetime * 2 / 3 + kDay;
  site.look(kCa + kLeaf + late);
  const proxy::Credentials renewed = site.held("root");
  BOOST_TEST(renewed.certificate != ca.certificate);
  BOOST_TEST(renewed.private_key == ca.private_key);
  BOOST_TEST(site.held("late").certificate == signed_late.certificate);
  BOOST_TEST(site.held("late").ca == renewed.certificate);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_issued_is_an_error_with_the_field_and_what_was_there_stays) {
  Site site;
  site.look(kWeb);
  const proxy::Credentials first = site.held();
  const auto error_of = [&](const char* spec) {
    return site.look(kWeb + document("Certificate", "bad", spec), "bad").error;
  };
  BOOST_TEST(error_of("{ca: nobody, subject: x}").starts_with("spec.ca: there is no CA 'nobody'"));
  BOOST_TEST(error_of("{ca: web, subject: x}") == "spec.ca: Certificate 'web' is none that signs");
  BOOST_TEST(error_of("{subject: x, hosts: [\"a b\"]}") ==
             "spec.hosts: 'a b' is neither a host name nor an address");
  BOOST_TEST(!site.issuer->secrets().contains("bad"));
  BOOST_TEST(site.look(document("Certificate", "web", "{ca: nobody, subject: x}")).error != "");
  BOOST_TEST(bool(site.held() == first));
}

BOOST_AUTO_TEST_CASE(a_secret_of_the_author_acts_and_nothing_is_issued) {
  Site site;
  const std::string secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\n---\n";
  BOOST_TEST(site.look(kWeb + secret).error.contains("there is a Secret 'web' already"));
  BOOST_TEST(site.issuer->secrets().empty());
}

BOOST_AUTO_TEST_CASE(who_does_not_act_for_the_site_issues_and_removes_nothing) {
  Site site;
  site.observed.acts_for_site = false;
  BOOST_TEST(site.look(kWeb).expiration == "");
  BOOST_TEST(site.issuer->secrets().empty());
  site.observed.acts_for_site = true;
  site.look(kWeb);
  const proxy::Credentials first = site.held();
  site.observed.acts_for_site = false;
  site.look("");
  BOOST_TEST(bool(site.held() == first));
}

BOOST_AUTO_TEST_CASE(it_goes_with_its_document_but_not_with_one_that_could_not_be_read) {
  Site site;
  site.look(kWeb);
  const proxy::Credentials first = site.held();
  site.restart();
  site.observed.unread.has_unknown = true;
  site.look("");
  BOOST_TEST(bool(site.held() == first));
  site.observed.unread.has_unknown = false;
  site.look(kWeb);
  BOOST_TEST(bool(site.held() == first));
  site.look("");
  BOOST_TEST(site.issuer->secrets().empty());
  site.restart();
  BOOST_TEST(site.state->certificates().empty());
}

BOOST_AUTO_TEST_SUITE_END()
