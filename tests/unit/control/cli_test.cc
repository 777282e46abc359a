// The command line, the platform, completions and what is printed.
#include <boost/test/unit_test.hpp>

#include "control/cli/command_line.h"
#include "control/cli/completion.h"
#include "control/cli/platform.h"
#include "control/cli/terminal.h"
#include "control_fixture.h"

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
  BOOST_TEST(!require_linux(Platform::kubernetes).has_value());
}

BOOST_AUTO_TEST_CASE(a_kubeconfig_counts_only_with_a_current_context) {
  BOOST_TEST(has_current_context("current-context: kind\n"));
  BOOST_TEST(!has_current_context("current-context: \"\"\n"));
  BOOST_TEST(!has_current_context("clusters: []\n"));
  BOOST_TEST(!has_current_context(""));
  BOOST_TEST(!has_current_context("{not: [yaml"));
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
