#include "control/kubernetes/endpoint_table.h"

#include <boost/test/unit_test.hpp>

#include "json_text.h"

using namespace istmo;
using namespace istmo::control;

namespace {

std::string endpoint(const std::string& address, const std::string& more) {
  return R"({"addresses":[")" + address + R"("],"targetRef":{"kind":"Pod","name":"pod-)" + address +
         "\"}" + more + "}";
}

Value slice(const std::string& name, const std::string& endpoints) {
  return json(R"({"metadata":{"name":")" + name +
              R"(","labels":{"kubernetes.io/service-name":"web"}},"endpoints":[)" + endpoints +
              R"(],"ports":[{"name":"http","port":8080,"protocol":"TCP"},)"
              R"({"name":"dns","port":53,"protocol":"UDP"}]})");
}

const std::string kWeb = R"({"metadata":{"name":"web"},"spec":{"ports":[{"name":"http","port":80},)"
                         R"({"name":"other","port":81}]}})";

// "10.0.0.1:8080 ..." of Service web.
std::string selected(const EndpointTable& table, const std::string& zone, uint16_t port = 80) {
  const auto selection = table.select("web", port, zone);
  if (!selection) return "by its name";
  std::string text = selection->error;
  for (const auto& backend : selection->backends) {
    text += (text.empty() ? "" : " ") + backend.ip + ":" + std::to_string(backend.port);
  }
  return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(endpoint_table)

BOOST_AUTO_TEST_CASE(a_service_is_what_is_ready_behind_the_port_of_that_name) {
  EndpointTable table;
  BOOST_TEST(selected(table, "") == "by its name");
  table.put_service(json(kWeb));
  BOOST_TEST(selected(table, "") == "by its name");
  const Value two = slice("web-1", endpoint("10.0.0.1", "") + "," +
                                       endpoint("10.0.0.2", R"(,"conditions":{"ready":false})"));
  BOOST_TEST(table.put_slice(two));
  BOOST_TEST(!table.put_slice(two));
  table.put_slice(slice("web-2", endpoint("fd00::3", R"(,"conditions":{"ready":true})")));
  BOOST_TEST(selected(table, "") == "10.0.0.1:8080 fd00::3:8080");
  BOOST_TEST(selected(table, "", 81) == "");
  BOOST_TEST(selected(table, "", 82) == "Service web has no port 82");
  BOOST_TEST(table.remove_slice("web-1"));
  BOOST_TEST(selected(table, "") == "fd00::3:8080");
}

BOOST_AUTO_TEST_CASE(those_of_the_own_zone_are_preferred_while_one_is_ready) {
  EndpointTable table;
  table.put_service(json(kWeb));
  const auto put = [&](const std::string& ready_here) {
    table.put_slice(slice(
        "web-1", endpoint("10.0.0.1", R"(,"zone":"a","conditions":{"ready":)" + ready_here + "}") +
                     "," + endpoint("10.0.0.2", R"(,"zone":"b")")));
  };
  put("true");
  BOOST_TEST(selected(table, "a") == "10.0.0.1:8080");
  BOOST_TEST(selected(table, "b") == "10.0.0.2:8080");
  BOOST_TEST(selected(table, "c") == "10.0.0.1:8080 10.0.0.2:8080");
  BOOST_TEST(selected(table, "") == "10.0.0.1:8080 10.0.0.2:8080");
  put("false");
  BOOST_TEST(selected(table, "a") == "10.0.0.2:8080");
  BOOST_TEST(table.place_of_pod("pod-10.0.0.1").zone == "a");
  table.put_slice(slice("also", endpoint("10.0.0.1", R"(,"zone":"a")")));
  table.remove_slice("web-1");
  BOOST_TEST(table.place_of_pod("pod-10.0.0.1").zone == "a");
  table.remove_slice("also");
  BOOST_TEST(table.place_of_pod("pod-10.0.0.1").zone == "");
}

BOOST_AUTO_TEST_CASE(hints_go_before_zones_where_all_have_them) {
  using Places = std::vector<EndpointPlace>;
  const auto preferred = [](const Places& places) { return preferred_places(places, "a"); };
  BOOST_TEST((preferred({{"a", {"b"}}, {"b", {"a"}}}) == std::vector<bool>{false, true}));
  BOOST_TEST((preferred({{"a", {}}, {"b", {"a"}}}) == std::vector<bool>{true, false}));
  BOOST_TEST((preferred({{"a", {"b"}}, {"b", {"b"}}}) == std::vector<bool>{true, true}));
  BOOST_TEST(preferred({}).empty());
}

BOOST_AUTO_TEST_SUITE_END()
