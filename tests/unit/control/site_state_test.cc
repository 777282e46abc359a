#include "control/site_state.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>

#include "control/private_file.h"
#include "site_folder.h"

using namespace istmo;
using namespace istmo::control;
namespace fs = std::filesystem;

namespace {

const WallTime kNow = wall_now();

SiteState open_state(const fs::path& folder) {
  auto state = SiteState::open({.runtime = folder, .site_name = "west", .site_id = {}}, kNow);
  if (!state) BOOST_FAIL(state.error().text());
  return std::move(*state);
}

std::string open_error(const fs::path& folder) {
  const auto state = SiteState::open({.runtime = folder, .site_name = "west", .site_id = {}}, kNow);
  return state ? std::string() : state.error().text();
}

Claim claim_number(int number) {
  return {.name = "token", .subject = "site", .serial = std::to_string(number), .time = kNow};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(site_state)

BOOST_AUTO_TEST_CASE(everything_survives_a_restart) {
  const test::TemporaryFolder folder;
  std::string id, ca, uid, code, certificate;
  {
    SiteState state = open_state(folder.path());
    id = state.site_id();
    ca = state.ca_certificates();
    const Grant grant = state.put_grant({.name = "g", .code = {}}, kNow).value();
    uid = grant.uid;
    code = grant.code;
    BOOST_TEST(state.record_claim(uid, claim_number(1)).has_value());
    BOOST_TEST(state.set_port("grant", 9091).has_value());
    certificate = state.server_credentials("istmo-site-server", {"127.0.0.1"}, kNow)->certificate;
    BOOST_TEST(state
                   .issue_for({.common_name = "east", .hosts = {}, .site_id = "east-id"},
                              "link generate", kNow)
                   .has_value());
    BOOST_TEST(state
                   .put_redeemed({.name = "t",
                                  .url = "https://a:1/b",
                                  .code_sha256 = "00",
                                  .documents = "kind: Link\n---\n",
                                  .time = kNow})
                   .has_value());
  }
  SiteState state = open_state(folder.path());
  BOOST_TEST(is_uuid(id));
  BOOST_TEST(state.site_id() == id);
  BOOST_TEST(state.ca_certificates() == ca);
  BOOST_TEST(state.find_grant(uid)->redemptions() == 1u);
  BOOST_TEST(state.find_grant(uid)->claims[0].subject == "site");
  BOOST_TEST(!state.find_grant(uid)->is_open(kNow));
  BOOST_TEST(state.find_grant_by_name("g")->code == code);
  BOOST_TEST(state.port("grant").value() == 9091);
  BOOST_TEST(state.server_credentials("istmo-site-server", {"127.0.0.1"}, kNow)->certificate ==
             certificate);
  BOOST_TEST(state.issued().at(0).subject == "east-id");
  BOOST_TEST(state.redeemed().at("t").documents == "kind: Link\n---\n");
}

BOOST_AUTO_TEST_CASE(a_restart_gives_a_grant_no_second_life) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const Grant first = state.put_grant({.name = "g", .code = {}}, kNow).value();
  BOOST_TEST(state.record_claim(first.uid, claim_number(1)).has_value());
  const WallTime later = kNow + std::chrono::hours(1);
  const Grant again = state.put_grant({.name = "g", .code = {}}, later).value();
  BOOST_TEST(again.uid == first.uid);
  BOOST_TEST((again.expires == first.expires));
  BOOST_TEST(again.redemptions() == 1u);
  const Grant more =
      state.put_grant({.name = "g", .code = {}, .redemptions_allowed = 3}, later).value();
  BOOST_TEST(more.redemptions_allowed == 3u);
  BOOST_TEST(more.redemptions() == 1u);
  BOOST_TEST(open_state(folder.path()).find_grant(first.uid)->redemptions() == 1u);
}

BOOST_AUTO_TEST_CASE(an_edited_grant_takes_over_fewer_redemptions_and_another_code) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const auto put = [&](const std::string& code, uint32_t allowed) {
    return state.put_grant({.name = "g", .code = code, .redemptions_allowed = allowed}, kNow);
  };
  const Grant first = put("abc", 5).value();
  BOOST_TEST(state.record_claim(first.uid, claim_number(1)).has_value());
  const Grant edited = put("def", 1).value();
  BOOST_TEST(edited.uid == first.uid);
  BOOST_TEST(edited.code == "def");
  BOOST_TEST(!edited.is_open(kNow));
  BOOST_TEST(open_state(folder.path()).find_grant(first.uid)->code == "def");
  BOOST_TEST(open_state(folder.path()).find_grant(first.uid)->redemptions() == 1u);
  // Whoever takes the code out of the document wants another one; once.
  const Grant random = put("", 1).value();
  BOOST_TEST(random.code.size() == random_code().size());
  BOOST_TEST(put("", 1)->code == random.code);
  BOOST_TEST(put("", 1)->code == open_state(folder.path()).find_grant(first.uid)->code);
}

BOOST_AUTO_TEST_CASE(an_edited_window_begins_when_the_grant_was_made) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const auto put = [&](std::chrono::minutes window, WallTime now) {
    return state.put_grant({.name = "g", .code = {}, .expiration_window = window}, now).value();
  };
  const Grant first = put(std::chrono::minutes(10), kNow);
  const WallTime later = kNow + std::chrono::minutes(5);
  BOOST_TEST((put(std::chrono::minutes(60), later).expires == kNow + std::chrono::minutes(60)));
  const auto on_disk = [&] { return open_state(folder.path()).find_grant(first.uid)->expires; };
  BOOST_TEST((on_disk() == kNow + std::chrono::minutes(60)));
  BOOST_TEST(!put(std::chrono::minutes(4), later).is_open(later));
  BOOST_TEST((on_disk() == kNow + std::chrono::minutes(4)));
  state = open_state(folder.path());
  BOOST_TEST(put(std::chrono::minutes(6), later).is_open(later));
}

BOOST_AUTO_TEST_CASE(a_grant_of_an_earlier_version_ends_when_it_was_to_end) {
  const test::TemporaryFolder folder;
  const Grant grant = open_state(folder.path()).put_grant({.name = "g", .code = {}}, kNow).value();
  const fs::path file = folder.path() / "grants" / (grant.uid + ".json");
  std::string text = test::read_text(file);
  const size_t line = text.find("\"created\"");
  text.erase(line, text.find('\n', line) + 1 - line);
  test::write_text(file, text);
  SiteState state = open_state(folder.path());
  BOOST_TEST(!state.find_grant(grant.uid)->created.has_value());
  BOOST_TEST((state.put_grant({.name = "g", .code = {}}, kNow)->expires == grant.expires));
  BOOST_TEST(open_state(folder.path()).find_grant(grant.uid)->created.has_value());
}

BOOST_AUTO_TEST_CASE(an_edit_that_cannot_be_written_changes_nothing) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const Grant grant = state.put_grant({.name = "g", .code = "abc"}, kNow).value();
  fs::create_directories(folder.path() / "grants" / (grant.uid + ".json.new") / "x");
  BOOST_TEST(!state.put_grant({.name = "g", .code = "def"}, kNow).has_value());
  BOOST_TEST(state.find_grant(grant.uid)->code == "abc");
}

BOOST_AUTO_TEST_CASE(files_are_private) {
  const test::TemporaryFolder folder;
  const mode_t mask = umask(0);
  SiteState state = open_state(folder.path() / "runtime");
  const Grant grant = state.put_grant({.name = "g", .code = {}}, kNow).value();
  BOOST_TEST(state.server_credentials("istmo-site-server", {"a"}, kNow).has_value());
  umask(mask);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "runtime")) {
    struct stat status;
    BOOST_REQUIRE(stat(entry.path().c_str(), &status) == 0);
    BOOST_TEST((status.st_mode & 0777) == (entry.is_directory() ? 0700u : 0600u));
    files += entry.is_regular_file();
  }
  BOOST_TEST(files == 4);  // site, CA, certificate, grant; no temporary file is left
}

BOOST_AUTO_TEST_CASE(server_certificate_is_renewed_for_new_hosts_and_with_age_under_the_same_ca) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const auto first = state.server_credentials("s", {"127.0.0.1"}, kNow).value();
  const auto moved = state.server_credentials("s", {"127.0.0.1", "192.0.2.1"}, kNow).value();
  BOOST_TEST(moved.certificate != first.certificate);
  const WallTime old = kNow + std::chrono::days(300);
  const auto renewed = state.server_credentials("s", {"127.0.0.1"}, old).value();
  BOOST_TEST(renewed.certificate != moved.certificate);
  BOOST_TEST(check_credentials(renewed, "", old).has_value());
  BOOST_TEST(renewed.ca == first.ca);
}

BOOST_AUTO_TEST_CASE(damaged_files_are_errors_with_their_names_and_stay_as_they_are) {
  const test::TemporaryFolder folder;
  std::string uid;
  {
    SiteState state = open_state(folder.path());
    uid = state.put_grant({.name = "g", .code = {}}, kNow)->uid;
    BOOST_TEST(
        state.issue_for({.common_name = "east", .hosts = {}}, "link generate", kNow).has_value());
  }
  const std::vector<fs::path> files{folder.path() / "site.json",
                                    folder.path() / "issuers/istmo-site-ca.pem",
                                    folder.path() / "grants" / (uid + ".json")};
  for (const fs::path& file : files) {
    const std::string good = test::read_text(file);
    for (const std::string& bad : {std::string(), good.substr(0, good.size() / 2),
                                   std::string("{}"), std::string("\0\0\0", 3)}) {
      test::write_text(file, bad);
      BOOST_TEST(open_error(folder.path()).find(file.string()) != std::string::npos);
      BOOST_TEST(test::read_text(file) == bad);
    }
    test::write_text(file, good);
    BOOST_TEST(open_error(folder.path()).empty());
  }
  for (const fs::path& file : {files[0], files[1]}) {
    const std::string good = test::read_text(file);
    fs::remove(file);
    BOOST_TEST(open_error(folder.path()).find("lost") != std::string::npos);
    BOOST_TEST(!fs::exists(file));
    test::write_text(file, good);
  }
}

BOOST_AUTO_TEST_CASE(claims_that_were_answered_survive_a_kill_at_any_moment) {
  // A child redeems as fast as it can and tells each claim through a pipe when record_claim has
  // returned; it is killed at moments that shift from round to round.
  const test::TemporaryFolder folder;
  const Grant grant =
      open_state(folder.path())
          .put_grant({.name = "g", .code = {}, .redemptions_allowed = 1000000}, kNow)
          .value();
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    BOOST_REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
      SiteState state = open_state(folder.path());
      while (state.record_claim(grant.uid, claim_number(round))) {
        const auto count = state.find_grant(grant.uid)->redemptions();
        if (write(ends[1], &count, sizeof count) != sizeof count) break;
      }
      _exit(1);
    }
    close(ends[1]);
    uint32_t answered = 0;
    for (int i = 0; i <= round; ++i) {
      BOOST_REQUIRE(read(ends[0], &answered, sizeof answered) == sizeof answered);
    }
    kill(child, SIGKILL);
    while (read(ends[0], &answered, sizeof answered) == sizeof answered) continue;
    close(ends[0]);
    waitpid(child, nullptr, 0);
    const SiteState state = open_state(folder.path());
    BOOST_TEST(state.find_grant(grant.uid)->redemptions() >= answered);
    BOOST_TEST(state.find_grant(grant.uid)->redemptions() <= answered + 1);
  }
}

BOOST_AUTO_TEST_CASE(a_claim_that_is_not_on_disk_does_not_count) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const Grant grant = state.put_grant({.name = "g", .code = {}}, kNow).value();
  // What the new file would be called is a folder that is not empty (works as root too).
  const fs::path in_the_way = folder.path() / "grants" / (grant.uid + ".json.new");
  fs::create_directories(in_the_way / "x");
  const auto recorded = state.record_claim(grant.uid, claim_number(1));
  BOOST_TEST(!recorded.has_value());
  BOOST_TEST(recorded.error().text().find(in_the_way.string()) != std::string::npos);
  BOOST_TEST(state.find_grant(grant.uid)->is_open(kNow));
  fs::remove_all(in_the_way);
  BOOST_TEST(open_state(folder.path()).find_grant(grant.uid)->redemptions() == 0u);
  BOOST_TEST(state.record_claim(grant.uid, claim_number(1)).has_value());
  BOOST_TEST(open_state(folder.path()).find_grant(grant.uid)->redemptions() == 1u);
}

BOOST_AUTO_TEST_CASE(a_claim_of_which_nobody_knows_whether_it_is_on_disk_counts) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const Grant grant = state.put_grant({.name = "g", .code = {}}, kNow).value();
  const fs::path ledger = folder.path() / "grants" / (grant.uid + ".json");
  fs::remove(ledger);
  fs::create_directories(ledger / "x");  // can be neither replaced nor read
  BOOST_TEST(!state.record_claim(grant.uid, claim_number(1)).has_value());
  BOOST_TEST(!state.find_grant(grant.uid)->is_open(kNow));
}

BOOST_AUTO_TEST_CASE(names_given_with_tokens_are_kept_each_once) {
  const test::TemporaryFolder folder;
  {
    SiteState state = open_state(folder.path());
    BOOST_TEST(state.ingress_hosts().empty());
    BOOST_TEST(state.add_ingress_hosts({"west.example", "192.0.2.1"}).has_value());
    BOOST_TEST(state.add_ingress_hosts({"192.0.2.1", "w.example", "w.example"}).has_value());
  }
  SiteState state = open_state(folder.path());
  BOOST_TEST(
      state.ingress_hosts() == (std::vector<std::string>{"west.example", "192.0.2.1", "w.example"}),
      boost::test_tools::per_element());
  fs::create_directories(folder.path() / "site.json.new" / "x");
  BOOST_TEST(!state.add_ingress_hosts({"more.example"}).has_value());
  BOOST_TEST(state.ingress_hosts().size() == 3u);
  fs::remove_all(folder.path() / "site.json.new");
  std::vector<std::string> many;
  for (size_t i = 0; i < SiteState::kIngressHostsMax; ++i) many.push_back(std::to_string(i));
  BOOST_TEST(state.add_ingress_hosts(many).error().text().contains("west.example"));
  BOOST_TEST(state.ingress_hosts().size() == 3u);
}

BOOST_AUTO_TEST_CASE(ports_that_an_earlier_version_wrote_with_the_site_are_kept) {
  const test::TemporaryFolder folder;
  test::write_text(folder.path() / "site.json",
                   R"({"version":1,"id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","ports":)"
                   R"({"grant":9093},"ingressHosts":[]})");
  BOOST_TEST(open_state(folder.path()).port("grant").value() == 9093);
  SiteState state = open_state(folder.path());
  BOOST_TEST(state.add_ingress_hosts({"west.example"}).has_value());  // writes the site anew
  BOOST_TEST(open_state(folder.path()).port("grant").value() == 9093);
  test::write_text(folder.path() / "ports.json", R"({"version":1,"ports":{"grant":0}})");
  BOOST_TEST(open_error(folder.path()).contains("ports.json: damaged: 'grant'"));
}

BOOST_AUTO_TEST_CASE(what_a_succession_of_the_ca_left_is_removed_at_the_next_start) {
  const test::TemporaryFolder folder;
  const std::string ca = open_state(folder.path()).ca_certificates();
  const fs::path issuers = folder.path() / "issuers";
  fs::copy_file(issuers / "istmo-site-ca.pem", issuers / "istmo-site-ca-next.pem");
  BOOST_TEST(open_state(folder.path()).ca_certificates() == ca);
  BOOST_TEST(!fs::exists(issuers / "istmo-site-ca-next.pem"));
}

BOOST_AUTO_TEST_CASE(a_grant_says_why_it_is_closed) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  const Grant grant =
      state.put_grant({.name = "g", .code = {}, .redemptions_allowed = 1}, kNow).value();
  BOOST_TEST(grant.why_closed(grant.expires - std::chrono::seconds(1)).empty());
  BOOST_TEST(grant.why_closed(grant.expires) == "expired at " + to_rfc3339(grant.expires));
  BOOST_TEST(state.record_claim(grant.uid, claim_number(1)).has_value());
  const Grant& used = *state.find_grant(grant.uid);
  BOOST_TEST(used.why_closed(kNow) == "used up: 1 of 1 redemptions");
  BOOST_TEST(used.why_closed(grant.expires) == "used up: 1 of 1 redemptions");
}

BOOST_AUTO_TEST_CASE(the_last_certificate_of_others_says_how_long_they_may_come) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  BOOST_TEST(!state.issued_until(kNow).has_value());
  for (const int days : {9, 3}) {
    BOOST_TEST(state
                   .issue_for({.common_name = "east", .lifetime = std::chrono::days(days)},
                              "link generate", kNow)
                   .has_value());
  }
  const WallTime last = state.issued_until(kNow).value();
  BOOST_TEST((last > kNow + std::chrono::days(8)));
  BOOST_TEST((state.issued_until(last - std::chrono::seconds(1)) == last));
  BOOST_TEST(!state.issued_until(last).has_value());
}

BOOST_AUTO_TEST_CASE(names_cannot_leave_the_folder) {
  const test::TemporaryFolder folder;
  SiteState state = open_state(folder.path());
  for (const char* name : {"../x", "a/b", "", ".."}) {
    BOOST_TEST(!state
                    .put_redeemed(
                        {.name = name, .url = {}, .code_sha256 = {}, .documents = {}, .time = kNow})
                    .has_value());
    BOOST_TEST(!state.server_credentials(name, {"127.0.0.1"}, kNow).has_value());
  }
}

BOOST_AUTO_TEST_SUITE_END()
