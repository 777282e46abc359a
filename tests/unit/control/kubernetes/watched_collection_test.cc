#include "control/kubernetes/watched_collection.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "../scripted_server.h"
#include "../site_folder.h"

using namespace istmo;
using namespace istmo::control;
using namespace istmo::control::test;

BOOST_AUTO_TEST_SUITE(watched_collection)

namespace {

struct Keeper final : CollectionSink {
  void on_object(const std::string& key, const Value&) override { keys.insert(key); }
  void on_object_gone(const std::string& key) override { keys.erase(key); }
  void on_synced() override { ++syncs; }
  void on_refused(int, const std::string& text) override { refusal = text; }
  void on_trouble(const std::string& text) override { trouble = text; }
  std::set<std::string> keys;
  int syncs = 0;
  std::string refusal;
  std::string trouble;
};

ApiServer access_to(const ScriptedServer& server) {
  KubeAccess access;
  access.host = "127.0.0.1";
  access.port = server.port();
  access.path = "/prefix";
  access.ca_pem = server.ca.certificate;
  access.token = "secret";
  return ApiServer::create(access).value();
}

std::string listed(const std::string& items) {
  return reply(R"({"metadata":{"resourceVersion":"7"},"items":[)" + items + "]}");
}

std::string object(const std::string& name, int version) {
  return R"({"metadata":{"name":")" + name + R"(","resourceVersion":")" + std::to_string(version) +
         R"("}})";
}

}  // namespace

BOOST_AUTO_TEST_CASE(it_follows_the_server_through_events_cuts_and_410) {
  ScriptedServer server;
  server.script = {{listed(object("a", 3))},
                   {kChunkedHead + chunk(R"({"type":"ADDED","object":)" + object("b", 8) + "}\n")},
                   {kChunkedHead + chunk(R"({"type":"ERROR","object":{"code":410}})"
                                         "\n")},
                   {listed(object("c", 9))},
                   {kChunkedHead}};
  Keeper keeper;
  Rng rng(1);
  ApiServer api = access_to(server);
  WatchedCollection collection(*server.loop, api, {.path = "/c"}, keeper, rng);
  collection.start();
  run_until(*server.loop, [&] { return keeper.keys == std::set<std::string>{"a", "b"}; });
  server.cut();  // it backs off, watches again from 8, and hears 410
  run_until(*server.loop, [&] { return keeper.keys == std::set<std::string>{"c"}; });
  run_until(*server.loop, [&] { return server.requests.size() == 5; });
  BOOST_TEST(server.requests.at(2).contains("resourceVersion=8&"));
  BOOST_TEST(server.requests.at(4).contains("resourceVersion=7&"));
  BOOST_TEST(server.requests.at(0).starts_with("GET /prefix/c?limit=500 HTTP/1.1\r\n"));
  BOOST_TEST(server.requests.at(0).contains("\r\nauthorization: Bearer secret\r\n"));
  BOOST_TEST(keeper.syncs == 2);
  BOOST_TEST(!keeper.trouble.empty());
  collection.stop();
  run_until(*server.loop, [&] { return collection.is_idle(); });
}

// The kubelet changes it in place.
BOOST_AUTO_TEST_CASE(a_token_is_read_anew_from_its_file) {
  ScriptedServer server;
  const TemporaryFolder folder;
  const auto write = [&](const std::string& token) {
    std::ofstream(folder.path() / "token") << token << '\n';
  };
  KubeAccess access;
  access.host = "127.0.0.1";
  access.port = server.port();
  access.ca_pem = server.ca.certificate;
  access.token_file = folder.path() / "token";
  write("first");
  ApiServer api = ApiServer::create(access).value();
  const Instant start{1'000'000'000};
  const auto sent = [&](Duration later) {
    return api.request("GET", "/c", start + later).value().head.fields.at("authorization");
  };
  BOOST_TEST(sent({}) == "Bearer first");
  write("second");
  BOOST_TEST(sent(Duration::seconds(59)) == "Bearer first");
  BOOST_TEST(sent(ApiServer::kTokenTime) == "Bearer second");
  write("third");
  api.forget_authorization();  // the server said 401
  BOOST_TEST(sent(ApiServer::kTokenTime) == "Bearer third");
  std::filesystem::remove(folder.path() / "token");
  BOOST_TEST(sent(ApiServer::kTokenTime * 2) == "Bearer third");  // the last good one
}

BOOST_AUTO_TEST_CASE(what_the_server_refuses_is_told_with_its_words) {
  ScriptedServer server;
  server.script = {{reply(R"({"kind":"Status","message":"no right"})", "403 Forbidden")}};
  Keeper keeper;
  Rng rng(1);
  ApiServer api = access_to(server);
  WatchedCollection collection(*server.loop, api, {.path = "/c"}, keeper, rng);
  collection.start();
  run_until(*server.loop, [&] { return !keeper.refusal.empty(); });
  BOOST_TEST(keeper.refusal == "no right");
  BOOST_TEST(!collection.is_synced());
  collection.stop();
  run_until(*server.loop, [&] { return collection.is_idle(); });
}

BOOST_AUTO_TEST_SUITE_END()
