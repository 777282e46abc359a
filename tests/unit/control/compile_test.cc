#include "control/compile.h"

#include "compile_fixture.h"
#include "control/local_state.h"
#include "control/service_view.h"

using namespace istmo;
using namespace istmo::control;

BOOST_AUTO_TEST_SUITE(compiling)

BOOST_AUTO_TEST_CASE(listener_and_connector_of_one_key_become_a_proxy) {
  const auto compiled = compile(desired_from(kListener + kConnector), observed());
  BOOST_TEST(compiled.problems.empty());
  BOOST_REQUIRE(compiled.snapshot->listeners.size() == 1u);
  BOOST_TEST(compiled.snapshot->listeners[0].addresses.at(0).to_string() == "127.0.0.1:80");
  BOOST_REQUIRE(compiled.snapshot->connectors.size() == 1u);
  BOOST_TEST(compiled.snapshot->connectors[0].addresses.at(0).to_string() == "[::1]:81");
  BOOST_TEST(compiled.snapshot->site_id == "west-id");
}

BOOST_AUTO_TEST_CASE(listener_at_any_ipv6_address_is_at_any_ipv4_address_too) {
  const std::string both = document("Listener", "both", "{routingKey: k, host: '::', port: 82}");
  const auto compiled = compile(desired_from(both + kConnector), observed());
  BOOST_REQUIRE(compiled.snapshot->listeners.size() == 1u);
  const auto& addresses = compiled.snapshot->listeners[0].addresses;
  BOOST_REQUIRE(addresses.size() == 2u);
  BOOST_TEST(addresses[0].to_string() == "[::]:82");
  BOOST_TEST(addresses[1].to_string() == "0.0.0.0:82");
}

BOOST_AUTO_TEST_CASE(limits_of_the_site_are_those_of_the_process) {
  const std::string site = document("Site", "s", "{settings: {streamsMax: '7'}}");
  BOOST_TEST(compile(desired_from(site), observed()).snapshot->limits.streams_max == 7u);
}

BOOST_AUTO_TEST_CASE(keys_whose_backends_are_being_found_out_are_awaited) {
  const auto awaited = [](const std::string& spec, const Observed& seen) {
    return compile(desired_from(document("Connector", "c", spec)), seen).snapshot->awaited_keys;
  };
  const std::set<std::string> key = {"k"};
  const std::string by_name = "{routingKey: k, host: db, port: 1}";
  Observed seen = observed();
  BOOST_TEST((awaited(by_name, seen) == key));
  seen.hosts["db"] = {.addresses = {}, .error = "no such host"};
  BOOST_TEST(awaited(by_name, seen).empty());
  seen.hosts["db"] = {.addresses = {"10.0.0.1"}, .error = {}};
  BOOST_TEST(awaited(by_name, seen).empty());
  BOOST_TEST(awaited("{routingKey: k, host: 10.0.0.1, port: 1}", observed()).empty());

  const std::string by_pods = "{routingKey: k, selector: app=web, port: 1}";
  BOOST_TEST(awaited(by_pods, observed()).empty());  // an error: there is no cluster
  seen.cluster.emplace();
  BOOST_TEST((awaited(by_pods, seen) == key));
  seen.cluster->pods["c"] = {.pods = {}, .is_known = false, .error = {}};
  BOOST_TEST((awaited(by_pods, seen) == key));
  seen.cluster->pods["c"].error = "pods cannot be watched";
  BOOST_TEST(awaited(by_pods, seen).empty());
  seen.cluster->pods["c"] = {.pods = {}, .is_known = true, .error = {}};
  BOOST_TEST(awaited(by_pods, seen).empty());

  seen.cluster->services["c"] = {.service = "db", .is_known = false, .backends = {}, .error = {}};
  BOOST_TEST((awaited(by_name, seen) == key));
  seen.cluster->services["c"].is_known = true;
  BOOST_TEST(awaited(by_name, seen).empty());
}

BOOST_AUTO_TEST_CASE(a_site_joins_others_unless_it_says_that_it_does_not) {
  const auto allows = [](const std::string& spec) {
    return compile(desired_from(document("Site", "s", spec)), observed()).snapshot->allows_transit;
  };
  BOOST_TEST(allows("{}"));
  BOOST_TEST(allows("{settings: {transit: 'true'}}"));
  BOOST_TEST(!allows("{settings: {transit: 'false'}}"));
}

BOOST_AUTO_TEST_CASE(listener_without_any_way_stays_closed) {
  Observed seen = observed();
  const Desired lonely = desired_from(kListener);
  BOOST_TEST(compile(lonely, seen).snapshot->listeners.empty());
  BOOST_TEST(compile(lonely, seen).waiting.contains({"Listener", "backend"}));
  seen.remote_sites = {east_with({{"k", "tcp", {}, {}, {"l"}}})};
  BOOST_TEST(compile(lonely, seen).snapshot->listeners.empty());
  seen.remote_sites = {east_with({{"k", "tcp", {}, {"c"}, {}}})};
  const auto open = compile(lonely, seen);
  BOOST_TEST(open.snapshot->listeners.size() == 1u);
  BOOST_REQUIRE(open.snapshot->remote_services.size() == 1u);
  BOOST_TEST(open.snapshot->remote_services[0].site_id == "east-id");
  seen.remote_sites[0].is_reachable = false;  // held: it may come back
  BOOST_TEST(compile(lonely, seen).snapshot->listeners.size() == 1u);
}

BOOST_AUTO_TEST_CASE(listener_is_open_while_a_link_is_down) {
  Observed seen = observed();
  const Desired desired = desired_from(kListener + kLink);
  BOOST_TEST(compile(desired, seen).snapshot->listeners.size() == 1u);
  seen.links = {{.link = "l", .connections_open = 1}};
  BOOST_TEST(compile(desired, seen).snapshot->listeners.empty());
}

BOOST_AUTO_TEST_CASE(second_listener_of_one_host_and_port_is_an_error) {
  const std::string second =
      document("Listener", "another", "{routingKey: k, host: 127.0.0.1, port: 80}");
  const auto compiled = compile(desired_from(kListener + second + kConnector), observed());
  BOOST_REQUIRE(compiled.snapshot->listeners.size() == 1u);
  BOOST_TEST(compiled.snapshot->listeners[0].name == "backend");
  BOOST_TEST(has_problem(compiled.problems,
                         "test.yaml:6: error: Listener another: Listener backend with host "
                         "127.0.0.1 and port 80 already exists"));
  Observed seen = observed();
  seen.hosts["localhost"] = {{"127.0.0.1"}, {}};
  const std::string same =
      document("Listener", "same", "{routingKey: k, host: localhost, port: 80}");
  BOOST_TEST(has_problem(compile(desired_from(kListener + same + kConnector), seen).problems,
                         "Listener same: Listener backend with host 127.0.0.1 and port 80"));
}

BOOST_AUTO_TEST_CASE(a_multi_key_listener_is_open_while_one_of_its_keys_may_be_reached) {
  const std::string listener =
      document("MultiKeyListener", "both",
               "{host: 127.0.0.1, port: 80, strategy: {priority: {routingKeys: [far, k]}}}");
  const auto compiled = compile(desired_from(listener + kConnector), observed());
  BOOST_REQUIRE(compiled.snapshot->listeners.size() == 1u);
  BOOST_TEST(compiled.snapshot->listeners[0].name == "keys/both");
  BOOST_TEST(compiled.snapshot->listeners[0].choice.keys.at(1).key == "k");
  BOOST_TEST(compiled.snapshot->listener_documents.contains("keys/both"));
  BOOST_TEST(compile(desired_from(listener), observed()).snapshot->listeners.empty());
  const auto second = compile(desired_from(listener + kListener + kConnector), observed());
  BOOST_TEST(has_problem(second.problems,
                         "MultiKeyListener both: Listener backend with host 127.0.0.1 and port 80 "
                         "already exists"));
  const auto local =
      local_state(desired_from(listener), observed(), *compile({}, observed()).snapshot);
  BOOST_REQUIRE(local.services.size() == 2u);
  BOOST_TEST(local.services[0].listeners.at(0) == "both");
}

BOOST_AUTO_TEST_CASE(status_of_a_multi_key_listener_has_the_keys_that_are_reachable) {
  const auto status = [](const std::string& strategy) {
    const std::string listener = document(
        "MultiKeyListener", "both", "{host: 127.0.0.1, port: 80, strategy: " + strategy + "}");
    return derive_one(listener + kConnector, observed(), "MultiKeyListener", "both");
  };
  const Value by_priority = status("{priority: {routingKeys: [far, k]}}");
  BOOST_TEST(summary(by_priority) == "Ready: OK");
  BOOST_TEST(text_of(by_priority, "hasDestination") == "true");
  const Value* keys = by_priority.find("strategy")->find("priority")->find("routingKeysReachable");
  BOOST_REQUIRE(keys->items().size() == 1u);
  BOOST_TEST(keys->items()[0].text() == "k");
  const Value by_weight = status("{weighted: {routingKeys: {far: 1, k: 7}}}");
  BOOST_TEST(text_at(by_weight, "strategy", "weighted", "routingKeysReachable", "k") == "7");
  const Value nobody = status("{weighted: {routingKeys: {far: 1, k: 0}}}");
  BOOST_TEST(summary(nobody) == "Pending: No matching connectors");
  BOOST_TEST(text_of(nobody, "hasDestination") == "false");
}

BOOST_AUTO_TEST_CASE(a_namespace_has_one_site) {
  const auto compiled =
      compile(desired_from(document("Site", "a", "{}") + document("Site", "b", "{}")), observed());
  BOOST_TEST(has_problem(compiled.problems, "error: Site b: a namespace has one Site, here a"));
}

BOOST_AUTO_TEST_CASE(a_service_says_whether_it_can_be_reached_now) {
  Observed seen = observed();
  const auto view = [&seen](const std::string& text) {
    const Desired desired = desired_from(text);
    const auto services = services_view(desired, seen, compile(desired, seen));
    BOOST_REQUIRE(services.size() == 1u);
    return services[0];
  };
  seen.remote_sites = {east_with({{"db", "tcp", {5432}, {"c"}, {}}})};
  BOOST_TEST(summary(*view("").find("status")) == "Ready: OK");
  seen.remote_sites[0].is_reachable = false;  // held, but its links are gone
  const Value gone = view("");
  BOOST_TEST(summary(*gone.find("status")) == "Pending: No matching connectors");
  BOOST_TEST(text_of(*gone.find("status"), "hasMatchingConnector") == "false");
  seen.remote_sites[0].is_reachable = true;
  seen.running_problems = {{"Listener", "service/db:5432", "bind: Address in use"}};
  BOOST_TEST(summary(*view("").find("status")) == "Error: bind: Address in use");
}

BOOST_AUTO_TEST_CASE(a_service_whose_address_is_taken_says_by_whom) {
  Observed seen = observed();
  seen.remote_sites = {east_with({{"db", "tcp", {5432}, {"c"}, {}}})};
  const Desired desired =
      desired_from(document("Listener", "own", "{routingKey: o, host: 127.5.6.7, port: 5432}") +
                   document("Connector", "oc", "{routingKey: o, host: ::1, port: 1}"));
  const auto services = services_view(desired, seen, compile(desired, seen));
  BOOST_REQUIRE(services.size() == 2u);
  BOOST_TEST(summary(*services[0].find("status")).contains("own is there"));
  BOOST_TEST(text_of(*services[0].find("status"), "status") == "Error");
}

BOOST_AUTO_TEST_CASE(hosts_are_taken_from_the_resolver) {
  const Desired desired =
      desired_from(kListener + document("Connector", "c", "{routingKey: k, host: db, port: 5}"));
  BOOST_TEST(bool(hosts_to_resolve(desired, observed()) == std::set<std::string>{"db"}));
  Observed seen = observed();
  const auto waiting = compile(desired, seen);
  BOOST_TEST(waiting.snapshot->connectors.empty());
  BOOST_TEST(waiting.problems.empty());
  BOOST_TEST(waiting.waiting.contains({"Connector", "c"}));
  seen.hosts["db"] = {{}, "Domain name not found"};
  BOOST_TEST(has_problem(compile(desired, seen).problems,
                         "error: Connector c: host db: Domain name not found"));
  seen.hosts["db"] = {{"10.0.0.1", "fd00::1"}, "timeout"};  // the last good answer counts
  const auto resolved = compile(desired, seen);
  BOOST_TEST(resolved.problems.empty());
  BOOST_TEST(resolved.snapshot->connectors.at(0).addresses.size() == 2u);
}

BOOST_AUTO_TEST_CASE(published_services_are_offered_at_the_service_address) {
  Observed seen = observed();
  seen.remote_sites = {east_with({{"a", "tcp", {8080}, {"c"}, {}},
                                  {"b", "tcp", {8080}, {"c"}, {}},
                                  {"d", "tcp", {9090}, {}, {}},
                                  {"k", "tcp", {7070}, {"c"}, {}}})};
  const auto compiled = compile(desired_from(kListener), seen);
  BOOST_REQUIRE(compiled.snapshot->listeners.size() == 2u);
  BOOST_TEST(compiled.snapshot->listeners[0].name == "backend");  // explicit: not published
  BOOST_TEST(compiled.snapshot->listeners[1].name == "service/a:8080");
  BOOST_TEST(compiled.snapshot->listeners[1].addresses.at(0).to_string() == "127.5.6.7:8080");
  BOOST_TEST(has_problem(compiled.problems,
                         "Service b:8080: cannot be offered at 127.5.6.7:8080: service/a:8080"));
  seen.service_host.clear();
  BOOST_TEST(compile(desired_from(kListener), seen).snapshot->listeners.size() == 1u);
}

BOOST_AUTO_TEST_CASE(links_need_their_credentials) {
  Observed seen = observed();
  const auto compiled = compile(desired_from(kLink), seen);
  BOOST_REQUIRE(compiled.snapshot->links.size() == 1u);
  BOOST_TEST(compiled.snapshot->links[0].cost == 4u);
  BOOST_TEST(compiled.snapshot->links[0].targets.at(0).host == "10.0.0.1");
  BOOST_TEST(compiled.snapshot->links[0].credentials.private_key == "key");
  seen.credentials.clear();
  BOOST_TEST(has_problem(compile(desired_from(kLink), seen).problems,
                         "waiting: Link l: Secret creds is missing"));
  const std::string half =
      "apiVersion: v1\nkind: Secret\nmetadata: {name: creds}\nstringData: {tls.crt: a}\n---\n";
  BOOST_TEST(has_problem(compile(desired_from(half + kLink), seen).problems,
                         "Secret creds must have tls.crt, tls.key and ca.crt"));
}

BOOST_AUTO_TEST_CASE(link_access_opens_only_when_asked) {
  Observed seen = observed();
  seen.access_ports[kImpliedAccess] = 55672;
  BOOST_TEST(compile(desired_from(document("Site", "s", "{}")), seen).snapshot->acceptors.empty());
  const auto asked = compile(desired_from(document("Site", "s", "{linkAccess: default}")), seen);
  BOOST_REQUIRE(asked.snapshot->acceptors.size() == 1u);
  BOOST_TEST(asked.snapshot->acceptors[0].addresses.at(0).to_string() == "0.0.0.0:55672");
  const auto written =
      compile(desired_from(document("Site", "s", "{linkAccess: default}") +
                           document("RouterAccess", "r",
                                    "{roles: [{name: inter-router, port: 7}], "
                                    "tlsCredentials: creds, bindHost: 127.0.0.1}")),
              seen);
  BOOST_REQUIRE(written.snapshot->acceptors.size() == 1u);
  BOOST_TEST(written.snapshot->acceptors[0].addresses.at(0).to_string() == "127.0.0.1:7");
}

BOOST_AUTO_TEST_CASE(tls_that_is_not_there_yet_is_never_served_in_the_clear) {
  const std::string listener =
      document("Listener", "t", "{routingKey: k, host: ::1, port: 1, tlsCredentials: creds}");
  const std::string connector =
      document("Connector", "t", "{routingKey: k, host: ::1, port: 1, tlsCredentials: creds}");
  const auto compiled = compile(desired_from(listener + connector), observed());
  BOOST_TEST(compiled.snapshot->listeners.empty());
  BOOST_TEST(compiled.snapshot->connectors.empty());
  BOOST_TEST(compiled.problems.size() == 2u);
}

BOOST_AUTO_TEST_CASE(local_state_tells_connectors_listeners_and_published_ports) {
  Observed seen = observed();
  seen.remote_sites = {east_with({{"a", "tcp", {8080}, {"c"}, {}}})};
  const Desired desired = desired_from(kListener + document("Connector", "c",
                                                            "{routingKey: p, host: ::1, port: 1, "
                                                            "settings: {publishPort: '99'}}"));
  const auto state = local_state(desired, seen, *compile(desired, seen).snapshot);
  BOOST_REQUIRE(state.services.size() == 3u);
  BOOST_TEST(state.services[0].listeners.at(0) == "service/a:8080");
  BOOST_TEST(state.services[1].routing_key == "k");
  BOOST_TEST(state.services[1].listeners.at(0) == "backend");
  BOOST_TEST(state.services[2].published_ports.at(0) == 99);
  BOOST_TEST(state.services[2].connectors.at(0) == "c");
}

BOOST_AUTO_TEST_CASE(in_a_cluster_listeners_stand_behind_services_and_backends_are_pods) {
  Observed seen = observed();
  seen.cluster.emplace();
  seen.remote_sites = {east_with({{"db", "tcp", {5432}, {"c"}, {}}})};
  const Desired desired =
      desired_from(document("Listener", "web", "{routingKey: k, host: web, port: 80}") +
                   document("Connector", "c", "{routingKey: k, selector: app=web, port: 8080}"));
  BOOST_TEST(hosts_to_resolve(desired, seen).empty());
  const auto before = compile(desired, seen);
  BOOST_TEST(before.problems.empty());
  BOOST_TEST(before.waiting.contains({"Listener", "web"}));
  BOOST_TEST(before.waiting.contains({"Connector", "c"}));
  BOOST_TEST(before.snapshot->listeners.empty());
  seen.cluster->ports = {{{"web", 80}, 10001}, {{"db", 5432}, 10002}};
  seen.cluster->pods["c"] = {.pods = {{"web-1", "10.0.0.1"}, {"web-2", "::1"}}, .is_known = true};
  const auto compiled = compile(desired, seen);
  BOOST_TEST(compiled.problems.empty());
  BOOST_REQUIRE(compiled.snapshot->listeners.size() == 2u);
  BOOST_TEST(compiled.snapshot->listeners[0].addresses.at(0).to_string() == "[::]:10001");
  BOOST_TEST(compiled.snapshot->listeners[0].addresses.at(1).to_string() == "0.0.0.0:10001");
  BOOST_TEST(compiled.snapshot->listeners[1].name == "service/db:5432");
  BOOST_TEST(compiled.snapshot->listeners[1].addresses.at(1).to_string() == "0.0.0.0:10002");
  const auto& backends = compiled.snapshot->connectors.at(0).addresses;
  BOOST_REQUIRE(backends.size() == 2u);
  BOOST_TEST(backends[0].to_string() == "10.0.0.1:8080");
  BOOST_TEST(backends[1].to_string() == "[::1]:8080");
  const auto services = services_view(desired, seen, compiled);
  BOOST_TEST(services.at(0).find("spec")->find("host")->text() == "db");
}

BOOST_AUTO_TEST_CASE(a_selector_on_a_machine_is_an_error) {
  const auto compiled = compile(
      desired_from(document("Connector", "c", "{routingKey: k, selector: app=web, port: 1}")),
      observed());
  BOOST_REQUIRE(compiled.problems.size() == 1u);
  BOOST_TEST(compiled.problems[0].text.contains("needs Kubernetes"));
}

BOOST_AUTO_TEST_CASE(examples_are_valid_and_compile) {
  for (const char* name : {"tcp-proxy", "two-sites-east", "two-sites-west", "database"}) {
    DocumentStore store;
    store.apply(read_source({std::string(ISTMO_EXAMPLES) + "/" + name + ".yaml", ""}));
    for (const auto& problem : store.problems()) BOOST_TEST_ERROR(problem.to_string());
    Observed seen = observed();
    for (const auto& host : hosts_to_resolve(store.desired(), seen))
      seen.hosts[host] = {{"10.0.0.9"}, {}};
    const auto compiled = compile(store.desired(), seen);
    for (const auto& problem : compiled.problems) BOOST_TEST_ERROR(problem.to_string());
    const auto& snapshot = *compiled.snapshot;
    BOOST_TEST(snapshot.listeners.size() + snapshot.connectors.size() > 0u, name);
  }
}

BOOST_AUTO_TEST_SUITE_END()
