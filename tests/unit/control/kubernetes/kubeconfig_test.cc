#include "control/kubernetes/kubeconfig.h"

#include <boost/test/unit_test.hpp>

#include "../control_fixture.h"

using namespace istmo;
using namespace istmo::control;

namespace {

constexpr const char* kAll = R"(apiVersion: v1
kind: Config
current-context: west
contexts:
- name: west
  context: {cluster: one, user: ana, namespace: oeste}
- name: east
  context: {cluster: two, user: exec}
- name: nobody
  context: {cluster: one}
clusters:
- name: one
  cluster:
    server: https://api.example:6443/prefix/
    certificate-authority-data: Q0E=
    tls-server-name: kubernetes
- name: two
  cluster:
    server: https://[::1]
    certificate-authority: pki/ca.pem
users:
- name: ana
  user:
    client-certificate-data: Q0VSVA==
    client-key: ana.key
    token: secret
    tokenFile: tokens/ana
- name: exec
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: bin/login
      args: [get, token]
      env: [{name: REGION, value: south}]
      provideClusterInfo: true
)";

struct Folder : TestFolder {
  Folder() {
    write("config", kAll);
    write("ana.key", "KEY");
    write("pki/ca.pem", "CA of two");
  }
  Result<KubeAccess> read(const std::string& context = "", const std::string& name = "") {
    return read_kubeconfig(
        {.file = {}, .files = {*this / "config"}, .context = context, .namespace_name = name});
  }
  // What is said of the file, with the user's part replaced.
  std::string error_of(const std::string& user) {
    write("config",
          "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
          "clusters: [{name: k, cluster: {server: 'https://a'}}]\n"
          "users:\n- name: u\n  user: " +
              user + "\n");
    const auto access = read();
    return access ? "" : access.error().text();
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(kubeconfig)

BOOST_AUTO_TEST_CASE(the_current_context_names_cluster_user_and_namespace) {
  Folder folder;
  const auto access = folder.read();
  BOOST_TEST_REQUIRE(access.has_value());
  BOOST_TEST(access->context == "west");
  BOOST_TEST(access->namespace_name == "oeste");
  BOOST_TEST(access->server() == "https://api.example:6443/prefix");
  BOOST_TEST(access->server_name == "kubernetes");
  BOOST_TEST(access->ca_pem == "CA");
  BOOST_TEST(access->certificate_pem == "CERT");
  BOOST_TEST(access->private_key_pem == "KEY");
  BOOST_TEST(access->token == "secret");
  BOOST_TEST(access->token_file == folder / "tokens/ana");
  BOOST_TEST(!access->exec.has_value());
  BOOST_TEST(folder.read("", "other")->namespace_name == "other");
}

BOOST_AUTO_TEST_CASE(another_context_paths_beside_the_file_and_a_plugin) {
  Folder folder;
  const auto access = folder.read("east");
  BOOST_TEST_REQUIRE(access.has_value());
  BOOST_TEST(access->namespace_name == "default");
  BOOST_TEST(access->server() == "https://[::1]:443");
  BOOST_TEST(access->ca_pem == "CA of two");
  BOOST_TEST_REQUIRE(access->exec.has_value());
  const KubeExec expected{.api_version = "client.authentication.k8s.io/v1",
                          .command = folder / "bin/login",
                          .arguments = {"get", "token"},
                          .environment = {{"REGION", "south"}},
                          .gets_cluster = true,
                          .install_hint = ""};
  BOOST_TEST((*access->exec == expected));
  BOOST_TEST(folder.read("nobody")->token.empty());
}

BOOST_AUTO_TEST_CASE(of_several_files_the_first_word_counts_and_missing_ones_do_not) {
  Folder folder;
  folder.write("first",
               "current-context: east\nclusters:\n- name: two\n"
               "  cluster: {server: 'https://first:1'}\n");
  const KubeconfigOptions options{.file = {},
                                  .files = {folder / "none", folder / "first", folder / "config"},
                                  .context = {},
                                  .namespace_name = {}};
  const auto access = read_kubeconfig(options);
  BOOST_TEST_REQUIRE(access.has_value());
  BOOST_TEST(access->context == "east");
  BOOST_TEST(access->server() == "https://first:1");
  BOOST_TEST(access->exec.has_value());
  KubeconfigOptions one = options;
  one.file = folder / "config";
  BOOST_TEST(read_kubeconfig(one)->context == "west");
  one.file = folder / "none";
  BOOST_TEST(read_kubeconfig(one).error().text().contains("no such file"));
  one = {.file = {}, .files = {folder / "none"}, .context = {}, .namespace_name = {}};
  BOOST_TEST(read_kubeconfig(one).error().text().contains("there is no kubeconfig"));
}

BOOST_AUTO_TEST_CASE(the_current_context_is_told_without_the_rest) {
  Folder folder;
  const auto current = [&](const std::string& text) {
    folder.write("config", text);
    return current_context(
        {.file = {}, .files = {folder / "config"}, .context = {}, .namespace_name = {}});
  };
  BOOST_TEST(current("current-context: kind\n").value() == "kind");
  BOOST_TEST(current("current-context: \"\"\n").value() == "");
  BOOST_TEST(current("clusters: []\n").value() == "");
  BOOST_TEST(current("").value() == "");
  BOOST_TEST(!current("{not: [yaml").has_value());
}

BOOST_AUTO_TEST_CASE(what_is_missing_or_not_supported_is_named_with_file_and_line) {
  Folder folder;
  const std::string file = folder / "config";
  BOOST_TEST(folder.read("north").error().text() == "there is no context 'north' in " + file);
  const auto has = [&](const std::string& user, const std::string& what) {
    const std::string error = folder.error_of(user);
    BOOST_TEST(error.starts_with(file + ":6: "), error);
    BOOST_TEST(error.contains(what), error);
  };
  BOOST_TEST(folder.error_of("{}") == "");
  has("{client-certificate-data: QQ==}", "one is missing");
  has("{client-certificate-data: '*', client-key: k}", "client-certificate-data: ");
  has("{client-certificate: none.pem}", "client-certificate: ");
  has("{auth-provider: {name: gcp}}", "auth-provider is not supported");
  has("{as: root}", "as is not supported");
  has("{exec: {apiVersion: client.authentication.k8s.io/v1}}", "exec has no command");
  has("{exec: {apiVersion: v1alpha1, command: a}}", "exec has apiVersion 'v1alpha1'");
  has("{exec: {apiVersion: client.authentication.k8s.io/v1, command: a, interactiveMode: Always}}",
      "interactiveMode Always");
  folder.write("config",
               "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
               "clusters: [{name: k, cluster: {server: 'http://a'}}]\n");
  BOOST_TEST(folder.read().error().text().contains("over https only"));
  folder.write("config", "contexts: []\n");
  BOOST_TEST(folder.read().error().text().contains("no kubeconfig has a current context"));
  folder.write("config", "- a list\n");
  BOOST_TEST(folder.read().error().text().contains("is no kubeconfig"));
  folder.write("config", "a: [\n");
  BOOST_TEST(folder.read().error().text().contains("cannot be read"));
}

BOOST_AUTO_TEST_CASE(a_pod_has_its_own_access) {
  Folder folder;
  folder.write("sa/ca.crt", "CA");
  folder.write("sa/token", "t");
  const auto read = [&](const std::string& host, const std::string& port) {
    return read_service_account(folder / "sa", host, port);
  };
  BOOST_TEST(read("10.96.0.1", "443").error().text().contains("namespace"));
  folder.write("sa/namespace", "oeste\n");
  const auto access = read("fd00::1", "443");
  BOOST_TEST_REQUIRE(access.has_value());
  BOOST_TEST(access->server() == "https://[fd00::1]:443");
  BOOST_TEST(access->namespace_name == "oeste");
  BOOST_TEST(access->token_file == folder / "sa/token");
  BOOST_TEST(access->context.empty());
  for (const char* port : {"", "0", "x", "443x", "65536"}) {
    BOOST_TEST(read("10.96.0.1", port).error().text().contains("this is no pod"), port);
  }
}

BOOST_AUTO_TEST_SUITE_END()
