#include "control/kubernetes/cluster_documents.h"

#include <boost/test/unit_test.hpp>

#include "control/document_store.h"
#include "control/kubernetes/custom_resources.h"
#include "json_text.h"

using namespace istmo;
using namespace istmo::control;

namespace {

Value config_map(const std::string& name, const std::string& data) {
  return json(R"({"metadata":{"name":")" + name + R"("},"data":)" + data + "}");
}

using Names = std::vector<std::string>;

Names files_of(const ClusterDocuments& documents) {
  Names names;
  for (const auto& [path, file] : documents.state().files) names.push_back(path);
  return names;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cluster_documents)

BOOST_AUTO_TEST_CASE(each_data_key_is_a_file_and_follows_its_object) {
  ClusterDocuments documents;
  BOOST_TEST(documents.put_streams("ConfigMap", config_map("a", R"({"x":"1","y":"2"})")));
  BOOST_TEST(documents.put_streams("ConfigMap", config_map("a-b", R"({"x":"3"})")));
  BOOST_TEST(!documents.put_streams("ConfigMap", config_map("a", R"({"y":"2","x":"1"})")));
  BOOST_TEST(files_of(documents) == (Names{"ConfigMap/a-b/x", "ConfigMap/a/x", "ConfigMap/a/y"}),
             boost::test_tools::per_element());
  BOOST_TEST(documents.put_streams("ConfigMap", config_map("a", R"({"y":"5"})")));
  BOOST_TEST(documents.state().files.at("ConfigMap/a/y").text == "5");
  BOOST_TEST(!documents.remove_streams({"ConfigMap", "b"}));
  BOOST_TEST(documents.remove_streams({"ConfigMap", "a"}));
  BOOST_TEST(files_of(documents) == Names{"ConfigMap/a-b/x"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(streams_of_a_secret_are_decoded_and_what_is_no_base64_is_told) {
  ClusterDocuments documents;
  documents.put_streams("Secret", config_map("t", R"({"a":"aGk=","b":"%","c":{}})"));
  const auto& files = documents.state().files;
  BOOST_TEST(files.at("Secret/t/a").text == "hi");
  BOOST_TEST(!files.at("Secret/t/b").error.empty());
  BOOST_TEST(files.at("Secret/t/c").error == "it is no text");
}

BOOST_AUTO_TEST_CASE(object_of_its_own_kind_is_a_document_whatever_the_server_changes_in_it) {
  ClusterDocuments documents;
  const auto listener = [](const char* generation, const char* port, const char* status) {
    return json(std::string(R"({"metadata":{"name":"web","uid":"u1","resourceVersion":"9",)") +
                R"("labels":{"a":"b"},"annotations":{"c":"d",)" +
                R"("kubectl.kubernetes.io/last-applied-configuration":"{}"},"generation":)" +
                generation + R"(},"spec":{"routingKey":"web","host":"web","port":)" + port +
                R"(},"status":{"status":")" + status + R"("}})");
  };
  BOOST_TEST(documents.put_custom("Listener", listener("1", "80", "")));
  BOOST_TEST(!documents.put_custom("Listener", listener("1", "80", "Ready")));
  DocumentStore store;
  store.apply(documents.state());
  BOOST_TEST(store.problems().empty());
  const ListenerDocument& read = store.desired().listeners.at("web");
  BOOST_TEST(read.port == 80u);
  BOOST_TEST(read.metadata.generation == 1u);
  BOOST_TEST(read.metadata.labels.at("a") == "b");
  BOOST_TEST(read.metadata.annotations.size() == 1u);
  BOOST_CHECK(documents.owner_of(read.origin.file) ==
              (ObjectOwner{"skupper.io/v2alpha1", "Listener", "web", "u1"}));
  BOOST_TEST(documents.put_custom("Listener", listener("2", "81", "Ready")));
  BOOST_TEST(documents.remove_custom({"Listener", "web"}));
  BOOST_TEST(documents.state().files.empty());
}

// Where the status of such a document is written, by where it comes from.
BOOST_AUTO_TEST_CASE(document_of_a_config_map_and_of_its_own_kind_counts_as_of_the_config_map) {
  const std::string text =
      R"({"apiVersion":"skupper.io/v2alpha1","kind":"Listener","metadata":{"name":"web"},)"
      R"("spec":{"routingKey":"web","host":"web","port":80}})";
  ClusterDocuments documents;
  DocumentStore store;
  documents.put_custom("Listener", json(text));
  store.apply(documents.state());
  BOOST_TEST(is_custom_resource_file(store.desired().listeners.at("web").origin.file));
  Value map = config_map("listener-web", "{}");
  map.set("data", Value::map()).set("x", text);
  documents.put_streams("ConfigMap", map);
  store.apply(documents.state());
  BOOST_TEST(store.problems().size() == 2u);
  BOOST_TEST(store.desired().listeners.at("web").origin.file == "ConfigMap/listener-web/x");
  documents.remove_streams({"ConfigMap", "listener-web"});
  store.apply(documents.state());
  BOOST_TEST(store.problems().empty());
  BOOST_TEST(is_custom_resource_file(store.desired().listeners.at("web").origin.file));
}

BOOST_AUTO_TEST_CASE(a_secret_that_is_referred_to_is_a_document) {
  ClusterDocuments documents;
  const std::string secret =
      R"({"metadata":{"name":"link-oeste","resourceVersion":"1"},"type":"kubernetes.io/tls",)"
      R"("data":{"tls.crt":"Yw=="}})";
  documents.put_secret(json(secret));
  DocumentStore store;
  store.apply(documents.state());
  BOOST_TEST(store.problems().empty());
  BOOST_TEST(store.desired().secrets.at("link-oeste").data.at("tls.crt") == "c");
  BOOST_TEST(documents.remove_secret("link-oeste"));
  BOOST_TEST(documents.state().files.empty());
}

BOOST_AUTO_TEST_CASE(what_is_too_much_is_left_out_by_name_and_comes_back_when_there_is_room) {
  ClusterDocuments documents(2, 10);
  documents.put_streams("ConfigMap", config_map("a", R"({"x":"12345"})"));
  documents.put_streams("ConfigMap", config_map("b", R"({"x":"123456"})"));
  BOOST_TEST(files_of(documents) == Names{"ConfigMap/a/x"}, boost::test_tools::per_element());
  const std::string told = documents.state().unread.at("documents");
  BOOST_TEST(told.contains("such as ConfigMap/b/"), told);
  documents.put_streams("ConfigMap", config_map("b", R"({"x":"1"})"));
  BOOST_TEST(documents.state().unread.empty());
  documents.put_streams("ConfigMap", config_map("c", R"({"x":"1"})"));
  BOOST_TEST(documents.state().unread.contains("documents"));
  BOOST_TEST(documents.state().files.size() == 2u);
  documents.remove_streams({"ConfigMap", "c"});
  BOOST_TEST(documents.state().unread.empty());
}

// The order is that of names, and anybody may choose one that comes before all others.
BOOST_AUTO_TEST_CASE(large_texts_make_room_for_small_ones_until_all_was_put_once) {
  ClusterDocuments documents(10, 20);
  documents.put_streams("ConfigMap", config_map("a", R"({"x":"123456789","y":"12345678"})"));
  documents.put_streams("ConfigMap", config_map("b", R"({"x":"12345"})"));
  BOOST_TEST((files_of(documents) == Names{"ConfigMap/a/y", "ConfigMap/b/x"}));
  BOOST_TEST(documents.state().unread.at("documents").contains("such as ConfigMap/a/"));
  documents.put_streams("ConfigMap", config_map("c", R"({"x":"123456789"})"));  // larger than all
  BOOST_TEST(files_of(documents).size() == 2u);
  documents.settle();
  documents.put_streams("ConfigMap", config_map("d", R"({"x":"1234567"})"));
  documents.put_streams("ConfigMap", config_map("e", R"({"x":"1"})"));
  BOOST_TEST((files_of(documents) == Names{"ConfigMap/a/y", "ConfigMap/b/x", "ConfigMap/d/x"}));
  for (const char* name : {"a", "c", "e"}) documents.remove_streams({"ConfigMap", name});
  BOOST_TEST(documents.state().unread.empty());
}

BOOST_AUTO_TEST_SUITE_END()
