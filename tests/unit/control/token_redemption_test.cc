#include "control/token_redemption.h"

#include "grant_world.h"

using namespace istmo;
using namespace istmo::control;
using istmo::control::test::GrantWorld;
using istmo::control::test::run_until;

namespace {

constexpr TokenPauses kSoon{.first = Duration::milliseconds(10),
                            .longest = Duration::milliseconds(30),
                            .limited = Duration::milliseconds(10),
                            .write = Duration::milliseconds(10)};

// One more grant server of the issuing site, which may begin to listen late.
struct Door {
  explicit Door(GrantWorld& issuer_)
      : issuer(issuer_), server(*issuer.loop, *issuer.state, issuer, {}) {}
  ~Door() {
    server.close();
    run_until(*issuer.loop, [&] { return server.is_idle(); });
  }
  void open(uint16_t port) {
    BOOST_REQUIRE(server.open({"127.0.0.1"}, port).has_value());
    const auto credentials =
        issuer.state->server_credentials(kGrantServerSecret, {"127.0.0.1"}, issuer.now);
    BOOST_REQUIRE(server.set_certificate(*credentials).has_value());
  }
  GrantWorld& issuer;
  GrantServer server;
};

// A site with tokens of a GrantWorld, on the same loop: nothing happens outside of until().
class RedeemingWorld final : public TokenRedemptionSink {
 public:
  RedeemingWorld() { start(); }
  ~RedeemingWorld() { stop(); }

  void start() {
    state.emplace(
        SiteState::open({.runtime = folder.path(), .site_name = "east", .site_id = {}}, wall_now())
            .value());
    tokens.emplace(*issuer.loop, *state, *this, nullptr, kSoon);
    update();
  }
  void stop() {
    tokens->cancel();
    run_until(*issuer.loop, [&] { return tokens->is_idle(); });
    tokens.reset();
  }
  void update() { tokens->update(desired, observed); }
  void put(const std::string& name, uint16_t port, const std::string& code) {
    AccessTokenDocument token = issuer.token();
    token.metadata.name = name;
    token.metadata.annotations.clear();
    token.url = grant_urls({{"127.0.0.1", port}}, issuer.grant.uid).front();
    token.code = code;
    desired.put(token);
    update();
  }
  void put(const std::string& name) { put(name, issuer.server->port(), issuer.grant.code); }
  const TokenState& token(const std::string& name) const { return observed.tokens.at(name); }
  bool has_link(const std::string& name) const {
    Desired all;
    for (const auto& [token, documents] : tokens->given()) {
      for (const Document& document : documents) all.put(document);
    }
    return all.links.contains(name) && all.secrets.contains(name);
  }
  void until(const std::function<bool()>& condition) { run_until(*issuer.loop, condition); }
  std::filesystem::path in_links(const std::string& name) const {
    return folder.path() / "links" / name;
  }

  GrantWorld issuer;
  test::TemporaryFolder folder;
  std::optional<SiteState> state;
  std::optional<TokenRedemption> tokens;
  Desired desired;
  Observed observed;

 private:
  void on_tokens_changed() override { update(); }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(token_redemption)

BOOST_AUTO_TEST_CASE(a_token_is_redeemed_once_and_its_link_outlives_a_restart) {
  RedeemingWorld world;
  world.put("t");
  world.until([&] { return world.token("t").is_redeemed; });
  BOOST_TEST(world.has_link("t"));
  BOOST_TEST(!std::filesystem::exists(world.in_links("t.room")));
  world.stop();
  test::write_text(world.in_links("t.room"), "left by a crash");
  world.start();
  BOOST_TEST(!std::filesystem::exists(world.in_links("t.room")));
  BOOST_TEST(world.has_link("t"));
  BOOST_TEST(world.token("t").is_redeemed);
  BOOST_TEST(world.tokens->forget_link("t").has_value());
  BOOST_TEST(!world.has_link("t"));
  BOOST_TEST(world.token("t").is_redeemed);
  BOOST_TEST(world.issuer.redemptions() == 1u);
}

BOOST_AUTO_TEST_CASE(a_site_that_cannot_be_reached_is_tried_again) {
  RedeemingWorld world;
  Door late(world.issuer);
  // A port that was free a moment ago.
  io::Loop& loop = *world.issuer.loop;
  const io::Fd fd = loop.listen(io::Address::parse("127.0.0.1", 0).value(), {}).value();
  const uint16_t port = loop.local_address(fd)->port();
  loop.close(fd, io::Loop::Ending::orderly);
  world.put("t", port, world.issuer.grant.code);
  world.until([&] { return world.token("t").error.contains("Connection refused"); });
  late.open(port);
  late.server.set_link_addresses({{"192.0.2.1", 55671}});
  world.until([&] { return world.token("t").is_redeemed; });
  BOOST_TEST(world.token("t").error.empty());
}

BOOST_AUTO_TEST_CASE(a_site_that_cannot_give_now_is_asked_again_and_one_that_refuses_is_not) {
  RedeemingWorld world;
  Door busy(world.issuer);
  busy.open(0);  // has no link addresses: 503
  world.put("wrong", world.issuer.server->port(), "wrong");
  world.put("later", busy.server.port(), world.issuer.grant.code);
  world.until([&] { return busy.server.metrics().failed.value() == 3; });
  BOOST_TEST(world.token("later").error.contains("503"));
  BOOST_TEST(world.token("wrong").error.contains("the code is wrong"));
  BOOST_TEST(world.issuer.server->metrics().refused.value() == 1u);
  // The pause grew to its longest, half of it by chance.
  const Instant before = world.issuer.loop->now();
  world.until([&] { return busy.server.metrics().failed.value() == 4; });
  BOOST_TEST((world.issuer.loop->now() - before >= kSoon.longest / 2));
  world.put("wrong");  // a right code: another document
  world.until([&] { return world.token("wrong").is_redeemed; });
}

BOOST_AUTO_TEST_CASE(without_room_for_what_it_gives_a_token_is_not_used_up) {
  RedeemingWorld world;
  std::filesystem::create_directories(world.in_links("t.room.new") / "x");
  world.put("t");
  BOOST_TEST(world.token("t").error.contains("no room for what the token gives"));
  world.put("other");
  world.until([&] { return world.token("other").is_redeemed; });
  std::filesystem::remove_all(world.in_links("t.room.new"));
  world.until([&] { return world.token("t").error.contains("No such claim"); });
  BOOST_TEST(world.issuer.redemptions() == 1u);
}

BOOST_AUTO_TEST_CASE(what_a_token_gave_counts_before_it_can_be_written) {
  RedeemingWorld world;
  std::filesystem::create_directories(world.in_links("t.json.new") / "x");
  world.put("t");
  world.until([&] { return world.token("t").is_redeemed; });
  BOOST_TEST(world.has_link("t"));
  BOOST_TEST(!std::filesystem::exists(world.in_links("t.json")));
  std::filesystem::remove_all(world.in_links("t.json.new"));
  world.until([&] { return std::filesystem::exists(world.in_links("t.json")); });
  BOOST_TEST(world.has_link("t"));
  BOOST_TEST(world.issuer.redemptions() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
