#include "control/ingress_hosts.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>

using namespace istmo::control;

namespace {

using Hosts = std::vector<std::string>;

const Hosts kOwn{"192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.1"};

Hosts hosts_of(const std::string& bind_host, const Hosts& ingress_hosts = kOwn,
               const Hosts& names = {}) {
  RouterAccessDocument access;
  access.bind_host = bind_host;
  access.subject_alternative_names = names;
  return hosts_of_access(access, ingress_hosts, kOwn);
}

void check(const Hosts& hosts, const Hosts& wanted) {
  BOOST_TEST(hosts == wanted, boost::test_tools::per_element());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(ingress_hosts)

BOOST_AUTO_TEST_CASE(an_access_that_binds_everywhere_is_reached_at_all_hosts_each_once) {
  check(hosts_of("", {"a.example", "192.0.2.1"}, {"b.example", "a.example"}),
        {"b.example", "a.example", "192.0.2.1"});
  check(hosts_of("0.0.0.0"), {"192.0.2.1", "192.0.2.2", "127.0.0.1"});
  check(hosts_of("::"), {"2001:db8::1"});
  check(hosts_of("::", {"192.0.2.1", "127.0.0.1"}), {"::1"});
}

BOOST_AUTO_TEST_CASE(an_access_that_binds_one_address_is_reached_at_that_one) {
  check(hosts_of("192.0.2.2"), {"192.0.2.2"});
  check(hosts_of("127.0.0.5"), {"127.0.0.5"});
  check(hosts_of("2001:DB8::1"), {"2001:db8::1"});
  check(hosts_of("[2001:db8::1]"), {"2001:db8::1"});
  check(hosts_of("inside.example"), {"inside.example"});
}

BOOST_AUTO_TEST_CASE(names_and_addresses_of_other_machines_may_lead_to_it) {
  check(hosts_of("192.0.2.2", {"west.example", "192.0.2.1", "198.51.100.7"}, {"san.example"}),
        {"san.example", "192.0.2.2", "west.example", "198.51.100.7"});
}

BOOST_AUTO_TEST_CASE(this_machine_is_always_reached_at_itself) {
  const Hosts hosts = default_ingress_hosts();
  BOOST_TEST(hosts.back() == "127.0.0.1");
  BOOST_TEST(std::ranges::count(hosts, "127.0.0.1") == 1);
}

BOOST_AUTO_TEST_SUITE_END()
