#include "control/compiler.h"

#include "control_fixture.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string kConnector =
    document("Connector", "server", "{routingKey: k, host: ::1, port: 81}");

}  // namespace

BOOST_AUTO_TEST_SUITE(compiler)

BOOST_AUTO_TEST_CASE(a_refused_document_keeps_its_last_version) {
  const auto listener = [](const char* name, int port) {
    return document("Listener", name,
                    "{routingKey: k, host: 127.0.0.1, port: " + std::to_string(port) + "}");
  };
  const auto ports_of = [](const Compiled& compiled) {
    std::map<std::string, uint16_t> ports;
    for (const auto& config : compiled.snapshot->listeners)
      ports[config.name] = config.addresses.at(0).port();
    return ports;
  };
  using Ports = std::map<std::string, uint16_t>;
  Compiler compiler;
  compiler.run(desired_from(kConnector + listener("a", 80) + listener("b", 81)), Observed());
  const auto edited =
      compiler.run(desired_from(kConnector + listener("a", 80) + listener("b", 80)), Observed());
  BOOST_TEST(bool(ports_of(edited) == Ports{{"a", 80}, {"b", 81}}));
  BOOST_TEST(has_problem(edited.problems, "error: Listener b: Listener a with host 127.0.0.1"));
  // The old version of b is in the way of a's new one: both stay as they were, both are told.
  const auto crossed =
      compiler.run(desired_from(kConnector + listener("b", 81) + listener("c", 81)), Observed());
  BOOST_TEST(bool(ports_of(crossed) == Ports{{"b", 81}}));  // a is gone, c never was valid
  BOOST_TEST(has_problem(crossed.problems, "error: Listener c: Listener b with host 127.0.0.1"));
  const auto mended =
      compiler.run(desired_from(kConnector + listener("b", 81) + listener("c", 82)), Observed());
  BOOST_TEST(bool(ports_of(mended) == Ports{{"b", 81}, {"c", 82}}));
  BOOST_TEST(mended.problems.empty());
}

BOOST_AUTO_TEST_CASE(an_old_version_that_is_in_the_way_makes_the_other_keep_its_own) {
  const auto documents = [](int a, const char* b) {
    return desired_from(
        kConnector + document("Listener", "b", b) +
        document("Listener", "a",
                 "{routingKey: k, host: 127.0.0.1, port: " + std::to_string(a) + "}"));
  };
  Compiler compiler;
  compiler.run(documents(80, "{routingKey: k, host: 127.0.0.1, port: 81}"), Observed());
  // b asks for TLS, which is refused: its last version stays at 81, where a wants to go now.
  const auto next = compiler.run(
      documents(81, "{routingKey: k, host: 127.0.0.1, port: 82, tlsCredentials: t}"), Observed());
  BOOST_REQUIRE(next.snapshot->listeners.size() == 2u);
  BOOST_TEST(has_problem(next.problems, "error: Listener b: spec.tlsCredentials"));
  BOOST_TEST(has_problem(next.problems, "error: Listener a: Listener b with host"));
  for (const auto& config : next.snapshot->listeners) {
    BOOST_TEST(config.addresses.at(0).port() == (config.name == "a" ? 80 : 81));
  }
}

BOOST_AUTO_TEST_CASE(a_document_that_names_a_missing_secret_keeps_its_last_version) {
  const auto link = [](const char* secret, int cost) {
    return document("Link", "l",
                    "{endpoints: [{name: inter-router, host: 10.0.0.1, port: '55671'}], cost: " +
                        std::to_string(cost) + ", tlsCredentials: " + secret + "}");
  };
  const auto secret = [](const std::string& name) {
    return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name +
           "}\nstringData: {tls.crt: a, tls.key: key-of-" + name + ", ca.crt: c}\n---\n";
  };
  Compiler compiler;
  // Only what waits, of all that the snapshot has, is told.
  const auto costs = [&](const std::string& text, size_t waiting) {
    const Compiled compiled = compiler.run(desired_from(text), Observed());
    BOOST_TEST(compiled.problems.size() == waiting);
    std::string told;
    for (const auto& config : compiled.snapshot->links) {
      told += std::to_string(config.cost) + " " + config.credentials.private_key;
    }
    return told;
  };
  BOOST_TEST(costs(link("old", 1), 1) == "");
  BOOST_TEST(costs(link("old", 1) + secret("old"), 0) == "1 key-of-old");
  BOOST_TEST(costs(link("new", 2) + secret("old"), 1) == "1 key-of-old");
  BOOST_TEST(costs(link("new", 2), 1) == "1 key-of-old");  // nobody names the old one any more
  BOOST_TEST(costs(link("new", 2), 1) == "1 key-of-old");
  BOOST_TEST(costs(link("new", 2) + secret("new"), 0) == "2 key-of-new");
  BOOST_TEST(costs(link("new", 3), 1) == "2 key-of-new");  // deleted
  BOOST_TEST(costs("", 0) == "");
  BOOST_TEST(costs(link("new", 3), 1) == "");  // it is not remembered without the link
}

BOOST_AUTO_TEST_SUITE_END()
