#include "control/site_access.h"

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
    access.emplace(*loop, *state, *this, SiteAccessOptions{.ingress_hosts = {"127.0.0.1"}});
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
  void update() { access->update(desired, observed); }
  void put_grant(const std::string& name) {
    AccessGrantDocument grant;
    grant.metadata.name = name;
    desired.put(grant);
    update();
  }
  bool has_ledger(const std::string& name) const { return state->find_grant_by_name(name); }

  test::TemporaryFolder folder;
  std::unique_ptr<io::Loop> loop = test::make_test_loop();
  std::optional<SiteState> state;
  std::optional<SiteAccess> access;
  Desired desired;
  Observed observed;

 private:
  void on_access_changed() override {}
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

BOOST_AUTO_TEST_SUITE_END()
