// AttachedConnectorBindings: what compile() and status make of what another namespace has.
#include "control/compile.h"
#include "control/local_state.h"
#include "control/service_offers.h"
#include "control/status.h"
#include "control_fixture.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string kBinding =
    document("AttachedConnectorBinding", "web",
             "{connectorNamespace: leste, routingKey: k, settings: {publishPort: '80'}}");

Observed observed_with(AttachedSelection selection) {
  Observed observed;
  observed.site = {"west-id", "west", "oeste", "kubernetes", "0.1.0"};
  observed.published_generation = 1;
  observed.cluster.emplace();
  observed.cluster->attached["web"] = std::move(selection);
  return observed;
}

AttachedSelection attached(const std::string& more = "") {
  const Desired theirs =
      desired_from(document("AttachedConnector", "web",
                            "{siteNamespace: oeste, selector: app=web, port: 8080" + more + "}"));
  AttachedSelection selection{.connector = theirs.attached_connectors.at("web")};
  selection.pods = {.pods = {{"web-1", "10.1.0.7"}}, .is_known = true};
  return selection;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(attached_connectors)

BOOST_AUTO_TEST_CASE(a_binding_is_a_connector_to_the_pods_of_the_other_namespace) {
  const Desired desired = desired_from(kBinding);
  const Observed observed = observed_with(attached());
  const Compiled compiled = compile(desired, observed);
  BOOST_TEST(compiled.problems.empty());
  BOOST_REQUIRE(compiled.snapshot->connectors.size() == 1u);
  const auto& connector = compiled.snapshot->connectors[0];
  BOOST_TEST(connector.name == "attached/web");
  BOOST_TEST(connector.routing_key == "k");
  BOOST_TEST(connector.addresses.at(0).to_string() == "10.1.0.7:8080");
  BOOST_TEST(compiled.snapshot->connector_documents.contains("attached/web"));
  const auto local = local_state(desired, observed, *compiled.snapshot);
  BOOST_REQUIRE(local.services.size() == 1u);
  BOOST_TEST(local.services[0].published_ports.at(0) == 80);
  BOOST_TEST((published_services(desired, observed) ==
              std::set<std::pair<std::string, uint16_t>>{{"k", 80}}));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_bound_is_an_error_of_the_binding) {
  const Desired desired = desired_from(kBinding);
  AttachedSelection refused;
  refused.error = "no";
  BOOST_TEST(has_problem(compile(desired, observed_with(refused)).problems,
                         "error: AttachedConnectorBinding web: no"));
  const Compiled with_tls = compile(desired, observed_with(attached(", tlsCredentials: s")));
  BOOST_TEST(has_problem(with_tls.problems, "Secrets of other namespaces are never read"));
  BOOST_TEST(with_tls.snapshot->connectors.empty());
  BOOST_TEST(has_problem(compile(desired, {}).problems, "web: needs Kubernetes"));
}

BOOST_AUTO_TEST_CASE(both_kinds_are_read_and_written_alike) {
  const std::string text =
      document("AttachedConnector", "web",
               "{siteNamespace: oeste, selector: app=web, port: 8080, includeNotReadyPods: true}") +
      kBinding;
  const auto parsed = parse_documents(text, "t");
  BOOST_TEST(parsed.problems.empty());
  BOOST_REQUIRE(parsed.documents.size() == 2u);
  const auto again = parse_documents(write_documents(parsed.documents, Format::yaml), "t");
  BOOST_REQUIRE(again.documents.size() == 2u);
  for (size_t i = 0; i < 2; ++i) {
    BOOST_TEST((to_value(again.documents[i]) == to_value(parsed.documents[i])));
  }
  BOOST_TEST(has_problem(parse_documents(document("AttachedConnectorBinding", "web",
                                                  "{connectorNamespace: ../x, routingKey: k}"),
                                         "t")
                             .problems,
                         "spec.connectorNamespace must be lower case"));
}

BOOST_AUTO_TEST_SUITE_END()
