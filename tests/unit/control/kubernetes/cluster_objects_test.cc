// What the gateway keeps in its namespace, and what it knows of the pods there.
#include "control/kubernetes/cluster_objects.h"

#include <boost/test/unit_test.hpp>

#include "control/base64.h"
#include "json_text.h"
#include "control/kubernetes/pod_ports.h"
#include "control/kubernetes/pod_table.h"

using namespace istmo;
using namespace istmo::control;

namespace {

Value pod(const std::string& name, const std::string& ready, const std::string& more = "") {
  return json(R"({"metadata":{"name":")" + name + R"(","labels":{"app":"backend"})" + more +
              R"(},"status":{"phase":"Running","podIP":"10.1.0.7","conditions":[{"type":"Ready",)"
              R"("status":")" +
              ready + R"("}]}})");
}

ServiceOffer offer(const std::string& host, uint16_t port) {
  return {.name = host,
          .object = {},
          .listener = "l-" + host,
          .routing_keys = {host},
          .host = host,
          .port = port};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cluster_objects)

BOOST_AUTO_TEST_CASE(offers_of_one_host_are_one_service_with_several_ports) {
  std::map<std::string, std::string> problems;
  const auto objects = service_objects(
      {offer("db", 5432), offer("db", 5433), offer("10.0.0.1", 1), offer("web", 80)},
      {{{"db", 5432}, 10001}, {{"db", 5433}, 10002}}, problems);
  BOOST_REQUIRE(objects.size() == 1u);
  const Value& service = objects.at({"Service", "db"});
  BOOST_TEST(write_json(*service.find("spec"), JsonStyle::compact) ==
             R"({"ports":[{"name":"tcp-5432","port":5432,"protocol":"TCP","targetPort":10001},)"
             R"({"name":"tcp-5433","port":5433,"protocol":"TCP","targetPort":10002}],)"
             R"("selector":{"app.kubernetes.io/name":"istmo"},"type":"ClusterIP"})");
  BOOST_TEST(problems.at("l-10.0.0.1").contains("cannot be the name of a Service"));
  BOOST_TEST(problems.at("l-web") == "no port of the gateway's pod is free");
}

BOOST_AUTO_TEST_CASE(status_with_a_code_is_kept_in_a_secret) {
  Value status = Value::map();
  status.set("status", "Ready");
  const auto objects =
      StatusObjects().of({{.id = {"Listener", "a"}, .document = {}, .status = status},
                          {.id = {"AccessGrant", "g"}, .document = {}, .status = status},
                          {.id = {"Secret", "s"}, .document = {}, .status = status},
                          {.id = {"Listener", "B/"}, .document = {}, .status = status}});
  BOOST_REQUIRE(objects.size() == 2u);
  const Value& map = objects.at({"ConfigMap", "listener-a-status"});
  BOOST_TEST(map.find("data")->find("status.yaml")->text().contains("  status: Ready\n"));
  const Value& secret = objects.at({"Secret", "accessgrant-g-status"});
  const auto text = decode_base64(secret.find("data")->find("status.yaml")->text());
  BOOST_TEST(text.value().contains("kind: AccessGrant\n"));
}

BOOST_AUTO_TEST_CASE(a_status_that_changes_is_written_again_and_one_that_is_gone_is_not) {
  const auto ready = [](const char* text) {
    Value status = Value::map();
    status.set("status", text);
    return status;
  };
  const auto text_of = [](const std::map<ObjectId, Value>& objects, const char* name) {
    return text_at(objects.at({"ConfigMap", name}), "data", "status.yaml");
  };
  StatusObjects written;
  const ObjectStatus a{.id = {"Listener", "a"}, .document = {}, .status = ready("Ready")};
  const ObjectStatus b{.id = {"Listener", "b"}, .document = {}, .status = ready("Ready")};
  const auto first = written.of({a, b});
  ObjectStatus changed = a;
  changed.status = ready("Pending");
  const auto second = written.of({changed, b});
  BOOST_TEST(text_of(second, "listener-a-status").contains("Pending"));
  BOOST_TEST(text_of(second, "listener-b-status") == text_of(first, "listener-b-status"));
  BOOST_TEST(written.of({changed}).size() == 1u);
  BOOST_TEST(text_of(written.of({a, b}), "listener-a-status").contains("Ready"));
}

BOOST_AUTO_TEST_CASE(a_name_that_is_too_long_ends_with_a_digest_of_it) {
  const std::string a = object_name({"Listener", std::string(252, 'a')}, "-status");
  const std::string b = object_name({"Listener", std::string(253, 'a')}, "-status");
  BOOST_TEST(a.size() == 253u);
  BOOST_TEST(a != b);
  BOOST_TEST(a.ends_with("-status"));
}

BOOST_AUTO_TEST_CASE(only_pods_that_are_there_and_ready_are_selected) {
  PodTable pods;
  const auto selector = LabelSelector::parse("app=backend").value();
  const auto names = [&](NotReadyPods not_ready) {
    std::string text;
    for (const auto& selected : pods.select(selector, not_ready)) text += selected.name + " ";
    return text;
  };
  BOOST_TEST(pods.put(pod("a", "True")));
  BOOST_TEST(!pods.put(pod("a", "True")));
  BOOST_TEST(pods.put(pod("b", "False")));
  pods.put(pod("c", "True", R"(,"deletionTimestamp":"2026-01-01T00:00:00Z")"));
  pods.put(json(R"({"metadata":{"name":"d","labels":{"app":"backend"}},"status":{}})"));
  BOOST_TEST(names(NotReadyPods::left_out) == "a ");
  BOOST_TEST(names(NotReadyPods::included) == "a b ");
  BOOST_TEST(pods.put(pod("a", "True", R"(,"deletionTimestamp":"2026-01-01T00:00:00Z")")));
  BOOST_TEST(pods.remove("b"));
  BOOST_TEST(names(NotReadyPods::included) == "");
}

// Labels of a pod may be as long as the API server takes an object.
BOOST_AUTO_TEST_CASE(pods_that_have_too_many_labels_are_none_and_others_are_unaffected) {
  PodTable pods;
  std::string labels;
  for (int i = 0; i < 5000; ++i) labels += R"(,"k)" + std::to_string(i) + R"(":"v")";
  const auto labelled = [&](int number, const std::string& more) {
    return json(R"({"metadata":{"name":"pod-)" + std::to_string(number) +
                R"(","labels":{"app":"backend")" + more +
                R"(}},"status":{"podIP":"10.0.0.1","conditions":[)" +
                R"({"type":"Ready","status":"True"}]}})");
  };
  const auto count = [&] {
    const auto selector = LabelSelector::parse("app=backend").value();
    return pods.select(selector, NotReadyPods::left_out).size();
  };
  for (int i = 0; i < 100; ++i) pods.put(labelled(i, labels));
  const size_t taken = count();
  BOOST_TEST(taken > 10u);
  BOOST_TEST(taken < 100u);
  BOOST_TEST(pods.shortfall().contains("pod-"));
  BOOST_TEST(!pods.put(labelled(99, labels)));
  // As soon as there is room again.
  for (int i = 0; i < 50; ++i) pods.remove("pod-" + std::to_string(i));
  BOOST_TEST(pods.put(labelled(99, "")));
  for (int i = 50; i < 100; ++i) pods.put(labelled(i, ""));
  BOOST_TEST(count() == 50u);
  BOOST_TEST(pods.shortfall().empty());
}

BOOST_AUTO_TEST_CASE(selectors_of_every_form_select_as_the_labels_are_now) {
  PodTable pods;
  const auto labelled = [](const std::string& name, const std::string& labels) {
    return json(
        R"({"metadata":{"name":")" + name + R"(","labels":{)" + labels +
        R"(}},"status":{"podIP":"10.0.0.1","conditions":[{"type":"Ready","status":"True"}]}})");
  };
  const auto names = [&](const char* selector) {
    std::string text;
    for (const auto& selected :
         pods.select(LabelSelector::parse(selector).value(), NotReadyPods::left_out)) {
      text += selected.name + " ";
    }
    return text;
  };
  pods.put(labelled("b", R"("app":"web","tier":"one")"));
  pods.put(labelled("a", R"("app":"web","tier":"two")"));
  pods.put(labelled("c", R"("app":"db")"));
  BOOST_TEST(names("app=web") == "a b ");
  BOOST_TEST(names("app in (web,db)") == "a b c ");
  BOOST_TEST(names("tier,app=web,tier=two") == "a ");
  BOOST_TEST(names("app notin (web)") == "c ");
  BOOST_TEST(names("!tier") == "c ");
  pods.put(labelled("a", R"("app":"db","tier":"two")"));
  BOOST_TEST(names("app=web") == "b ");
  BOOST_TEST(names("app=db") == "a c ");
  pods.remove("c");
  BOOST_TEST(names("app=db") == "a ");
}

BOOST_AUTO_TEST_CASE(replicas_that_hear_of_services_in_another_order_agree_by_what_is_there) {
  PodPorts first;
  const ServicePlace a{"a", 80};
  const ServicePlace b{"b", 80};
  first.assign({a});
  const uint16_t port = first.ports().at(a);
  // To another replica the port was already somebody else's when it heard of the Service.
  PodPorts second;
  BOOST_TEST(!second.learn(b, port));
  second.assign({a, b});
  BOOST_TEST(second.ports().at(b) == port);
  const uint16_t elsewhere = second.ports().at(a);
  BOOST_TEST(second.learn(a, port));
  second.assign({a, b});
  BOOST_TEST(second.ports().at(a) == port);
  BOOST_TEST(second.ports().at(b) != port);
  BOOST_TEST(!second.learn(a, port));
  // A new pod knows what is there before it hears who offers it.
  PodPorts third;
  third.learn(a, elsewhere);
  third.assign({});
  third.assign({a});
  BOOST_TEST(third.ports().at(a) == elsewhere);
  third.assign({});
  third.forget("a");
  third.assign({a});
  BOOST_TEST(third.ports().at(a) == port);
}

BOOST_AUTO_TEST_CASE(ports_follow_from_names_stay_and_are_given_back) {
  PodPorts one;
  PodPorts other;
  const ServicePlace a{"a", 80};
  const ServicePlace b{"b", 80};
  one.assign({a, b});
  other.assign({b});
  const uint16_t port = one.ports().at(b);
  BOOST_TEST(other.ports().at(b) == port);
  BOOST_TEST(port != one.ports().at(a));
  // Another has it already: a Service that is there says so.
  PodPorts third;
  third.learn(a, port);
  third.learn(b, port);
  third.assign({a, b});
  BOOST_TEST(third.ports().at(a) == port);
  BOOST_TEST(third.ports().at(b) != port);
  third.assign({b});
  third.assign({b, {"c", 1}});
  BOOST_TEST(third.ports().size() == 2u);
  std::set<ServicePlace> many;
  for (uint16_t i = 1; i <= 20'001; ++i) many.insert({"x", i});
  third.assign(many);
  BOOST_TEST(third.ports().size() == 20'000u);
}

BOOST_AUTO_TEST_SUITE_END()
