#include "dataplane/io/socket.h"

#include <boost/test/unit_test.hpp>

using namespace istmo;
using namespace istmo::io;

BOOST_AUTO_TEST_SUITE(address)

BOOST_AUTO_TEST_CASE(numeric_addresses_round_trip) {
  for (const char* text : {"127.0.0.1:80", "0.0.0.0:0", "[::1]:443", "[::]:65535",
                           "[2001:db8::17]:8080", "[fe80::1%1]:9"}) {
    const auto address = Address::parse(text);
    BOOST_TEST_REQUIRE(address.has_value());
    BOOST_TEST(address->to_string() == text);
  }
}

BOOST_AUTO_TEST_CASE(host_and_port_are_told_apart) {
  const auto address = Address::parse("[2001:db8::1]", 81);
  BOOST_TEST_REQUIRE(address.has_value());
  BOOST_TEST(address->host() == "2001:db8::1");
  BOOST_TEST(address->port() == 81);
  BOOST_TEST(address->family() == AF_INET6);
  BOOST_TEST(Address::parse("::1", 1)->to_string() == "[::1]:1");
  BOOST_TEST(Address::parse("10.0.0.1", 1)->family() == AF_INET);
}

BOOST_AUTO_TEST_CASE(what_is_no_address_is_a_config_error) {
  for (const char* text :
       {"", ":", "80", "localhost:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80",
        "127.0.0.1:-1", "127.0.0.1:80x", "[127.0.0.1]:80", "[::1:80", "[]:80", "1.2.3:80",
        "1.2.3.4.5:80", "[::1%no-such-interface]:80", "127.0.0.1: 80"}) {
    const auto address = Address::parse(text);
    BOOST_TEST_CONTEXT(text) {
      BOOST_TEST_REQUIRE(!address.has_value());
      BOOST_TEST((address.error().error_class() == ErrorClass::config));
    }
  }
  BOOST_TEST(!Address::parse(std::string_view("127.0.0.1\0", 10), 80).has_value());
}

BOOST_AUTO_TEST_CASE(addresses_compare_by_value) {
  const Address one = Address::parse("127.0.0.1:80").value();
  BOOST_TEST((one == Address::parse("127.0.0.1", 80).value()));
  BOOST_TEST(!(one == Address::parse("127.0.0.1:81").value()));
  BOOST_TEST(!(one == Address::parse("[::1]:80").value()));
  BOOST_TEST((Address::from_sockaddr(one.raw(), one.raw_size()) == one));
  BOOST_TEST(Address().is_empty());
  BOOST_TEST(Address().to_string() == "(none)");
}

BOOST_AUTO_TEST_CASE(a_source_is_an_address_or_a_network_of_64_bits) {
  const auto source = [](const char* host) { return Address::parse(host, 1)->source(); };
  BOOST_TEST(source("192.0.2.1") == "192.0.2.1");
  BOOST_TEST(source("::ffff:192.0.2.1") == "192.0.2.1");
  BOOST_TEST(source("2001:db8:1:2:3::4") == "2001:db8:1:2::/64");
}

BOOST_AUTO_TEST_SUITE_END()
