#include "control/kubernetes/gateway_ingress.h"

#include <boost/test/unit_test.hpp>

#include "control/yaml.h"

namespace istmo::control {
namespace {

constexpr const char* kService = R"(
spec:
  type: NodePort
  ports:
  - {name: links, port: 55671, nodePort: 30001}
  - {name: grants, port: 9090, nodePort: 30002}
)";

std::vector<IngressAddress> addresses(const std::string& text,
                                      const std::vector<std::string>& hosts = {}) {
  return ingress_addresses(parse_yaml(text, {}).documents.front(), "oeste", hosts);
}

BOOST_AUTO_TEST_SUITE(gateway_ingress)

BOOST_AUTO_TEST_CASE(inside_of_the_cluster_the_service_has_a_name) {
  const auto found = addresses("spec: {ports: [{name: links, port: 1}, {name: grants, port: 2}]}");
  BOOST_REQUIRE(found.size() == 1u);
  BOOST_CHECK((found.front() == IngressAddress{"istmo.oeste.svc", 1, 2}));
}

BOOST_AUTO_TEST_CASE(ports_of_nodes_go_with_the_hosts_that_somebody_chose) {
  const auto found = addresses(kService, {"192.0.2.1"});
  BOOST_REQUIRE(found.size() == 2u);
  BOOST_CHECK((found[0] == IngressAddress{"192.0.2.1", 30001, 30002}));
  BOOST_CHECK((found[1] == IngressAddress{"istmo.oeste.svc", 55671, 9090}));
}

BOOST_AUTO_TEST_CASE(a_load_balancer_has_addresses_and_names) {
  const std::string text =
      "spec: {ports: []}\n"
      "status: {loadBalancer: {ingress: [{ip: 192.0.2.7}, {hostname: lb.example}]}}\n";
  const auto found = addresses(text, {"chosen.example"});
  BOOST_REQUIRE(found.size() == 4u);
  BOOST_TEST(found[0].host == "chosen.example");
  BOOST_TEST(found[1].host == "192.0.2.7");
  BOOST_TEST(found[2].host == "lb.example");
  BOOST_TEST(found[0].link_port == 0u);
}

BOOST_AUTO_TEST_CASE(what_is_no_service_has_no_ports) {
  for (const char* text : {"{}", "spec: 1", "spec: {ports: 1}", "spec: {ports: [1, {name: links}]}",
                           "spec: {ports: [{name: links, port: 70000}]}", "status: []",
                           "status: {loadBalancer: {ingress: [1, {}]}}"}) {
    const auto found = addresses(text);
    BOOST_REQUIRE(found.size() == 1u);
    BOOST_TEST(found.front().link_port == 0u);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
}  // namespace istmo::control
