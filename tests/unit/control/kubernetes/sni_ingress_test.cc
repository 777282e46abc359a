#include "control/kubernetes/sni_ingress.h"

#include <boost/test/unit_test.hpp>

#include "control/yaml.h"

namespace istmo::control {
namespace {

Value object(const std::string& text) { return parse_yaml(text, {}).documents.front(); }

using Hosts = std::vector<std::string>;

constexpr const char* kIngress = R"(
metadata: {name: istmo}
spec:
  rules:
  - host: links.oeste.example
    http: {paths: [{path: /, backend: {service: {name: istmo, port: {name: links}}}}]}
  - host: grants.oeste.example
    http: {paths: [{path: /, backend: {service: {name: istmo, port: {number: 9090}}}}]}
  - host: shop.example
    http: {paths: [{path: /, backend: {service: {name: shop, port: {name: links}}}}]}
  - host: "*.example"
    http: {paths: [{path: /, backend: {service: {name: istmo, port: {name: links}}}}]}
)";

BOOST_AUTO_TEST_SUITE(sni_ingress)

BOOST_AUTO_TEST_CASE(each_way_in_has_a_kind_and_other_ways_have_none) {
  BOOST_TEST(sni_kind("route") == "Route");
  BOOST_TEST(sni_kind("ingress") == "Ingress");
  BOOST_TEST(sni_kind("ingress-nginx") == "Ingress");
  BOOST_TEST(sni_kind("gateway") == "TLSRoute");
  for (const char* other : {"", "default", "loadbalancer", "nodeport", "local", "none"}) {
    BOOST_TEST(sni_kind(other).empty());
  }
}

BOOST_AUTO_TEST_CASE(a_domain_gives_a_host_for_links_and_one_for_grants) {
  const SniHosts hosts = sni_hosts_of_domains({"example.com"}, "oeste");
  BOOST_CHECK((hosts.links == Hosts{"links.oeste.example.com"}));
  BOOST_CHECK((hosts.grants == Hosts{"grants.oeste.example.com"}));
  BOOST_TEST(!sni_hosts_of_domains({}, "oeste").is_complete());
}

BOOST_AUTO_TEST_CASE(a_route_is_reached_at_the_host_that_it_asks_for_until_a_router_says_where) {
  BOOST_CHECK(
      (sni_hosts("Route", object("metadata: {name: istmo-links}\nspec: {host: a.example}")).links ==
       Hosts{"a.example"}));
  const Value taken = object(
      "metadata: {name: istmo-grants}\n"
      "spec: {host: a.example}\n"
      "status: {ingress: [{host: b.example, conditions: [{type: Admitted, status: 'True'}]}, "
      "{host: c.example, conditions: [{type: Admitted, status: 'False', reason: HostTaken}]}]}");
  const SniHosts hosts = sni_hosts("Route", taken);
  BOOST_CHECK((hosts.grants == Hosts{"b.example"}));
  BOOST_TEST(hosts.links.empty());
}

BOOST_AUTO_TEST_CASE(rules_of_an_ingress_lead_to_the_port_that_their_backend_names) {
  const SniHosts hosts = sni_hosts("Ingress", object(kIngress));
  BOOST_CHECK((hosts.links == Hosts{"links.oeste.example"}));
  BOOST_CHECK((hosts.grants == Hosts{"grants.oeste.example"}));
}

BOOST_AUTO_TEST_CASE(a_tls_route_is_reached_at_its_host_names) {
  const SniHosts hosts =
      sni_hosts("TLSRoute",
                object("metadata: {name: istmo-links}\nspec: {hostnames: [a.example, b.example]}"));
  BOOST_CHECK((hosts.links == Hosts{"a.example", "b.example"}));
}

BOOST_AUTO_TEST_CASE(what_somebody_else_has_leads_nowhere) {
  for (const char* kind : {"Route", "Ingress", "TLSRoute"}) {
    const Value other = object(
        "metadata: {name: shop}\nspec: {host: a.example, hostnames: [a.example], rules: [{host: "
        "a.example, http: {paths: [{backend: {service: {name: istmo, port: {name: links}}}}]}}]}");
    BOOST_CHECK(sni_hosts(kind, other) == SniHosts());
  }
}

BOOST_AUTO_TEST_CASE(what_is_no_such_object_has_no_hosts) {
  for (const char* text :
       {"{}", "spec: 1", "{metadata: {name: istmo-links}, spec: {hostnames: 1}, status: []}",
        "{metadata: {name: istmo-links}, spec: {host: 'a b', hostnames: [1 2, {}]}}",
        "{metadata: {name: istmo}, spec: {rules: [1, {host: a, http: {paths: [1]}}]}}",
        "{metadata: {name: istmo-links}, status: {ingress: [1, {conditions: [1, {}]}]}}"}) {
    for (const char* kind : {"Route", "Ingress", "TLSRoute"}) {
      BOOST_CHECK(sni_hosts(kind, object(text)) == SniHosts());
      BOOST_TEST(!sni_obstacle(kind, object(text)).empty());
    }
  }
}

BOOST_AUTO_TEST_CASE(hosts_are_bounded) {
  std::string text = "metadata: {name: istmo-links}\nspec:\n  hostnames:\n";
  for (int i = 0; i < 100; ++i) text += "  - h" + std::to_string(i) + ".example\n";
  BOOST_TEST(sni_hosts("TLSRoute", object(text)).links.size() == SniHosts::kHostsMax);
}

BOOST_AUTO_TEST_CASE(who_has_to_take_it_says_what_is_in_the_way) {
  const auto route = [](const std::string& conditions) {
    return sni_obstacle("Route", object("status: {ingress: [{conditions: [" + conditions + "]}]}"));
  };
  BOOST_TEST(sni_obstacle("Route", object("{}")) == "no router has taken it yet");
  BOOST_TEST(route("{type: Admitted, status: 'False', reason: Taken, message: by shop}") ==
             "its router says Taken: by shop");
  BOOST_TEST(route("{type: Admitted, status: 'True'}").empty());
  BOOST_TEST(sni_obstacle("TLSRoute", object("status: {parents: [{conditions: [{type: Accepted, "
                                             "status: 'True'}]}]}"))
                 .empty());
  BOOST_TEST(sni_obstacle("Ingress", object("status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}"))
                 .empty());
}

BOOST_AUTO_TEST_CASE(a_host_leads_to_one_port_alone_and_always_at_443) {
  const auto addresses = sni_addresses({.links = {"l.example"}, .grants = {"g.example"}});
  BOOST_REQUIRE(addresses.size() == 2u);
  BOOST_TEST(addresses[0].link_port == 443u);
  BOOST_TEST(addresses[0].leads_to(IngressUse::links));
  BOOST_TEST(!addresses[0].leads_to(IngressUse::grants));
  BOOST_TEST(addresses[1].grant_port == 443u);
  BOOST_TEST(!addresses[1].leads_to(IngressUse::links));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
}  // namespace istmo::control
