#include "control/grant_server.h"

#include <algorithm>

#include "control/document_text.h"
#include "grant_world.h"

using namespace istmo;
using namespace istmo::control;
using istmo::control::test::GrantWorld;
using istmo::control::test::RawClient;
using istmo::control::test::run_until;

namespace {

bool has(const std::string& text, std::string_view part) {
  BOOST_TEST_INFO(text);
  return text.find(part) != std::string::npos;
}

// Runs a program while the loop goes on; its exit code.
int run_beside(io::Loop& loop, const std::string& command) {
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  run_until(loop, [&] { return waitpid(child, &status, WNOHANG) == child; });
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(grant_server)

BOOST_AUTO_TEST_CASE(a_token_gives_secret_and_link_once) {
  GrantWorld world;
  auto token = world.token();
  token.link_cost = 7;
  const Redemption got = world.redeem(token).value();
  BOOST_TEST(got.secret.name() == "west-token");
  BOOST_TEST(got.secret.type == "kubernetes.io/tls");
  BOOST_TEST(got.secret.data.at("ca.crt") == world.state->ca_certificates());
  const auto info = inspect_certificate(got.secret.data.at("tls.crt"), "").value();
  BOOST_TEST(info.site_id == test::kRedeemingSite);
  BOOST_TEST((info.not_after > world.now + std::chrono::days(4 * 365)));
  BOOST_REQUIRE(got.links.size() == 1u);
  BOOST_TEST(got.links[0].cost == 7u);
  BOOST_TEST(got.links[0].tls_credentials == "west-token");
  BOOST_TEST(got.links[0].endpoints.at(0).host == "192.0.2.1");
  BOOST_TEST(got.links[0].endpoints.at(0).name == "inter-router");
  BOOST_TEST(got.links[0].endpoints.at(1).host == "2001:db8::1");
  BOOST_TEST(parse_documents(got.to_yaml(), "").documents.size() == 2u);
  BOOST_TEST(world.redemptions() == 1u);
  BOOST_TEST(world.redeemed_grants.size() == 1u);
  BOOST_TEST(world.state->issued().at(0).serial == info.serial);

  BOOST_TEST(world.redeem_error(token) ==
             "redemption refused: No such claim (token expired, used up or unknown); ask for a new "
             "token with `istmo token create`");
  BOOST_TEST(world.redemptions() == 1u);
}

BOOST_AUTO_TEST_CASE(wrong_code_is_refused_and_costs_nothing) {
  GrantWorld world;
  auto token = world.token();
  token.code = random_code();
  BOOST_TEST(has(world.redeem_error(token), "Redemption of access token refused"));
  token.code.clear();
  BOOST_TEST(has(world.redeem_error(token), "Redemption of access token refused"));
  BOOST_TEST(world.redemptions() == 0u);
  BOOST_TEST(world.redeem(world.token()).has_value());
}

BOOST_AUTO_TEST_CASE(an_expired_token_is_no_claim) {
  GrantWorld world;
  world.now += std::chrono::minutes(15) - std::chrono::seconds(1);
  BOOST_TEST(world.ask(world.request("wrong")) == 403);
  world.now += std::chrono::seconds(1);
  BOOST_TEST(has(world.redeem_error(world.token()), "No such claim"));
  BOOST_TEST(world.ask(world.request(world.grant.code)) == 404);
}

BOOST_AUTO_TEST_CASE(two_redeemers_of_one_last_use_have_one_winner) {
  GrantWorld world;
  test::ResultSink sinks[2];
  Redeemer first(*world.loop, sinks[0]);
  Redeemer second(*world.loop, sinks[1]);
  first.start(world.token(), test::kRedeemingSite, {}, nullptr);
  second.start(world.token(), test::kRedeemingSite, {}, nullptr);
  run_until(*world.loop, [&] { return sinks[0].has_result() && sinks[1].has_result(); });
  BOOST_TEST(sinks[0].result().has_value() + sinks[1].result().has_value() == 1);
  BOOST_TEST(world.redemptions() == 1u);
}

BOOST_AUTO_TEST_CASE(the_claim_is_on_disk_when_the_answer_arrives) {
  GrantWorld world;
  BOOST_TEST(world.redeem(world.token()).has_value());
  const auto again =
      SiteState::open({.runtime = world.folder.path(), .site_name = {}, .site_id = {}}, world.now);
  BOOST_TEST(again->find_grant(world.grant.uid)->redemptions() == 1u);
}

BOOST_AUTO_TEST_CASE(without_a_ledger_nothing_is_given) {
  GrantWorld world;
  std::filesystem::create_directories(world.folder.path() / "grants" /
                                      (world.grant.uid + ".json.new") / "x");
  BOOST_TEST(has(world.redeem_error(world.token()), "500"));
  BOOST_TEST(world.redeemed_grants.empty());
  std::filesystem::remove_all(world.folder.path() / "grants" / (world.grant.uid + ".json.new"));
  BOOST_TEST(world.redeem(world.token()).has_value());
}

BOOST_AUTO_TEST_CASE(the_old_code_of_an_edited_grant_is_wrong) {
  GrantWorld world;
  BOOST_TEST(world.state->put_grant({.name = "g", .code = "def"}, world.now).has_value());
  BOOST_TEST(world.ask(world.request(world.grant.code)) == 403);
  BOOST_TEST(world.ask(world.request("def")) == 200);
}

BOOST_AUTO_TEST_CASE(a_grant_whose_document_is_not_there_yet_is_kept_and_not_redeemed) {
  GrantWorld world;
  world.state.emplace(
      SiteState::open({.runtime = world.folder.path(), .site_name = {}, .site_id = {}}, world.now)
          .value());
  BOOST_TEST(world.ask(world.request("wrong")) == 403);
  BOOST_TEST(world.ask(world.request(world.grant.code)) == 503);
  BOOST_TEST(world.redemptions() == 0u);
  BOOST_TEST(world.state->put_grant({.name = "g", .code = {}}, world.now).has_value());
  BOOST_TEST(world.ask(world.request(world.grant.code)) == 200);
}

BOOST_AUTO_TEST_CASE(without_link_addresses_the_token_stays_good) {
  GrantWorld world;
  world.server->set_link_addresses({});
  BOOST_TEST(has(world.redeem_error(world.token()), "503"));
  world.server->set_link_addresses({{"192.0.2.1", 55671}});
  BOOST_TEST(world.redeem(world.token()).has_value());
}

BOOST_AUTO_TEST_CASE(a_site_cannot_redeem_its_own_token) {
  GrantWorld world;
  const auto result = world.redeem(world.token(), world.state->site_id());
  BOOST_REQUIRE(!result.has_value());
  BOOST_TEST(has(result.error().text(), "A site cannot link to itself"));
  BOOST_TEST(world.redemptions() == 0u);
}

BOOST_AUTO_TEST_CASE(a_server_of_another_ca_is_not_told_the_code) {
  GrantWorld world;
  auto token = world.token();
  token.ca = make_ca("other", world.now)->certificate;
  BOOST_TEST(has(world.redeem_error(token), "certificate not accepted"));
  BOOST_TEST(world.redemptions() == 0u);
}

BOOST_AUTO_TEST_CASE(a_server_whose_certificate_lacks_the_host_is_not_told_the_code) {
  GrantWorld world;
  const auto other = world.state->server_credentials(kGrantServerSecret, {"192.0.2.9"}, world.now);
  BOOST_TEST(world.server->set_certificate(*other).has_value());
  BOOST_TEST(has(world.redeem_error(world.token()), "certificate not accepted"));
  BOOST_TEST(world.redemptions() == 0u);
}

BOOST_AUTO_TEST_CASE(a_certificate_that_a_token_gave_cannot_stand_in_for_the_server) {
  GrantWorld world;
  const auto stolen = world.state->issue_for(
      {.common_name = "east", .hosts = {"127.0.0.1"}, .use = CertificateUse::client}, "test",
      world.now);
  BOOST_TEST(world.server->set_certificate(*stolen).has_value());
  BOOST_TEST(has(world.redeem_error(world.token()), "certificate not accepted"));
}

BOOST_AUTO_TEST_CASE(further_urls_are_tried_in_turn) {
  GrantWorld world;
  auto urls = world.urls({"127.0.0.3", "127.0.0.1"});  // nobody listens on the first
  const auto token = make_access_token("west-token", world.grant, urls,
                                       world.state->ca_certificates(), std::nullopt);
  BOOST_TEST(token.url == urls[0]);
  const auto read = parse_documents(write_document(token, Format::yaml), "token.yaml");
  const auto& same = std::get<AccessTokenDocument>(read.documents.at(0));
  BOOST_TEST(!read.has_errors());
  BOOST_TEST(world.redeem(same).has_value());
}

BOOST_AUTO_TEST_CASE(older_tls_is_refused_and_1_3_is_not) {
  GrantWorld world;
  const std::string client =
      "openssl s_client -connect 127.0.0.1:" + std::to_string(world.server->port()) +
      " </dev/null >/dev/null 2>&1 ";
  BOOST_TEST(run_beside(*world.loop, client + "-tls1_2") != 0);
  BOOST_TEST(run_beside(*world.loop, client + "-tls1_3") == 0);
}

BOOST_AUTO_TEST_CASE(requests_outside_the_rules_are_answered_and_bounded) {
  GrantWorld world({.failures = {.per_source_max = 100}});
  const std::string post = "POST /" + world.grant.uid + " HTTP/1.1\r\nHost: a\r\n";
  BOOST_TEST(world.ask("GET /" + world.grant.uid + " HTTP/1.1\r\nHost: a\r\n\r\n") == 405);
  BOOST_TEST(world.ask(post + "\r\n") == 411);
  BOOST_TEST(world.ask(post + "Content-Length: 2000\r\n\r\n" + std::string(2000, 'x')) == 413);
  BOOST_TEST(world.ask(post + "a: " + std::string(100'000, 'x')) == 431);
  BOOST_TEST(world.ask(post + "Content-Length: 1\r\n\r\nx") == 400);  // neither name nor subject
  BOOST_TEST(world.ask(post + "name: ../x\r\nsubject: s\r\nContent-Length: 1\r\n\r\nx") == 400);
  BOOST_TEST(world.ask(post + "name: t\r\nsubject: a b\r\nContent-Length: 1\r\n\r\nx") == 400);
  BOOST_TEST(world.ask(test::request_to("/nobody", "s", "x")) == 404);
  BOOST_TEST(world.redemptions() == 0u);
}

BOOST_AUTO_TEST_CASE(a_client_that_never_finishes_is_ended_at_the_deadline) {
  GrantWorld world({.deadline = Duration::milliseconds(200)});
  RawClient slow(*world.loop, world.server->port(), "POST /x HTTP/1.1\r\n");
  run_until(*world.loop, [&] { return slow.is_done(); });
  BOOST_TEST(slow.reply().empty());
  BOOST_TEST(world.server->metrics().timeouts.value() == 1u);
}

BOOST_AUTO_TEST_CASE(a_source_that_keeps_failing_is_limited_then_dropped) {
  GrantWorld world({.failures = {.per_source_max = 3}});
  for (int i = 0; i < 3; ++i) BOOST_TEST(world.ask(world.request("wrong")) == 403);
  for (int i = 0; i < 3; ++i) BOOST_TEST(world.ask(world.request(world.grant.code)) == 429);
  RawClient dropped(*world.loop, world.server->port(), world.request(world.grant.code));
  run_until(*world.loop, [&] { return dropped.is_done(); });
  BOOST_TEST(!dropped.was_opened());
  BOOST_TEST(world.redemptions() == 0u);
}

// With openssl, and with bash where openssl does it right.
BOOST_AUTO_TEST_CASE(handshakes_that_fail_count_as_failures) {
  GrantWorld world({.deadline = Duration::seconds(1), .failures = {.per_source_max = 3}});
  const std::string port = std::to_string(world.server->port());
  const auto failed = [&] { return world.server->metrics().handshakes_failed.value(); };
  const auto say = [&](const std::string& text) {
    run_beside(*world.loop, "bash -c 'exec 3<>/dev/tcp/127.0.0.1/" + port + "; printf \"" + text +
                                "\" >&3; cat <&3' >/dev/null 2>&1");
  };
  for (int i = 0; i < 9; ++i) {  // a look whether somebody listens
    run_beside(*world.loop, "bash -c 'exec 3<>/dev/tcp/127.0.0.1/" + port + "'");
  }
  BOOST_TEST(world.ask(world.request("wrong")) == 403);
  BOOST_TEST(failed() == 0u);
  run_beside(*world.loop,
             "openssl s_client -tls1_2 -connect 127.0.0.1:" + port + " </dev/null >/dev/null 2>&1");
  say("\\x16\\x03\\x01\\x02\\x00\\x01");  // and nothing more until the deadline
  run_until(*world.loop, [&] { return failed() == 2u; });
  BOOST_TEST(world.ask(world.request(world.grant.code)) == 429);
  say("GET / HTTP/1.1\\r\\n\\r\\n");
  run_until(*world.loop, [&] { return failed() == 3u; });
  say("GET / HTTP/1.1\\r\\n\\r\\n");
  run_until(*world.loop, [&] { return failed() == 4u; });  // six failures
  RawClient dropped(*world.loop, world.server->port(), world.request(world.grant.code));
  run_until(*world.loop, [&] { return dropped.is_done(); });
  BOOST_TEST(!dropped.was_opened());
  BOOST_TEST(failed() == 4u);
}

BOOST_AUTO_TEST_CASE(connections_are_bounded) {
  GrantWorld world({.connections_max = 2});
  const uint16_t port = world.server->port();
  RawClient first(*world.loop, port, "POST");
  RawClient second(*world.loop, port, "POST");
  run_until(*world.loop, [&] { return first.was_opened() && second.was_opened(); });
  RawClient third(*world.loop, port, "POST");
  run_until(*world.loop, [&] { return third.is_done(); });
  BOOST_TEST(!third.was_opened());
  BOOST_TEST(world.server->metrics().limited.value() == 1u);
  world.server->close();
  run_until(*world.loop, [&] { return first.is_done() && second.is_done(); });
}

BOOST_AUTO_TEST_CASE(who_is_there_when_the_port_closes_is_answered) {
  GrantWorld world;
  const std::string whole = world.request(world.grant.code);
  RawClient early(*world.loop, world.server->port(), whole.substr(0, whole.size() - 1));
  run_until(*world.loop, [&] { return early.was_opened(); });
  world.server->stop_accepting();
  RawClient late(*world.loop, world.server->port(), whole);
  run_until(*world.loop, [&] { return late.is_done(); });
  BOOST_TEST(!late.was_opened());
  BOOST_TEST(!early.is_done());
  early.send_more(whole.substr(whole.size() - 1));
  run_until(*world.loop, [&] { return early.is_done(); });
  BOOST_TEST(early.status() == 200);
  run_until(*world.loop, [&] { return world.server->is_idle(); });
}

BOOST_AUTO_TEST_CASE(the_next_free_port_is_taken) {
  GrantWorld world;
  struct Ignoring final : GrantServerSink {
    void on_grant_redeemed(const Grant&) override {}
  } sink;
  GrantServer second(*world.loop, *world.state, sink, {});
  BOOST_TEST(second.open({"127.0.0.1"}, world.server->port()).has_value());
  BOOST_TEST(second.port() > world.server->port());
  second.close();
  run_until(*world.loop, [&] { return second.is_idle(); });
  GrantServer nowhere(*world.loop, *world.state, sink, {});
  BOOST_TEST(!nowhere.open({"192.0.2.1"}, 9090).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
