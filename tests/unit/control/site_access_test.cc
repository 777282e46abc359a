#include "control/site_access.h"

#include <sys/socket.h>

#include <algorithm>
#include <filesystem>

#include "control/compile.h"
#include "grant_world.h"

using namespace istmo;
using namespace istmo::control;
using istmo::control::test::run_until;

namespace {

// A site that lets others in, over restarts.
class AccessWorld final : public SiteAccessSink {
 public:
  AccessWorld() { start(); }
  ~AccessWorld() { stop(); }

  void start() {
    state.emplace(
        SiteState::open({.runtime = folder.path(), .site_name = "west", .site_id = {}}, wall_now())
            .value());
    access.emplace(
        *loop, *state, *this,
        SiteAccessOptions{.ingress_hosts = {"127.0.0.1"}, .clock = [this] { return now; }});
  }
  void stop() {
    access->close();
    run_until(*loop, [&] { return access->is_idle(); });
    access.reset();
  }
  void restart() {
    stop();
    start();
  }
  void update() {
    is_dirty = false;
    access->update(desired, observed);
  }
  void put_grant(const std::string& name, uint32_t redemptions_allowed = 1) {
    AccessGrantDocument grant;
    grant.metadata.name = name;
    grant.redemptions_allowed = redemptions_allowed;
    desired.put(grant);
    update();
  }
  // As a site that gets the token does it; this one is updated meanwhile as a controller does.
  Result<Redemption> redeem(const std::string& grant) {
    const auto token = std::get<AccessTokenDocument>(access->make_token(grant, {}).value());
    test::ResultSink sink;
    Redeemer redeemer(*loop, sink);
    redeemer.start(token, test::kRedeemingSite, {}, nullptr);
    run_until(*loop, [&] {
      if (is_dirty) update();
      return sink.has_result();
    });
    return std::move(sink.result());
  }
  uint16_t grant_port() const { return state->port("grant").value(); }
  // By this process: ports of other processes are theirs.
  bool is_grant_port_open() {
    loop->run_turn(Duration::milliseconds(1));  // a socket that was closed is gone after a turn
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      const int fd = std::stoi(entry.path().filename());
      int is_listening = 0;
      socklen_t size = sizeof is_listening;
      if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) != 0) continue;
      sockaddr_storage bound{};
      size = sizeof bound;
      if (is_listening == 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
        continue;
      }
      const auto address =
          io::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&bound), size);
      if (address.port() == grant_port()) return true;
    }
    return false;
  }
  const GrantState& grant(const std::string& name) const { return observed.grants.at(name); }
  uint16_t link_port() const { return observed.access_ports.at(kImpliedAccess); }
  bool has_ledger(const std::string& name) const { return state->find_grant_by_name(name); }

  WallTime now = wall_now();
  bool is_dirty = false;
  test::TemporaryFolder folder;
  std::unique_ptr<io::Loop> loop = test::make_test_loop();
  std::optional<SiteState> state;
  std::optional<SiteAccess> access;
  Desired desired;
  Observed observed;

 private:
  void on_access_changed() override { is_dirty = true; }
};

// Somebody else, who listens on a port of every address.
class Neighbour {
 public:
  Neighbour(io::Loop& loop, uint16_t port)
      : loop_(loop),
        fd_(loop.listen(io::Address::parse("0.0.0.0", port).value(), {.reuse_port = false})
                .value()) {}
  ~Neighbour() { loop_.close(fd_, io::Loop::Ending::orderly); }

 private:
  io::Loop& loop_;
  io::Fd fd_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(site_access)

BOOST_AUTO_TEST_CASE(the_ledger_goes_with_its_document) {
  AccessWorld world;
  world.put_grant("g");
  BOOST_TEST(world.has_ledger("g"));
  BOOST_TEST(world.observed.grants.at("g").url.starts_with("https://127.0.0.1:"));
  world.desired = {};
  world.observed.unread.has_unknown = true;  // of other documents: this one was read
  world.update();
  BOOST_TEST(!world.has_ledger("g"));
}

BOOST_AUTO_TEST_CASE(the_ledger_outlives_a_start_at_which_its_document_cannot_be_read) {
  AccessWorld world;
  world.put_grant("g");
  const std::string url = world.observed.grants.at("g").url;
  world.desired = {};
  world.restart();
  world.observed.unread.has_unknown = true;
  world.update();
  BOOST_TEST(world.has_ledger("g"));
  BOOST_TEST(!world.access->make_token("g", {}).has_value());

  world.restart();
  world.observed.unread = {.has_unknown = false, .invalid = {{"AccessGrant", "g"}}};
  world.update();
  BOOST_TEST(world.has_ledger("g"));
  world.put_grant("g");
  BOOST_TEST(world.observed.grants.at("g").url == url);
  BOOST_TEST(world.access->make_token("g", {}).has_value());

  world.desired = {};
  world.restart();
  world.observed.unread = {};
  world.update();
  BOOST_TEST(!world.has_ledger("g"));
}

BOOST_AUTO_TEST_CASE(ports_are_open_until_the_grant_expires) {
  AccessWorld world;
  world.update();
  BOOST_TEST(!world.observed.is_link_access_asked);
  BOOST_TEST(!world.access->next_end().has_value());
  world.put_grant("g");
  BOOST_TEST(world.is_grant_port_open());
  BOOST_TEST(world.observed.is_link_access_asked);
  const WallTime end = world.access->next_end().value();
  BOOST_TEST((end == world.now + std::chrono::minutes(15)));
  world.now = end - std::chrono::seconds(1);
  world.update();
  BOOST_TEST(world.is_grant_port_open());
  world.now = end;
  world.update();
  BOOST_TEST(world.grant("g").ended == "expired at " + to_rfc3339(end));
  BOOST_TEST(world.grant("g").url.empty());
  BOOST_TEST(!world.is_grant_port_open());
  BOOST_TEST(!world.observed.is_link_access_asked);
  BOOST_TEST(world.observed.endpoints.empty());
  BOOST_TEST(!world.access->next_end().has_value());
  BOOST_TEST(world.access->make_token("g", {}).error().text().contains("expired at"));
  // It opens again where it was.
  const uint16_t port = world.grant_port();
  world.put_grant("h");
  BOOST_TEST(world.grant_port() == port);
  BOOST_TEST(world.is_grant_port_open());
}

BOOST_AUTO_TEST_CASE(the_last_redemption_is_answered_and_closes_the_grant_port) {
  AccessWorld world;
  world.put_grant("g", 2);
  BOOST_TEST(world.redeem("g").has_value());
  BOOST_TEST(world.grant("g").ended.empty());
  BOOST_TEST(world.is_grant_port_open());
  BOOST_TEST(world.redeem("g").has_value());
  BOOST_TEST(world.grant("g").ended == "used up: 2 of 2 redemptions");
  BOOST_TEST(world.grant("g").redemptions == 2u);
  BOOST_TEST(!world.is_grant_port_open());
}

BOOST_AUTO_TEST_CASE(a_site_that_was_linked_can_come_back_as_long_as_its_certificate_is_valid) {
  AccessWorld world;
  world.put_grant("g");
  BOOST_TEST(world.redeem("g").has_value());
  world.desired = {};
  world.restart();
  world.update();
  BOOST_TEST(!world.has_ledger("g"));
  BOOST_TEST(world.observed.is_link_access_asked);
  BOOST_TEST(world.observed.endpoints.size() == 1u);
  const WallTime end = world.access->next_end().value();
  BOOST_TEST((end > world.now + kGivenLifetime - std::chrono::days(1)));
  world.now = end - std::chrono::seconds(1);
  world.update();
  BOOST_TEST(world.observed.is_link_access_asked);
  world.now = end;
  world.update();
  BOOST_TEST(!world.observed.is_link_access_asked);
  BOOST_TEST(world.observed.endpoints.empty());
}

BOOST_AUTO_TEST_CASE(a_name_given_with_a_token_is_carried_by_links_and_certificates_from_then_on) {
  AccessWorld world;
  world.put_grant("g");
  const auto carries = [&](const std::string& host) {
    return std::ranges::find(world.observed.endpoints, host, &AccessEndpoint::host) !=
               world.observed.endpoints.end() &&
           names_hosts(world.observed.credentials.at(kSiteServerSecret).certificate, {host});
  };
  const auto token =
      std::get<AccessTokenDocument>(world.access->make_token("g", {"west.example"}).value());
  BOOST_TEST(token_urls(token).size() == 1u);
  BOOST_TEST(token.url.starts_with("https://west.example:"));
  BOOST_TEST(world.is_dirty);
  BOOST_TEST(!carries("west.example"));
  world.update();
  BOOST_TEST(carries("west.example"));
  BOOST_TEST(world.access->make_token("g", {"west.example"}).has_value());
  BOOST_TEST(!world.is_dirty);  // nothing new

  const auto link = world.access->generate_link("l", {"a.example", "127.0.0.1"}, 1).value();
  const auto& endpoints = std::get<LinkDocument>(link.at(1)).endpoints;
  BOOST_TEST(endpoints.size() == 2u);
  BOOST_TEST(endpoints.at(0).host == "a.example");
  world.restart();
  world.update();
  for (const char* host : {"west.example", "a.example", "127.0.0.1"}) BOOST_TEST(carries(host));
  const auto grant_server = world.state->server_credentials(kGrantServerSecret, {}, world.now);
  BOOST_TEST(names_hosts(grant_server->certificate, {"west.example", "127.0.0.1"}));
}

BOOST_AUTO_TEST_CASE(a_host_that_leads_to_one_port_is_named_for_that_one_alone) {
  AccessWorld world;
  world.observed.cluster.emplace().ingress = {
      {.host = "links.example", .link_port = 443, .use = IngressUse::links},
      {.host = "grants.example", .grant_port = 443, .use = IngressUse::grants},
      {.host = "istmo.oeste.svc", .link_port = 55671, .grant_port = 9090}};
  world.put_grant("g");
  std::vector<std::string> links;
  for (const AccessEndpoint& end : world.observed.endpoints) {
    links.push_back(end.host + ":" + std::to_string(end.port));
  }
  BOOST_CHECK((links == std::vector<std::string>{"links.example:443", "istmo.oeste.svc:55671"}));
  const auto& urls = world.grant("g").urls;
  BOOST_REQUIRE(urls.size() == 2u);
  BOOST_TEST(urls[0].starts_with("https://grants.example:443/"));
  BOOST_TEST(urls[1].starts_with("https://istmo.oeste.svc:9090/"));
}

BOOST_AUTO_TEST_CASE(ports_that_nobody_was_told_of_move_when_they_are_taken) {
  AccessWorld world;
  world.put_grant("g");
  const uint16_t link_port = world.link_port();
  const uint16_t grant_port = world.grant_port();
  world.now += std::chrono::hours(1);  // the grant is over, its token worth nothing
  world.restart();
  const Neighbour at_link(*world.loop, link_port);
  const Neighbour at_grant(*world.loop, grant_port);
  world.put_grant("h");
  BOOST_TEST(!world.access->has_failed());
  BOOST_TEST(world.link_port() > link_port);
  BOOST_TEST(world.grant_port() > grant_port);
  // Another site may be faster than this one, which saw it free.
  const uint16_t seen_free = world.link_port();
  BOOST_TEST(world.access->on_port_refused(kImpliedAccess).empty());
  world.update();
  BOOST_TEST(world.link_port() > seen_free);
}

BOOST_AUTO_TEST_CASE(a_link_port_that_links_name_stays_while_somebody_else_has_it) {
  AccessWorld world;
  world.put_grant("g");
  BOOST_TEST(world.redeem("g").has_value());
  const uint16_t port = world.link_port();
  world.restart();
  const Neighbour neighbour(*world.loop, port);
  world.update();
  BOOST_TEST(world.link_port() == port);
  const std::string text = world.access->on_port_refused(kImpliedAccess);
  BOOST_TEST(text.contains("links that were given out name this port"));
  world.update();
  BOOST_TEST(world.link_port() == port);
}

BOOST_AUTO_TEST_CASE(a_grant_port_that_tokens_name_stays_while_somebody_else_has_it) {
  AccessWorld world;
  world.put_grant("g");
  const std::string url = world.grant("g").url;
  const uint16_t port = world.grant_port();
  world.restart();
  {
    const Neighbour neighbour(*world.loop, port);
    world.put_grant("h");  // a new one has to wait, too
    BOOST_TEST(world.access->has_failed());
    for (const char* name : {"g", "h"}) {
      BOOST_TEST(world.grant(name).error.contains(std::to_string(port)));
      BOOST_TEST(world.grant(name).error.contains("tokens that were given out name this port"));
    }
  }
  world.update();
  BOOST_TEST(!world.access->has_failed());
  BOOST_TEST(world.grant("g").url == url);
  BOOST_TEST(world.is_grant_port_open());
}

BOOST_AUTO_TEST_SUITE_END()
