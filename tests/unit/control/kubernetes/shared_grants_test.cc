// A grant server whose ledger is in Secrets, with clients on a real loop.
#include <functional>
#include <list>

#include "../grant_world.h"
#include "control/grant_server.h"
#include "control/site_access.h"
#include "state_world.h"

using namespace istmo;
using namespace istmo::control;
using istmo::control::test::RawClient;
using istmo::control::test::run_until;

namespace {

struct Nobody final : GrantServerSink {
  void on_grant_redeemed(const Grant&) override {}
};

struct NoAccess final : SiteAccessSink {
  void on_access_changed() override {}
};

// A site at a model of an API server, which is heard while `is_there`.
class SharedWorld {
 public:
  explicit SharedWorld(Duration claim_deadline) {
    replica.begin();
    replica.open();
    GrantServerOptions options;
    options.clock = [] { return test::kNow; };
    options.claim_deadline = claim_deadline;
    server.emplace(*loop, *replica.site, nobody_, std::move(options));
    BOOST_REQUIRE(server->open({"127.0.0.1"}, 0).has_value());
    BOOST_REQUIRE(server
                      ->set_certificate(*replica.site->server_credentials(
                          kGrantServerSecret, {"127.0.0.1"}, test::kNow))
                      .has_value());
    server->set_link_addresses({{"192.0.2.1", 55671}});
    grant = replica.site->put_grant({.name = "g", .code = {}}, test::kNow).value();
  }
  ~SharedWorld() {
    server->close();
    while (!server->is_idle()) loop->run_turn(Duration::milliseconds(10));
  }
  void until(const std::function<bool()>& condition) {
    run_until(*loop, [&] {
      if (is_there) replica.settle();
      return condition();
    });
  }
  int ask(const std::string& code) {
    RawClient client(*loop, server->port(),
                     test::request_to("/" + grant.uid, test::kRedeemingSite, code));
    until([&] { return client.is_done(); });
    return client.status();
  }
  uint32_t redemptions() const { return replica.site->find_grant(grant.uid)->redemptions(); }

  bool is_there = true;
  test::StateServer api;
  test::StateReplica replica{api, 1};
  std::unique_ptr<io::Loop> loop = test::make_test_loop();
  std::optional<GrantServer> server;
  Grant grant;

 private:
  Nobody nobody_;
};

constexpr Duration kSoon = Duration::milliseconds(50);
constexpr Duration kNever = Duration::seconds(1000);

}  // namespace

BOOST_AUTO_TEST_SUITE(shared_grants)

BOOST_AUTO_TEST_CASE(a_token_is_answered_when_its_claim_is_in_the_namespace) {
  SharedWorld world(kNever);
  world.replica.settle();
  RawClient client(*world.loop, world.server->port(),
                   test::request_to("/" + world.grant.uid, test::kRedeemingSite, world.grant.code));
  world.is_there = false;
  world.until([&] { return world.redemptions() == 1u; });
  for (int turn = 0; turn < 5; ++turn) world.loop->run_turn(Duration::milliseconds(1));
  BOOST_TEST(client.reply().empty());
  world.is_there = true;
  world.until([&] { return client.is_done(); });
  BOOST_TEST(client.status() == 200);
}

BOOST_AUTO_TEST_CASE(a_grant_that_is_not_written_yet_is_not_judged) {
  SharedWorld world(kNever);
  world.is_there = false;
  BOOST_TEST(world.ask(world.grant.code) == 503);
  BOOST_TEST(world.ask("wrong") == 503);
  world.is_there = true;
  world.replica.settle();
  BOOST_TEST(world.ask("wrong") == 403);
  BOOST_TEST(world.ask(world.grant.code) == 200);
}

BOOST_AUTO_TEST_CASE(a_claim_that_cannot_be_written_in_time_is_withdrawn_with_its_certificate) {
  SharedWorld world(kSoon);
  world.replica.settle();
  world.is_there = false;
  BOOST_TEST(world.ask(world.grant.code) == 503);
  BOOST_TEST(world.redemptions() == 0u);
  BOOST_TEST(world.replica.site->issued().empty());
  world.is_there = true;
  world.replica.settle();
  BOOST_TEST(world.ask(world.grant.code) == 200);
  BOOST_TEST(world.ask(world.grant.code) == 404);
}

BOOST_AUTO_TEST_CASE(a_claim_whose_client_has_left_is_withdrawn) {
  SharedWorld world(kNever);
  world.replica.settle();
  world.is_there = false;
  {
    RawClient client(
        *world.loop, world.server->port(),
        test::request_to("/" + world.grant.uid, test::kRedeemingSite, world.grant.code));
    world.until([&] { return world.redemptions() == 1u; });
    world.server->close();
    world.until([&] { return client.is_done(); });
  }
  BOOST_TEST(world.redemptions() == 0u);
}

// Of a document that this process has not heard of yet.
BOOST_AUTO_TEST_CASE(a_new_grant_that_another_process_made_is_not_removed) {
  test::StateServer api;
  test::StateReplica first(api, 1), second(api, 2);
  for (test::StateReplica* replica : {&first, &second}) {
    replica->begin();
    replica->open();
  }
  const Grant grant = first.site->put_grant({.name = "g", .code = {}}, test::kNow).value();
  first.settle();
  second.settle();
  const auto loop = test::make_test_loop();
  WallTime now = test::kNow;
  NoAccess sink;
  SiteAccess access(*loop, *second.site, sink,
                    {.ingress_hosts = {"127.0.0.1"}, .clock = [&] { return now; }});
  const auto update = [&] {
    Observed observed;
    access.update({}, observed);
    second.settle();
    first.settle();
    return first.site->find_grant(grant.uid) != nullptr;
  };
  BOOST_TEST(update());
  now += std::chrono::minutes(2);
  BOOST_TEST(!update());
}

BOOST_AUTO_TEST_SUITE_END()
