#include "control/status.h"

#include "compile_fixture.h"
#include "control/service_view.h"
#include "control/status_writer.h"

using namespace istmo;
using namespace istmo::control;

BOOST_AUTO_TEST_SUITE(status)

BOOST_AUTO_TEST_CASE(a_connector_names_the_pods_that_it_selects) {
  const std::string text =
      document("Connector", "c", "{routingKey: k, selector: app=web, port: 8080}");
  Observed seen = observed();
  seen.cluster.emplace();
  BOOST_TEST(summary(derive_one(text, seen, "Connector", "c")) ==
             "Pending: Pods are not known yet");
  seen.cluster->pods["c"] = {.pods = {}, .is_known = true};
  BOOST_TEST(summary(derive_one(text, seen, "Connector", "c")) ==
             "Pending: No pod that is ready matches selector app=web");
  seen.cluster->pods["c"].pods = {{"web-1", "10.0.0.1"}};
  const Value status = derive_one(text, seen, "Connector", "c");
  const Value& pod = status.find("selectedPods")->items().at(0);
  BOOST_TEST(text_of(pod, "name") == "web-1");
  BOOST_TEST(text_of(pod, "ip") == "10.0.0.1");
}

BOOST_AUTO_TEST_CASE(listener_is_ready_only_with_a_matching_connector) {
  Observed seen = observed();
  const Value alone = derive_one(kListener, seen, "Listener", "backend");
  BOOST_TEST(summary(alone) == "Pending: No matching connectors");
  BOOST_TEST(text_of(alone, "hasMatchingConnector") == "false");
  const Value local = derive_one(kListener + kConnector, seen, "Listener", "backend");
  BOOST_TEST(summary(local) == "Ready: OK");
  BOOST_TEST(local.find("conditions")->items().size() == 3u);
  seen.remote_sites = {east_with({{"k", "tcp", {}, {"c"}, {}}})};
  BOOST_TEST(summary(derive_one(kListener, seen, "Listener", "backend")) == "Ready: OK");
  seen.remote_sites[0].is_reachable = false;
  BOOST_TEST(summary(derive_one(kListener, seen, "Listener", "backend")) ==
             "Pending: No matching connectors");
}

BOOST_AUTO_TEST_CASE(connector_looks_for_listeners_here_and_at_neighbours) {
  Observed seen = observed();
  BOOST_TEST(summary(derive_one(kConnector, seen, "Connector", "server")) ==
             "Pending: No matching listeners");
  seen.remote_sites = {east_with({{"k", "tcp", {}, {}, {"l"}}})};
  const Value matched = derive_one(kConnector, seen, "Connector", "server");
  BOOST_TEST(summary(matched) == "Ready: OK");
  BOOST_TEST(text_of(matched, "hasMatchingListener") == "true");
}

BOOST_AUTO_TEST_CASE(what_the_workers_could_not_do_is_an_error) {
  Observed seen = observed();
  seen.running_problems = {{"Listener", "backend", "bind 127.0.0.1:80: Address in use"}};
  BOOST_TEST(summary(derive_one(kListener + kConnector, seen, "Listener", "backend")) ==
             "Error: bind 127.0.0.1:80: Address in use");
  seen = observed();
  seen.published_generation = 0;
  BOOST_TEST(summary(derive_one(kListener + kConnector, seen, "Listener", "backend")) ==
             "Pending: Not running yet");
}

BOOST_AUTO_TEST_CASE(connector_without_a_backend_that_answers_is_not_ready) {
  Observed seen = observed();
  seen.hosts["db"] = {{"10.0.0.1", "10.0.0.2"}, {}};
  const std::string documents =
      kListener + document("Connector", "c", "{routingKey: k, host: db, port: 5}");
  seen.backends_set_aside["c"]["10.0.0.2:5"] = "connection refused";
  const Value half = derive_one(documents, seen, "Connector", "c");
  BOOST_TEST(summary(half) == "Ready: OK");
  BOOST_TEST(half.find("backendsSetAside")->items().size() == 1u);
  seen.backends_set_aside["c"]["10.0.0.1:5"] = "no route to host";
  BOOST_TEST(summary(derive_one(documents, seen, "Connector", "c")) ==
             "Pending: No backend answers: 10.0.0.1:5: no route to host");
  seen.backends_set_aside["c"].erase("10.0.0.2:5");
  BOOST_TEST(summary(derive_one(documents, seen, "Connector", "c")) == "Ready: OK");
}

BOOST_AUTO_TEST_CASE(an_access_that_is_not_open_has_no_endpoint) {
  Observed seen = observed();
  seen.endpoints = {{"inter-router", "192.0.2.1", 55671, kImpliedAccess}};
  const std::string site = document("Site", "west", "{linkAccess: default}");
  BOOST_TEST(summary(derive_one(site, seen, "Site", "west")) == "Ready: OK");
  seen.running_problems = {{"RouterAccess", kImpliedAccess, "bind [::]:55671: Address in use"}};
  const Value closed = derive_one(site, seen, "Site", "west");
  BOOST_TEST(summary(closed) ==
             "Error: RouterAccess istmo-router: bind [::]:55671: Address in use");
  BOOST_TEST(closed.find("endpoints")->items().empty());
}

BOOST_AUTO_TEST_CASE(a_document_that_names_a_missing_secret_is_pending) {
  Observed seen = observed();
  seen.credentials.clear();
  const Value link = derive_one(kLink, seen, "Link", "l");
  BOOST_TEST(summary(link) == "Pending: Secret creds is missing");
  const Value& configured = link.find("conditions")->items().at(0);
  BOOST_TEST(text_of(configured, "type") == "Configured");
  BOOST_TEST(text_of(configured, "status") == "False");
  BOOST_TEST(text_of(configured, "reason") == "Pending");
  const std::string access =
      document("RouterAccess", "own",
               "{tlsCredentials: mine, roles: [{name: inter-router, port: 55671}]}") +
      document("Site", "west", "{linkAccess: default}");
  seen.endpoints = {{"inter-router", "192.0.2.1", 55671, "own"}};
  const Value closed = derive_one(access, seen, "RouterAccess", "own");
  BOOST_TEST(summary(closed) == "Pending: Secret mine is missing");
  BOOST_TEST(closed.find("endpoints")->items().empty());
  BOOST_TEST(summary(derive_one(access, seen, "Site", "west")) ==
             "Pending: RouterAccess own: Secret mine is missing");
  seen.credentials["mine"] = {"cert", "key", "ca"};
  BOOST_TEST(summary(derive_one(access, seen, "RouterAccess", "own")) == "Ready: OK");
}

BOOST_AUTO_TEST_CASE(link_says_why_it_is_down_and_whom_it_reaches) {
  Observed seen = observed();
  BOOST_TEST(summary(derive_one(kLink, seen, "Link", "l")) == "Pending: Not Operational");
  seen.links = {{.link = "l", .error = "connect 10.0.0.1:55671: refused"}};
  BOOST_TEST(summary(derive_one(kLink, seen, "Link", "l")) ==
             "Pending: connect 10.0.0.1:55671: refused");
  seen.links = {{.link = "l", .site_id = "e", .site_name = "east", .connections_open = 1}};
  const Value up = derive_one(kLink, seen, "Link", "l");
  BOOST_TEST(summary(up) == "Ready: OK");
  BOOST_TEST(text_of(up, "remoteSiteId") == "e");
  BOOST_TEST(text_of(up, "remoteSiteName") == "east");
}

BOOST_AUTO_TEST_CASE(a_site_that_asks_for_two_replicas_says_when_there_is_one) {
  const std::string site = document("Site", "west", "{ha: true}");
  Observed seen = observed();
  const auto said = [&] { return summary(derive_one(site, seen, "Site", "west")); };
  BOOST_TEST(said() == "Ready: OK; spec.ha needs Kubernetes: on a machine a site is one process");
  seen.cluster.emplace();
  BOOST_TEST(said() == "Ready: OK");  // the Deployment is not known
  seen.cluster->replicas = 1;
  BOOST_TEST(said() ==
             "Ready: OK; spec.ha asks for 2 replicas, the Deployment has 1: "
             "kubectl scale deployment/istmo --replicas 2");
  BOOST_TEST(has_problem(compile(desired_from(site), seen).problems,
                         "warning: Site west: spec.ha asks for 2 replicas"));
  seen.cluster->replicas = 2;
  BOOST_TEST(said() == "Ready: OK");
  BOOST_TEST(compile(desired_from(site), seen).problems.empty());
}

BOOST_AUTO_TEST_CASE(site_shows_the_network) {
  Observed seen = observed();
  seen.remote_sites = {east_with({{"k", "tcp", {}, {"c"}, {}}})};
  const std::string site = document("Site", "west", "{linkAccess: default}");
  BOOST_TEST(summary(derive_one(site, seen, "Site", "west")) ==
             "Pending: No link access endpoint is open yet");
  seen.endpoints = {{"inter-router", "10.0.0.2", 55671, kImpliedAccess}};
  const Value status = derive_one(site, seen, "Site", "west");
  BOOST_TEST(summary(status) == "Ready: OK");
  BOOST_TEST(text_of(status, "sitesInNetwork") == "2");
  const auto& network = status.find("network")->items();
  BOOST_REQUIRE(network.size() == 2u);
  BOOST_TEST(text_of(network[1], "name") == "east");
  BOOST_TEST(text_of(status.find("endpoints")->items().at(0), "port") == "55671");
  const Value access = derive_one(site, seen, "RouterAccess", kImpliedAccess);
  BOOST_TEST(summary(access) == "Ready: OK");
}

BOOST_AUTO_TEST_CASE(grants_and_tokens_tell_their_state) {
  Observed seen = observed();
  const std::string text = document("AccessGrant", "g", "{}") +
                           document("AccessToken", "t", "{url: 'https://h', code: c, ca: p}");
  BOOST_TEST(summary(derive_one(text, seen, "AccessGrant", "g")) == "Pending: Not processed yet");
  BOOST_TEST(summary(derive_one(text, seen, "AccessToken", "t")) == "Pending: Not redeemed yet");
  seen.grants["g"] = {.url = "https://u",
                      .code = "code",
                      .ca = "ca",
                      .redemptions = 1,
                      .expiration_time = "2026-01-01T00:00:00Z"};
  seen.tokens["t"] = {false, "404 No such claim"};
  const Value grant = derive_one(text, seen, "AccessGrant", "g");
  BOOST_TEST(summary(grant) == "Ready: OK");
  BOOST_TEST(text_of(grant, "redemptions") == "1");
  seen.grants["g"] = {.redemptions = 1,
                      .expiration_time = "2026-01-01T00:00:00Z",
                      .ended = "used up: 1 of 1 redemptions"};
  const Value ended = derive_one(text, seen, "AccessGrant", "g");
  BOOST_TEST(summary(ended) == "Pending: used up: 1 of 1 redemptions");
  BOOST_TEST(text_of(ended, "redemptions") == "1");
  BOOST_TEST(ended.find("url") == nullptr);
  BOOST_TEST(summary(derive_one(text, seen, "AccessToken", "t")) == "Error: 404 No such claim");
  seen.tokens["t"] = {true, ""};
  BOOST_TEST(text_of(derive_one(text, seen, "AccessToken", "t"), "redeemed") == "true");
}

BOOST_AUTO_TEST_CASE(object_that_never_was_valid_has_a_status) {
  const std::string broken = document("Listener", "bad", "{routingKey: k, host: h, port: 0}");
  DocumentStore store;
  store.apply({.files = {{"t.yaml", {broken, {}}}}, .secrets = {}});
  const Compiled compiled = compile(store.desired(), observed());
  const auto objects =
      derive_status(store.desired(), observed(), compiled, store.problems(), {}, "T1");
  BOOST_REQUIRE(objects.size() == 1u);
  BOOST_TEST(summary(objects[0].status).starts_with("Error: spec.port must be"));
}

BOOST_AUTO_TEST_CASE(conditions_keep_the_time_of_their_last_change) {
  const Desired desired = desired_from(kListener + kConnector);
  Observed seen = observed();
  const Compiled compiled = compile(desired, seen);
  const auto first = derive_status(desired, seen, compiled, {}, {}, "T1");
  seen.running_problems = {{"Listener", "backend", "bind"}};
  const auto second = derive_status(desired, seen, compiled, {}, first, "T2");
  const Value listener = status_of(second, "Listener", "backend");
  const Value& conditions = *listener.find("conditions");
  BOOST_TEST(text_of(conditions.items().at(0), "lastTransitionTime") == "T2");  // Configured
  BOOST_TEST(text_of(conditions.items().at(1), "lastTransitionTime") == "T1");  // Matched
}

BOOST_AUTO_TEST_CASE(status_files_follow_the_objects) {
  TestFolder folder;
  folder.write("runtime/Listener-old.yaml", "x");
  folder.write("runtime/keep.txt", "x");
  StatusWriter writer(folder / "runtime");
  Desired desired = desired_from(kListener + kConnector);
  const Observed seen = observed();
  const Compiled compiled = compile(desired, seen);
  auto objects = derive_status(desired, seen, compiled, {}, {}, "T1");
  BOOST_REQUIRE(writer.write(objects).has_value());
  const auto path = folder.path() / "runtime" / "Listener-backend.yaml";
  BOOST_TEST(std::filesystem::exists(path));
  BOOST_TEST(!std::filesystem::exists(folder.path() / "runtime" / "Listener-old.yaml"));
  BOOST_TEST(std::filesystem::exists(folder.path() / "runtime" / "keep.txt"));
  const auto read = read_source({folder / "runtime", ""});
  const auto text = read.files.at(path.string()).text;
  BOOST_TEST(text.contains("hasMatchingConnector: true"), text);
  BOOST_TEST(!parse_documents(text, "x.yaml").has_errors());
  const auto before = std::filesystem::last_write_time(path);
  std::filesystem::last_write_time(path, before - std::chrono::hours(1));
  BOOST_REQUIRE(writer.write(objects).has_value());
  BOOST_TEST(bool(std::filesystem::last_write_time(path) == before - std::chrono::hours(1)));
  desired.listeners.clear();
  objects = derive_status(desired, seen, compile(desired, seen), {}, objects, "T2");
  BOOST_REQUIRE(writer.write(objects).has_value());
  BOOST_TEST(!std::filesystem::exists(path));
}

BOOST_AUTO_TEST_SUITE_END()
