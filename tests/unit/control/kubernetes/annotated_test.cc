#include "control/kubernetes/annotated.h"

#include <boost/test/unit_test.hpp>

#include "control/document_text.h"
#include "json_text.h"

using namespace istmo;
using namespace istmo::control;

namespace {

Value workload(const std::string& annotations, const std::string& spec) {
  return json(R"({"metadata":{"name":"backend","annotations":)" + annotations + R"(},"spec":)" +
              spec + "}");
}

const std::string kSpec =
    R"({"selector":{"matchLabels":{"app":"backend"},"matchExpressions":[)"
    R"({"key":"tier","operator":"In","values":["a","b"]},)"
    R"({"key":"old","operator":"DoesNotExist"}]},)"
    R"("template":{"spec":{"containers":[{"ports":[{"containerPort":8080},)"
    R"({"containerPort":53,"protocol":"UDP"}]},{"ports":[{"containerPort":9090}]}]}}})";

// "NAME KEY HOST|SELECTOR PORT PUBLISHED" of each Connector.
std::vector<std::string> connectors(const std::string& kind, const Value& object) {
  const auto parsed = parse_documents(annotated_connectors(kind, object, "oeste"), "f");
  std::vector<std::string> lines;
  for (const Document& document : parsed.documents) {
    const auto& connector = std::get<ConnectorDocument>(document);
    lines.push_back(connector.name() + " " + connector.routing_key + " " + connector.host +
                    connector.selector + " " + std::to_string(connector.port) + " " +
                    connector.settings.at("publishPort"));
  }
  for (const Problem& problem : parsed.problems) lines.push_back(problem.to_string());
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

BOOST_AUTO_TEST_SUITE(annotated)

BOOST_AUTO_TEST_CASE(a_workload_is_exposed_at_the_ports_of_its_containers) {
  BOOST_TEST(connectors("Deployment", workload(R"({"skupper.io/proxy":"tcp"})", kSpec)) ==
                 (Lines{"deployment-backend backend app=backend,tier in (a,b),!old 8080 8080",
                        "deployment-backend-9090 backend:9090 app=backend,tier in (a,b),!old "
                        "9090 9090"}),
             boost::test_tools::per_element());
  BOOST_TEST(connectors("Deployment", workload("{}", kSpec)).empty());
}

BOOST_AUTO_TEST_CASE(annotations_say_port_and_address) {
  const Value object = workload(
      R"({"skupper.io/proxy":"http","skupper.io/port":"80:8080, 90","skupper.io/address":"api"})",
      R"({"selector":{"matchLabels":{"app":"x"}}})");
  BOOST_TEST(connectors("DaemonSet", object) == (Lines{"daemonset-backend api app=x 8080 80",
                                                       "daemonset-backend-90 api:90 app=x 90 90"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_service_is_gone_to_by_its_name) {
  const std::string spec = R"({"ports":[{"port":80,"targetPort":8080}]})";
  BOOST_TEST(connectors("Service", workload(R"({"skupper.io/proxy":"tcp"})", spec)) ==
                 Lines{"service-backend backend backend.oeste.svc 80 80"},
             boost::test_tools::per_element());
  const Value elsewhere =
      workload(R"({"skupper.io/proxy":"tcp","skupper.io/target":"other"})", spec);
  BOOST_TEST(
      connectors("Service", elsewhere) == Lines{"service-backend backend other.oeste.svc 80 80"},
      boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_wrong_annotation_is_an_error_of_its_connector) {
  const auto error_of = [](const std::string& annotations, const std::string& spec) {
    return connectors("Deployment", workload(annotations, spec)).at(0);
  };
  BOOST_TEST(error_of(R"({"skupper.io/proxy":"udp"})", kSpec) ==
             "f:2: error: Connector deployment-backend: spec.type must be one of tcp, not udp");
  BOOST_TEST(error_of(R"({"skupper.io/proxy":"tcp","skupper.io/port":"web"})", kSpec)
                 .contains("spec.port must be a whole number from 1 to 65535, not web"));
  BOOST_TEST(error_of(R"({"skupper.io/proxy":"tcp"})", R"({"selector":{"matchLabels":{"a":"b"}}})")
                 .contains("spec.port is missing"));
}

BOOST_AUTO_TEST_SUITE_END()
