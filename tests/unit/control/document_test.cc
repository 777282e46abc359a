#include "control_fixture.h"

#include "control/settings.h"

using namespace istmo;
using namespace istmo::control;

namespace {
const std::string kListener =
    document("Listener", "backend", "{routingKey: k, host: 127.0.0.1, port: 80}");

bool reads_with_error(const std::string& text, std::string_view part) {
  const auto parsed = parse_documents(text, "t.yaml");
  return parsed.has_errors() && parsed.documents.empty() && has_problem(parsed.problems, part);
}
}  // namespace

BOOST_AUTO_TEST_SUITE(documents)

BOOST_AUTO_TEST_CASE(unknown_field_is_a_warning_with_place_and_the_rest_applies) {
  const auto parsed = parse_documents(
      "apiVersion: skupper.io/v2alpha1\nkind: Listener\nmetadata:\n  name: backend\nspec:\n"
      "  routingKey: k\n  host: h\n  port: 80\n  prot: tcp\n",
      "site.yaml");
  BOOST_TEST(!parsed.has_errors());
  BOOST_REQUIRE(parsed.documents.size() == 1u);
  BOOST_REQUIRE(parsed.problems.size() == 1u);
  BOOST_TEST(parsed.problems[0].to_string() ==
             "site.yaml:9: warning: Listener backend: unknown field spec.prot; known: routingKey, "
             "host, port, tlsCredentials, type, observer, exposePodsByName, settings");
}

BOOST_AUTO_TEST_CASE(unknown_kinds_are_warnings) {
  const auto parsed =
      parse_documents("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n" +
                          document("SecuredAccess", "m", "{}") +
                          "apiVersion: skupper.io/v1alpha1\nkind: Site\n---\n" + kListener,
                      "t.yaml");
  BOOST_TEST(!parsed.has_errors());
  BOOST_TEST(parsed.documents.size() == 1u);
  BOOST_TEST(has_problem(parsed.problems, "t.yaml:1: warning: unknown kind Service ignored"));
  BOOST_TEST(has_problem(parsed.problems, "SecuredAccess is not supported yet"));
  BOOST_TEST(has_problem(parsed.problems, "kind Site of apiVersion \"skupper.io/v1alpha1\""));
}

BOOST_AUTO_TEST_CASE(a_multi_key_listener_has_one_strategy_with_sound_keys) {
  const auto listener = [](const std::string& strategy) {
    return document("MultiKeyListener", "m", "{host: h, port: 80, strategy: " + strategy + "}");
  };
  for (const char* strategy :
       {"{priority: {routingKeys: [a, b]}}", "{weighted: {routingKeys: {a: 3, b: 0}}}"}) {
    const auto parsed = parse_documents(listener(strategy), "t");
    BOOST_REQUIRE(parsed.documents.size() == 1u);
    BOOST_TEST(parsed.problems.empty());
    const auto again = parse_documents(write_document(parsed.documents[0], Format::yaml), "t");
    BOOST_REQUIRE(again.documents.size() == 1u);
    BOOST_TEST((std::get<MultiKeyListenerDocument>(again.documents[0]).choice ==
                std::get<MultiKeyListenerDocument>(parsed.documents[0]).choice));
  }
  BOOST_TEST(reads_with_error(listener("{}"), "spec.strategy must have exactly one of"));
  BOOST_TEST(
      reads_with_error(listener("{priority: {routingKeys: [a]}, weighted: {routingKeys: {a: 1}}}"),
                       "spec.strategy must have exactly one of priority and weighted"));
  BOOST_TEST(reads_with_error(listener("{priority: {routingKeys: []}}"),
                              "spec.strategy.priority.routingKeys must have 1 to 256 entries"));
  BOOST_TEST(reads_with_error(listener("{priority: {routingKeys: [a, a]}}"), "has a twice"));
  BOOST_TEST(reads_with_error(listener("{priority: {}}"), "routingKeys is missing"));
  BOOST_TEST(reads_with_error(listener("{weighted: {routingKeys: {a: 0}}}"),
                              "must have one with a weight of more than 0"));
  BOOST_TEST(reads_with_error(listener("{weighted: {routingKeys: {a: -1}}}"),
                              "spec.strategy.weighted.routingKeys.a must be a whole number"));
}

BOOST_AUTO_TEST_CASE(one_broken_object_does_not_touch_the_others) {
  const auto parsed = parse_documents(
      document("Listener", "bad", "{routingKey: k, host: h, port: 70000}") + kListener, "t.yaml");
  BOOST_TEST(parsed.documents.size() == 1u);
  BOOST_REQUIRE(parsed.invalid.size() == 1u);
  BOOST_TEST(parsed.invalid[0].name == "bad");
  BOOST_TEST(has_problem(parsed.problems,
                         "t.yaml:4: error: Listener bad: spec.port must be a whole number from 1 "
                         "to 65535, not 70000"));
}

BOOST_AUTO_TEST_CASE(every_problem_of_an_object_is_reported) {
  const auto parsed = parse_documents(document("Listener", "Bad_Name", "{host: 5, port: x}"), "t");
  BOOST_TEST(has_problem(parsed.problems, "metadata.name must be lower case"));
  BOOST_TEST(has_problem(parsed.problems, "spec.routingKey is missing"));
  BOOST_TEST(has_problem(parsed.problems, "spec.host must be a string"));
  BOOST_TEST(has_problem(parsed.problems, "spec.port must be a whole number"));
}

BOOST_AUTO_TEST_CASE(invalid_values_are_errors) {
  const auto listener = [](std::string_view more) {
    return document("Listener", "a",
                    "{routingKey: k, host: h, port: 1, " + std::string(more) + "}");
  };
  BOOST_TEST(reads_with_error(listener("type: udp"), "spec.type must be one of tcp, not udp"));
  BOOST_TEST(reads_with_error(listener("settings: {idleTimeout: 5}"), "spec.settings.idleTimeout"));
  BOOST_TEST(reads_with_error(listener("settings: {maxConnections: -1}"), "maxConnections"));
  BOOST_TEST(reads_with_error(listener("settings: [a]"), "spec.settings must be a map"));
  BOOST_TEST(reads_with_error(document("Connector", "a", "{routingKey: k, port: 1}"),
                              "spec.host or spec.selector is missing"));
  BOOST_TEST(reads_with_error(
      document("Connector", "a", "{routingKey: k, port: 1, host: h, selector: a=b}"), "exclude"));
  BOOST_TEST(reads_with_error(document("Connector", "a", "{routingKey: \"a b\", port: 1, host: h}"),
                              "blanks"));
  BOOST_TEST(reads_with_error(document("Link", "a", "{endpoints: [], tlsCredentials: s}"),
                              "at least one"));
  BOOST_TEST(reads_with_error(document("Link", "a", "{endpoints: [{host: h, port: 1}], cost: 0}"),
                              "spec.cost"));
  BOOST_TEST(reads_with_error(document("AccessToken", "a", "{url: 'http://h', code: c, ca: p}"),
                              "https://"));
  BOOST_TEST(reads_with_error(document("RouterAccess", "a", "{roles: [{name: x}]}"),
                              "spec.roles[0].name must be one of"));
  BOOST_TEST(reads_with_error("just text\n", "a document must be a map"));
  BOOST_TEST(reads_with_error("kind: Site\n", "apiVersion is missing"));
}

BOOST_AUTO_TEST_CASE(unknown_and_ineffective_settings_are_warnings) {
  const auto parsed = parse_documents(
      document("Listener", "a", "{routingKey: k, host: h, port: 1, settings: {idletimeout: 5s}}") +
          document("Site", "s", "{settings: {size: big}}"),
      "t");
  BOOST_TEST(parsed.documents.size() == 2u);
  BOOST_TEST(has_problem(parsed.problems, "unknown setting spec.settings.idletimeout; known: "));
  BOOST_TEST(has_problem(parsed.problems, "spec.settings.size has no effect in Istmo"));
}

BOOST_AUTO_TEST_CASE(settings_are_understood) {
  const auto traffic = traffic_settings({{"connectTimeout", "2s"},
                                         {"idleTimeout", "1m30s"},
                                         {"halfCloseTimeout", "0s"},
                                         {"keepalive", "10s"},
                                         {"maxConnections", "7"},
                                         {"dropTcpConnections", "true"},
                                         {"publishPort", "8080"}});
  BOOST_TEST(traffic.tcp.connect_timeout.ns == Duration::seconds(2).ns);
  BOOST_TEST(traffic.tcp.idle_timeout.ns == Duration::seconds(90).ns);
  BOOST_TEST(traffic.tcp.half_close_timeout.ns == 0);
  BOOST_TEST(traffic.tcp.keepalive.ns == Duration::seconds(10).ns);
  BOOST_TEST(traffic.connections_max == 7u);
  BOOST_TEST(traffic.drops_connections);
  BOOST_TEST(traffic.publish_port.value() == 8080);
}

BOOST_AUTO_TEST_CASE(limits_of_a_site_are_understood_and_checked) {
  const auto limits = site_limits({{"streamsMax", "7"}, {"bufferedBytesMax", "9000000000"}});
  BOOST_TEST(limits.streams_max == 7u);
  BOOST_TEST(limits.buffered_bytes_max == 9'000'000'000u);
  for (const char* wrong : {"streamsMax: 0", "streamsMax: many", "bufferedBytesMax: 1000"}) {
    const auto settings = "{settings: {" + std::string(wrong) + "}}";
    BOOST_TEST(reads_with_error(document("Site", "s", settings), "must be a number from "));
  }
}

BOOST_AUTO_TEST_CASE(every_kind_is_written_and_read_back_the_same) {
  const std::string text =
      document("Site", "s",
               "{linkAccess: default, ha: true, defaultIssuer: i, serviceAccount: a}") +
      document("Link", "l",
               "{endpoints: [{name: inter-router, host: h, port: '55671', group: g}], "
               "tlsCredentials: c, cost: 3}") +
      kListener +
      document("Connector", "c",
               "{routingKey: k, host: h, port: 1, verifyHostname: true, "
               "settings: {publishPort: '80'}}") +
      document("AccessGrant", "g", "{redemptionsAllowed: 2, expirationWindow: 15m, code: x}") +
      document("AccessToken", "t",
               "{url: 'https://h:1/x', code: c, ca: \"a\\nb\\n\", linkCost: 2}") +
      document("RouterAccess", "r",
               "{roles: [{name: inter-router, port: 1}, {name: edge}], "
               "tlsCredentials: s, bindHost: h, subjectAlternativeNames: [x]}") +
      document("Certificate", "z", "{ca: a, subject: s, hosts: [h], client: true}") +
      "apiVersion: v1\nkind: Secret\nmetadata: {name: s, labels: {a: '1'}}\ndata: {k: YWI=}\n"
      "stringData: {p: q}\n";
  const auto parsed = parse_documents(text, "t.yaml");
  for (const auto& problem : parsed.problems) BOOST_TEST_ERROR(problem.to_string());
  BOOST_REQUIRE(parsed.documents.size() == 9u);
  for (const Format format : {Format::yaml, Format::json}) {
    for (const Document& document : parsed.documents) {
      const std::string written = write_document(document, format);
      const auto again = parse_documents(written, format == Format::json ? "t.json" : "t.yaml");
      BOOST_REQUIRE_MESSAGE(again.documents.size() == 1 && again.problems.empty(), written);
      BOOST_TEST(bool(to_value(again.documents[0]) == to_value(document)), written);
    }
  }
  const auto all = parse_documents(write_documents(parsed.documents, Format::yaml), "t.yaml");
  BOOST_TEST(all.documents.size() == 9u);
}

BOOST_AUTO_TEST_CASE(lists_and_json_are_read_like_yaml) {
  const auto parsed = parse_documents(
      "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n{\"apiVersion\":\"skupper.io/"
      "v2alpha1\","
      "\"kind\":\"Site\",\"metadata\":{\"name\":\"a\"},\n\"status\":{}},\n3]}",
      "t.json");
  BOOST_TEST(parsed.documents.size() == 1u);
  BOOST_TEST(has_problem(parsed.problems, "t.json:4: error: a document must be a map"));
}

BOOST_AUTO_TEST_CASE(names_follow_rfc_1123) {
  for (const char* good : {"a", "a-b", "a.b", "1a", "a--b"}) BOOST_TEST(!!check_object_name(good));
  for (const char* bad : {"", "A", "-a", "a-", "a..b", ".a", "a.", "a_b", "a.-b", "a/b"}) {
    BOOST_TEST(!check_object_name(bad), bad);
  }
  BOOST_TEST(!check_object_name(std::string(254, 'a')));
}

BOOST_AUTO_TEST_SUITE_END()
BOOST_AUTO_TEST_SUITE(store)

namespace {
SourceState source(std::map<std::string, std::string> texts) {
  SourceState state;
  for (auto& [path, text] : texts) state.files[path] = {text, {}};
  return state;
}
const std::string kBroken = document("Listener", "backend", "{routingKey: k, host: h, port: 0}");
}  // namespace

BOOST_AUTO_TEST_CASE(invalid_document_keeps_its_last_valid_version) {
  DocumentStore store;
  BOOST_TEST(store.apply(source({{"a.yaml", kListener}})));
  BOOST_TEST(!store.apply(source({{"a.yaml", kListener}})));
  BOOST_TEST(store.apply(source({{"a.yaml", kBroken}, {"b.yaml", document("Site", "s", "{}")}})));
  BOOST_TEST(store.desired().listeners.at("backend").port == 80);
  BOOST_TEST(store.desired().sites.size() == 1u);
  BOOST_TEST(has_problem(store.problems(), "error: Listener backend: spec.port"));
  store.apply(source({{"a.yaml", ""}}));
  BOOST_TEST(store.desired().listeners.empty());
}

BOOST_AUTO_TEST_CASE(never_valid_document_stays_absent) {
  DocumentStore store;
  store.apply(source({{"a.yaml", kBroken}}));
  BOOST_TEST(store.desired().listeners.empty());
}

BOOST_AUTO_TEST_CASE(file_that_cannot_be_read_keeps_its_objects) {
  DocumentStore store;
  store.apply(source({{"a.yaml", kListener}}));
  store.apply(source({{"a.yaml", "a: [\n"}}));
  BOOST_TEST(store.desired().listeners.size() == 1u);
  BOOST_TEST(has_problem(store.problems(), "Listener backend: keeps its last valid version"));
  SourceState unreadable;
  unreadable.files["a.yaml"] = {"", "Permission denied"};
  store.apply(unreadable);
  BOOST_TEST(store.desired().listeners.size() == 1u);
  BOOST_TEST(has_problem(store.problems(), "a.yaml: error: cannot be read: Permission denied"));
  store.apply(source({{"a.yaml", kListener}}));
  BOOST_TEST(store.problems().empty());
}

BOOST_AUTO_TEST_CASE(folder_that_cannot_be_read_is_an_error_of_the_site) {
  DocumentStore store;
  SourceState state = source({{"in/a.yaml", kListener + document("Site", "west", "{}")}});
  state.unread["in"] = "Too many open files";
  store.apply(state);
  BOOST_TEST(store.desired().listeners.size() == 1u);
  BOOST_TEST(has_problem(store.problems(), "in: error: Site west: cannot be read: Too many open"));
}

BOOST_AUTO_TEST_CASE(a_syntax_error_keeps_its_object_and_lets_others_of_the_file_apply) {
  DocumentStore store;
  const std::string site = document("Site", "west", "{}");
  store.apply(source({{"a.yaml", kListener + site}}));
  const std::string other = document("Listener", "other", "{routingKey: k, host: h, port: 81}");
  store.apply(source({{"a.yaml", "kind: [\n---\n" + site + other}}));
  BOOST_TEST(store.desired().listeners.size() == 2u);
  BOOST_TEST(store.desired().sites.size() == 1u);
  // Documents of this harness are JSON maps, which YAML reads too.
  store.apply(source({{"a.yaml", "{\"kind\": \n---\n" + site}}));
  BOOST_TEST(store.desired().listeners.size() == 2u);
  BOOST_TEST(store.desired().sites.size() == 1u);
  BOOST_TEST(has_problem(store.problems(), "Listener other: keeps its last valid version"));
}

BOOST_AUTO_TEST_CASE(what_may_be_there_unread_is_known) {
  const ObjectId backend{"Listener", "backend"};
  DocumentStore store;
  store.apply(source({{"a.yaml", kBroken}}));
  BOOST_TEST(store.unread().may_hold(backend));
  BOOST_TEST(!store.unread().may_hold({"Listener", "other"}));
  store.apply(source({{"a.yaml", "a: [\n"}}));
  BOOST_TEST(store.unread().may_hold({"Listener", "other"}));
  SourceState unreadable;
  unreadable.files["a.yaml"] = {"", "Permission denied"};
  store.apply(unreadable);
  BOOST_TEST(store.unread().may_hold(backend));
  unreadable.files.clear();
  unreadable.unread["in"] = "Too many open files";
  store.apply(unreadable);
  BOOST_TEST(store.unread().may_hold(backend));
  store.apply(source({{"a.yaml", kListener}}));
  BOOST_TEST(!store.unread().may_hold({"Listener", "other"}));
}

BOOST_AUTO_TEST_CASE(of_two_definitions_neither_is_used_and_both_are_errors) {
  const std::string other = document("Listener", "backend", "{routingKey: x, host: h, port: 9}");
  DocumentStore store;
  store.apply(source({{"a.yaml", kListener}, {"b.yaml", other}}));
  BOOST_TEST(store.desired().listeners.empty());
  BOOST_TEST(store.unread().may_hold({"Listener", "backend"}));
  BOOST_TEST(store.problems().size() == 2u);
  BOOST_TEST(has_problem(store.problems(),
                         "a.yaml:1: error: Listener backend: is defined at a.yaml:1 and at "
                         "b.yaml:1: neither is used until one of them is taken away"));
  BOOST_TEST(has_problem(store.problems(),
                         "b.yaml:1: error: Listener backend: is defined at a.yaml:1 and at "
                         "b.yaml:1"));
  store.apply(source({{"b.yaml", other}}));
  BOOST_TEST(store.desired().listeners.at("backend").port == 9);
  BOOST_TEST(store.problems().empty());
}

BOOST_AUTO_TEST_CASE(a_second_definition_leaves_the_object_as_it_was) {
  const std::string other = document("Listener", "backend", "{routingKey: x, host: h, port: 9}");
  DocumentStore store;
  store.apply(source({{"b.yaml", kListener}}));
  store.apply(source({{"a.yaml", other}, {"b.yaml", kListener}}));
  BOOST_TEST(store.desired().listeners.at("backend").port == 80);
  BOOST_TEST(has_problem(store.problems(),
                         "a.yaml:1: error: Listener backend: is defined at "
                         "a.yaml:1 and at b.yaml:1: what it was before stands"));
  store.apply(source({{"a.yaml", other}, {"b.yaml", other}, {"c.yaml", other}}));
  BOOST_TEST(store.desired().listeners.at("backend").port == 80);
  BOOST_TEST(store.problems().size() == 3u);
  store.apply(source({{"c.yaml", other}}));
  BOOST_TEST(store.desired().listeners.at("backend").port == 9);
}

BOOST_AUTO_TEST_SUITE_END()
