#include "control/kubernetes/state_secrets.h"

#include "../scripted_server.h"
#include "control/base64.h"

using namespace istmo;
using namespace istmo::control;
using namespace istmo::control::test;

namespace {

const ObjectOwner kOwner{"v1", "ConfigMap", "site-oeste", "u-owner"};

struct Nobody final : PlatformSink {
  void on_source_changed(const SourceState&) override {}
  void on_surroundings_changed() override {}
  void on_command_request(const std::string&, const Value&) override {}
};

std::string secret(const std::string& record, const std::string& content) {
  return R"({"metadata":{"name":")" + state_secret_name(record) +
         R"(","uid":"u1","resourceVersion":"8","labels":{"istmo.dev/state":"true"},)" +
         R"("ownerReferences":[{"uid":"u-owner"}]},"data":{"record":")" + encode_base64(record) +
         R"(","content":")" + encode_base64(content) + "\"}}";
}

std::string listed(const std::string& items) {
  return reply(R"({"metadata":{"resourceVersion":"8"},"items":[)" + items + "]}");
}

// It serves one connection at a time, so that nothing is answered before the watch has ended.
struct World {
  World() {
    server.script = {{listed(secret("links/a.json", "one"))}, {kChunkedHead}};
    KubeAccess access;
    access.host = "127.0.0.1";
    access.port = server.port();
    access.namespace_name = "oeste";
    access.ca_pem = server.ca.certificate;
    api.emplace(ApiServer::create(access).value());
    secrets.emplace(*server.loop, *api, rng, nobody);
    secrets->start();
    run_until(*server.loop, [&] { return server.requests.size() == 2; });
    secrets->state().set_owner(kOwner);
  }
  void end() {
    secrets->stop();
    run_until(*server.loop, [&] { return secrets->is_idle(); });
  }

  ScriptedServer server;
  Nobody nobody;
  Rng rng{1};
  std::optional<ApiServer> api;
  std::optional<StateSecrets> secrets;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(state_secrets)

BOOST_AUTO_TEST_CASE(what_is_there_is_read_and_nothing_else_is_asked) {
  World world;
  BOOST_TEST(world.server.requests.at(0).starts_with(
      "GET /api/v1/namespaces/oeste/secrets?labelSelector=istmo.dev%2Fstate%3Dtrue&limit="));
  BOOST_TEST(world.secrets->state().read("links/a.json").value() == "one");
  world.end();
  BOOST_TEST(world.server.requests.size() == 2u);
}

BOOST_AUTO_TEST_CASE(what_waits_when_the_site_ends_is_written_first) {
  World world;
  world.server.script = {{reply(secret("links/b.json", "two"), "201 Created")}};
  BOOST_TEST(world.secrets->state().write("links/b.json", "two").has_value());
  world.end();
  BOOST_TEST(world.server.requests.size() == 3u);
  BOOST_TEST(world.server.requests.back().starts_with("POST /api/v1/namespaces/oeste/secrets?"));
  BOOST_TEST(world.secrets->state().is_settled());
}

BOOST_AUTO_TEST_CASE(an_api_server_that_does_not_answer_does_not_keep_the_site_from_ending) {
  World world;
  BOOST_TEST(world.secrets->state().write("links/b.json", "two").has_value());
  world.end();
  BOOST_TEST(world.server.requests.size() == 3u);
  BOOST_TEST(!world.secrets->state().is_settled());
}

BOOST_AUTO_TEST_SUITE_END()
