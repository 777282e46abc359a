// The command line, the platform, completions and what is printed.
#include <boost/test/unit_test.hpp>

#include <set>

#include "control/cli/command_line.h"
#include "control/cli/completion.h"
#include "control/cli/platform.h"
#include "control/cli/terminal.h"
#include "control/cli/usage.h"
#include "control_fixture.h"
#include "control/kubernetes/label_selector.h"
#include "control/yaml.h"

namespace istmo::control {

namespace {

std::variant<Arguments, UsageAnswer> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "istmo");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}

Arguments understood(std::vector<const char*> words) {
  const auto result = parse(std::move(words));
  if (const auto* answer = std::get_if<UsageAnswer>(&result)) BOOST_FAIL(answer->text);
  return std::get<Arguments>(result);
}

int exit_code(std::vector<const char*> words) {
  const auto result = parse(std::move(words));
  const auto* answer = std::get_if<UsageAnswer>(&result);
  return answer == nullptr ? -1 : answer->exit_code;
}

std::string answer_to(std::vector<const char*> words) {
  const auto result = parse(std::move(words));
  const auto* answer = std::get_if<UsageAnswer>(&result);
  return answer == nullptr ? std::string("understood") : answer->text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cli)

BOOST_AUTO_TEST_CASE(the_namespace_may_stand_before_or_behind_the_verb) {
  BOOST_TEST(understood({"-n", "west", "status"}).namespace_name == "west");
  BOOST_TEST(understood({"status", "-n", "west"}).namespace_name == "west");
  BOOST_TEST(understood({"link", "status", "-n", "west"}).namespace_name == "west");
  BOOST_TEST(understood({"token", "create", "f", "--namespace", "west"}).token.file == "f");
}

BOOST_AUTO_TEST_CASE(each_verb_is_told_apart) {
  BOOST_CHECK(understood({"init"}).verb == Verb::init);
  BOOST_CHECK(understood({"delete"}).verb == Verb::remove);
  BOOST_CHECK(understood({"link", "delete", "link1"}).verb == Verb::link_remove);
  const Arguments listener = understood({"listener", "create", "backend", "8080"});
  BOOST_CHECK(listener.verb == Verb::resource_create);
  BOOST_CHECK(listener.resource.noun == Noun::listener);
  BOOST_TEST(*listener.resource.port == 8080);
  BOOST_CHECK(understood({"connector", "status"}).resource.noun == Noun::connector);
  BOOST_CHECK(understood({"site", "delete", "--all"}).resource.noun == Noun::site);
  BOOST_CHECK(understood({"service", "status", "-o", "yaml"}).output == Output::yaml);
}

BOOST_AUTO_TEST_CASE(expose_takes_both_spellings_of_a_host) {
  const Arguments one = understood({"expose", "host/10.0.0.1", "--address", "db", "--port", "1"});
  BOOST_TEST(one.expose.target.size() == 1u);
  const Arguments two =
      understood({"expose", "host", "10.0.0.1", "--address", "db", "--port", "1", "--port", "2"});
  BOOST_TEST(two.expose.target.size() == 2u);
  BOOST_TEST(two.expose.ports.size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_wrong_command_line_is_a_usage_error_and_help_is_not) {
  BOOST_TEST(exit_code({}) == kExitUsage);
  BOOST_TEST(exit_code({"nonsense"}) == kExitUsage);
  BOOST_TEST(exit_code({"token"}) == kExitUsage);
  BOOST_TEST(exit_code({"token", "create"}) == kExitUsage);
  BOOST_TEST(exit_code({"status", "-o", "xml"}) == kExitUsage);
  BOOST_TEST(exit_code({"listener", "create", "a", "70000"}) == kExitUsage);
  BOOST_TEST(exit_code({"--help"}) == kExitDone);
  BOOST_TEST(exit_code({"link", "create", "--help"}) == kExitDone);
}

BOOST_AUTO_TEST_CASE(a_value_that_cannot_be_right_is_a_usage_error) {
  const std::vector<std::vector<const char*>> wrong{
      {"expose", "host/10.0.0.1", "--port", "1"},
      {"expose", "host/10.0.0.1", "--address", "b", "--port", "abc"},
      {"expose", "host/10.0.0.1", "--address", "b", "--port", "0"},
      {"expose", "host/10.0.0.1", "--address", "b", "--port", "1:99999"},
      {"expose", "host/10.0.0.1", "--address", "B b", "--port", "1"},
      {"expose", "nonsense", "--address", "b", "--port", "1"},
      {"expose", "host/a b", "--address", "b", "--port", "1"},
      {"expose", "host/a", "--address", "b", "--port", "1", "--target-port", "2", "--target-port",
       "3"},
      {"unexpose", "nonsense"},
      {"token", "create", "f", "--expiry", "foo"},
      {"token", "create", "f", "--expiry", "0s"},
      {"token", "create", "f", "--name", "A b"},
      {"token", "create", "f", "--ingress-host", "a b"},
      {"link", "create", "f", "--name", "A b"},
      {"link", "status", "--wait", "foo"},
      {"init", "--drain-timeout", "x"},
      {"init", "--drain-timeout", "-1s"},
      {"init", "--drain-delay", "-1s"},
      {"init", "--health-address", "9901"},
      {"init", "--timeout", "foo"},
      {"init", "--service-host", "foo"},
      {"init", "--site-name", "A b"},
      {"init", "--ingress", "bogus"},
      {"init", "--ingress-gateway", "a/b/c"},
      {"init", "--ingress-gateway", "A/b"},
      {"site", "create", "west", "--ingress-host", "a b"},
      {"status", "-n", "A_b"},
      {"status", "--admin", "foo"},
      {"site", "create"},
      {"site", "update", "--link-access-type", "bogus"},
      {"listener", "create", "a", "7", "--host", "a b"},
      {"listener", "create", "a", "7", "--timeout", "foo"},
      {"connector", "create", "A b", "7"}};
  for (const auto& words : wrong) {
    std::string line;
    for (const char* word : words) line += std::string(" ") + word;
    BOOST_TEST(exit_code(words) == kExitUsage, "not refused:" << line);
  }
}

BOOST_AUTO_TEST_CASE(a_repeatable_option_takes_one_value_each_time) {
  const Arguments expose = understood({"expose", "--port", "8080", "--target-port", "90", "host/a",
                                       "--address", "b", "--port", "8081"});
  BOOST_TEST(expose.expose.ports.size() == 2u);
  BOOST_TEST(expose.expose.target.front() == "host/a");
  const Arguments init = understood({"--admin", "localhost:80", "init", "--ingress-host", "[::1]",
                                     "--ingress-host", "west.example"});
  BOOST_TEST(init.run.ingress_hosts.size() == 2u);
}

BOOST_AUTO_TEST_CASE(an_unknown_word_is_named_and_the_closest_command_told) {
  BOOST_TEST(answer_to({"stauts"}).contains("no command 'stauts'; did you mean 'status'?"));
  BOOST_TEST(answer_to({"link", "craete", "f"}).contains("did you mean 'create'?"));
  const std::string strange = answer_to({"link", "zzzzzz", "--help"});
  BOOST_TEST(strange.contains("no command 'zzzzzz'"));
  BOOST_TEST(!strange.contains("did you mean"));
}

BOOST_AUTO_TEST_CASE(help_is_a_command_too_and_names_the_options_of_every_command) {
  BOOST_TEST(answer_to({"help"}) == answer_to({"--help"}));
  BOOST_TEST(answer_to({"help", "link", "create"}) == answer_to({"link", "create", "--help"}));
  BOOST_TEST(exit_code({"help", "expose"}) == kExitDone);
  const std::string expose = answer_to({"help", "expose"});
  for (const char* text : {"Usage: istmo expose [OPTIONS] target...\n", "-n,--namespace", "--admin",
                           "-p,--platform", "--port"}) {
    BOOST_TEST(expose.contains(text), "help lacks " << text << ":\n" << expose);
  }
  BOOST_TEST(answer_to({"--version"}) == "istmo " ISTMO_VERSION "\n");
  BOOST_TEST(exit_code({"--version"}) == kExitDone);
}

BOOST_AUTO_TEST_CASE(a_host_has_one_spelling) {
  for (const char* host : {"::1", "[::1]", "0:0:0:0:0:0:0:1"}) {
    BOOST_TEST(parse_target({"host", host})->name == "::1");
  }
  BOOST_TEST(parse_target({"host/10.0.0.1"})->name == "10.0.0.1");
  BOOST_TEST(parse_target({"host/DB.example"})->name == "db.example");
}

BOOST_AUTO_TEST_CASE(two_texts_never_have_the_same_resource_name) {
  std::set<std::string> taken;
  const auto name_for = [&](const std::string& text) {
    const auto name = free_resource_name(text, [&](const auto& it) { return taken.contains(it); });
    BOOST_TEST(check_resource_name(name).has_value());
    taken.insert(name);
    return name;
  };
  BOOST_TEST(name_for("b-my-db.invalid-1") == "b-my-db-invalid-1");
  const std::string other = name_for("b-my.db.invalid-1");
  BOOST_TEST(other.starts_with("b-my-db-invalid-1-"));
  BOOST_TEST(other.size() < 30u);
  taken.erase(other);
  BOOST_TEST(name_for("b-my.db.invalid-1") == other);
  BOOST_TEST(name_for(std::string(300, 'a')) != name_for(std::string(301, 'a')));
}

BOOST_AUTO_TEST_CASE(the_platform_is_chosen_in_the_order_of_rank) {
  const auto chosen = [](const PlatformClues& clues) { return *choose_platform(clues); };
  BOOST_CHECK(chosen({}) == Platform::linux_machine);
  BOOST_CHECK(chosen({.has_current_context = true}) == Platform::kubernetes);
  PlatformClues clues{.of_local_site = Platform::linux_machine, .has_current_context = true};
  BOOST_CHECK(chosen(clues) == Platform::linux_machine);
  clues.environment = "kubernetes";
  BOOST_CHECK(chosen(clues) == Platform::kubernetes);
  clues.flag = "linux";
  BOOST_CHECK(chosen(clues) == Platform::linux_machine);
  BOOST_TEST(!choose_platform({.environment = "podman"}).has_value());
}

BOOST_AUTO_TEST_CASE(what_expose_takes_depends_on_what_is_exposed) {
  BOOST_TEST(exit_code({"expose", "host/a", "--port", "1"}) == kExitUsage);
  BOOST_TEST(exit_code({"expose", "host/a", "--address", "b"}) == kExitUsage);
  BOOST_TEST(exit_code({"expose", "pods/app=a", "--address", "b"}) == kExitUsage);
  understood({"expose", "deployment/backend"});
  understood({"expose", "pods", "app=a,tier in (b)", "--address", "b", "--port", "1"});
  BOOST_TEST(answer_to({"expose", "deployment/a/b"}).contains("a/b"));
  BOOST_TEST(answer_to({"expose", "job/a"}).contains("deployment/NAME"));
}

BOOST_AUTO_TEST_CASE(a_label_selector_of_the_api_is_one_text) {
  const auto selector = parse_yaml(
      "matchLabels: {app: a, tier: b}\n"
      "matchExpressions:\n"
      "- {key: x, operator: In, values: [c, d]}\n"
      "- {key: y, operator: NotIn, values: [e]}\n"
      "- {key: z, operator: Exists}\n"
      "- {key: w, operator: DoesNotExist}\n",
      {});
  BOOST_TEST(selector_text(selector.documents.front()) ==
             "app=a,tier=b,x in (c,d),y notin (e),z,!w");
}

BOOST_AUTO_TEST_CASE(completions_know_verbs_flags_choices_and_namespaces) {
  const CommandNode tree = command_tree();
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = completion_script(shell, tree);
    for (const char* word : {"expose", "target-port", "uring", "istmo/namespaces", "generate"}) {
      BOOST_TEST(script.contains(word), shell << " lacks " << word);
    }
  }
}

BOOST_AUTO_TEST_CASE(columns_are_as_wide_as_their_widest_cell) {
  Table table({"NAME", "STATUS", "MESSAGE"});
  table.add({"a-long-name", "Ready", ""});
  BOOST_TEST(table.text() ==
             "NAME         STATUS  MESSAGE\n"
             "a-long-name  Ready\n");
}

BOOST_AUTO_TEST_CASE(a_tree_is_drawn_as_v1_draws_it) {
  const Tree tree{
      .label = "Services:",
      .branches = {{.label = "a", .branches = {{.label = "b", .notes = {"note"}}, {.label = "c"}}},
                   {.label = "d"}}};
  BOOST_TEST(draw(tree) ==
             "Services:\n"
             "├─ a\n"
             "│  ├─ b\n"
             "│  │  note\n"
             "│  ╰─ c\n"
             "╰─ d\n");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::control
