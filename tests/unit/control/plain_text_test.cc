#include "control/plain_text.h"

#include <boost/test/unit_test.hpp>

namespace istmo::control {
namespace {

BOOST_AUTO_TEST_SUITE(plain_text)

BOOST_AUTO_TEST_CASE(a_port_is_a_number_from_1_to_65535_and_nothing_else) {
  BOOST_TEST(port_from("1").value() == 1u);
  BOOST_TEST(port_from("65535").value() == 65535u);
  for (const char* text : {"", "0", "65536", "-1", "+1", " 1", "1 ", "1a", "0x1", "1.0"}) {
    BOOST_TEST(!port_from(text).has_value(), text);
  }
  Value map = Value::map();
  map.set("port", 80);
  BOOST_TEST(port_at(map, "port") == 80u);
  BOOST_TEST(port_at(map, "other") == 0u);
  BOOST_TEST(port_at(Value(), "port") == 0u);
}

BOOST_AUTO_TEST_CASE(a_host_is_an_address_or_can_be_a_name) {
  for (const char* text : {"a", "db.example", "A-b_c", "10.0.0.1", "::1", "[::1]"}) {
    BOOST_TEST(is_host(text), text);
  }
  for (const std::string& text :
       {std::string(), std::string("a b"), std::string("a/b"), std::string(254, 'a')}) {
    BOOST_TEST(!is_host(text), text);
  }
}

BOOST_AUTO_TEST_CASE(what_means_something_in_a_query_is_escaped) {
  BOOST_TEST(escaped_for_query("a-b.c_d~9") == "a-b.c_d~9");
  BOOST_TEST(escaped_for_query("app=a,b in (c)") == "app%3Da%2Cb%20in%20%28c%29");
  BOOST_TEST(escaped_for_query("\xc3\xbc&") == "%C3%BC%26");
}

BOOST_AUTO_TEST_CASE(only_letters_of_ascii_get_smaller) {
  BOOST_TEST(in_lower_case("AZaz09-\xc3\x9c") == "azaz09-\xc3\x9c");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
}  // namespace istmo::control
