#include <boost/test/unit_test.hpp>

#include "control/base64.h"
#include "control/durations.h"
#include "control/json.h"
#include "control/yaml.h"

using namespace istmo;
using namespace istmo::control;

BOOST_AUTO_TEST_SUITE(value_text)

BOOST_AUTO_TEST_CASE(yaml_scalars_have_the_kinds_of_the_core_schema) {
  const auto parsed = parse_yaml("[1, 1.5, true, ~, '1', text, 0x1f, 1e3, -7]", {});
  BOOST_REQUIRE(!parsed.error);
  using enum Value::Kind;
  const Value::Kind kinds[] = {integer, real,    boolean, null,   string,
                               string,  integer, real,    integer};
  const auto& items = parsed.documents.at(0).items();
  BOOST_REQUIRE_EQUAL(items.size(), std::size(kinds));
  for (size_t i = 0; i < items.size(); ++i) BOOST_TEST(bool(items[i].kind() == kinds[i]), i);
}

BOOST_AUTO_TEST_CASE(every_document_of_a_text_is_read_with_lines) {
  const auto parsed = parse_yaml("a: 1\n---\n---\nb:\n  - c\n", {});
  BOOST_REQUIRE(!parsed.error);
  BOOST_REQUIRE_EQUAL(parsed.documents.size(), 2u);
  BOOST_TEST(parsed.documents[1].find("b")->items()[0].position().line == 5);
  BOOST_TEST(parsed.documents[1].entries()[0].position.line == 4);
}

BOOST_AUTO_TEST_CASE(documents_before_a_syntax_error_are_kept) {
  const auto parsed = parse_yaml("a: 1\n---\nb: [1\n", {});
  BOOST_TEST(parsed.documents.size() == 1u);
  BOOST_REQUIRE(parsed.error);
  BOOST_TEST(parsed.error->position.line >= 3);
}

BOOST_AUTO_TEST_CASE(documents_behind_a_syntax_error_are_read_with_their_lines) {
  const auto parsed = parse_yaml(
      "a: 1\n"
      "---\n"
      "b: [1\n"
      "--- # c\n"
      "c: |\n"
      "  ---\n"
      "---d: just a key\n"
      "---\n"
      "e: \"open\n"
      "---\n"
      "f: 1\n"
      "f: 2\n"
      "---\r\n"
      "g: 3\n",
      {});
  std::vector<std::string> keys;
  for (const Value& document : parsed.documents) keys.push_back(document.entries()[0].key);
  BOOST_TEST(keys == (std::vector<std::string>{"a", "c", "g"}), boost::test_tools::per_element());
  BOOST_TEST(parsed.documents.back().entries()[0].position.line == 14);
  BOOST_REQUIRE(parsed.error);
  BOOST_TEST(parsed.error->position.line <= 4);
  BOOST_REQUIRE(parsed.more_errors.size() == 2u);
  BOOST_TEST(parsed.more_errors[0].position.line >= 9);
  BOOST_TEST(parsed.more_errors[0].position.line <= 10);
  BOOST_TEST(parsed.more_errors[1].position.line == 12);
  const auto scalar = parse_yaml("a: [\n---\nb: |\n  ---\n  x\n", {});
  BOOST_REQUIRE(scalar.documents.size() == 1u);
  BOOST_TEST(scalar.documents[0].find("b")->text() == "---\nx\n");
}

BOOST_AUTO_TEST_CASE(a_text_beyond_its_limits_is_read_no_further) {
  std::string text = "a: [\n---\nb: [";
  for (int i = 0; i < 100; ++i) text += "x, ";
  const auto parsed = parse_yaml(text + "]\n---\nc: 1\n", {.nodes_max = 50});
  BOOST_TEST(parsed.documents.empty());
  BOOST_REQUIRE(parsed.more_errors.size() == 1u);
  BOOST_TEST(parsed.more_errors[0].text == "the text has too many nodes");
  std::string errors;
  for (int i = 0; i < 1000; ++i) errors += "---\n[\n";
  BOOST_TEST(parse_yaml(errors, {}).more_errors.size() == 100u);
}

BOOST_AUTO_TEST_CASE(billion_laughs_are_refused) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) text += (j ? ", " : "") + before;
    text += "]\n";
  }
  const auto parsed = parse_yaml(text, {});
  BOOST_REQUIRE(parsed.error);
  BOOST_TEST(parsed.error->text == "the text has too many nodes");
}

BOOST_AUTO_TEST_CASE(aliases_of_a_long_text_are_refused) {
  std::string text = "a: &a \"" + std::string(500'000, 'x') + "\"\nb: [";
  for (int i = 0; i < 20; ++i) text += "*a, ";
  const auto parsed = parse_yaml(text + "]\n", {});
  BOOST_REQUIRE(parsed.error);
  BOOST_TEST(parsed.error->text == "the text has too long values");
}

BOOST_AUTO_TEST_CASE(deep_nesting_doubled_keys_and_long_texts_are_refused) {
  const std::string deep = std::string(40, '[') + std::string(40, ']');
  BOOST_TEST(parse_yaml(deep, {}).error->text == "the text is nested too deeply");
  BOOST_TEST(parse_json(deep, {}).error->text == "the text is nested too deeply");
  BOOST_TEST(parse_yaml("a: 1\na: 2\n", {}).error->position.line == 2);
  BOOST_TEST(parse_json("{\"a\":1,\n\"a\":2}", {}).error->position.line == 2);
  BOOST_TEST(parse_yaml(std::string(100, ' '), {.bytes_max = 99}).error.has_value());
  BOOST_TEST(parse_yaml("a: &a [*a]\n", {}).error.has_value());
}

BOOST_AUTO_TEST_CASE(json_reads_values_with_lines) {
  const auto parsed = parse_json("{\"a\": [1, -2, 1.5, true, null],\n \"b\":\n \"c\\u00e9\"}", {});
  BOOST_REQUIRE(!parsed.error);
  const Value& map = parsed.documents.at(0);
  BOOST_TEST(map.find("a")->items().size() == 5u);
  BOOST_TEST(map.find("b")->text() == "c\u00e9");
  BOOST_TEST(map.find("b")->position().line == 3);
  BOOST_TEST(map.entries()[1].position.line == 2);
  BOOST_TEST(parse_json("{\"a\":\n\n x}", {}).error->position.line == 3);
  BOOST_TEST(parse_json("{} {}", {}).error.has_value());
}

BOOST_AUTO_TEST_CASE(what_is_written_is_read_back_the_same) {
  Value tree = Value::map();
  const std::string awkward[] = {"8080",
                                 "true",
                                 "null",
                                 "",
                                 "yes",
                                 "1.5",
                                 "2026-11-22",
                                 "a: b",
                                 "# c",
                                 "- x",
                                 " lead",
                                 "tail ",
                                 "-----BEGIN X-----\nabc=\n\ndef\n-----END X-----\n",
                                 "no newline\nat end",
                                 "\t\"q\"\\",
                                 "\x01\x1f",
                                 "caf\u00e9",
                                 "*a",
                                 "&a",
                                 "{x}",
                                 "[x]",
                                 "key:",
                                 "%",
                                 "@",
                                 "`",
                                 "'",
                                 "\n",
                                 "\n\n",
                                 "~",
                                 "0x10",
                                 "1:30",
                                 "<<",
                                 "=",
                                 "a #b",
                                 "line\n \n",
                                 "!tag",
                                 "| ",
                                 "?",
                                 "a,b"};
  Value& list = tree.set("list", Value::list());
  for (const auto& text : awkward) {
    list.add(text);
    Value& inner = list.add(Value::map());
    inner.set(text.empty() ? "empty" : text, text);
    inner.set("nested", Value::list()).add(Value::list()).add(text);
  }
  tree.set("empty list", Value::list());
  tree.set("empty map", Value::map());
  tree.set("nothing", Value());
  tree.set("number", 5);
  tree.set("truth", false);
  const std::string text = write_yaml(tree);
  const auto yaml = parse_yaml(text, {});
  BOOST_REQUIRE_MESSAGE(!yaml.error, text);
  BOOST_TEST(bool(yaml.documents.at(0) == tree), text);
  const auto json = parse_json(write_json(tree, JsonStyle::indented), {});
  BOOST_REQUIRE(!json.error);
  BOOST_TEST(bool(json.documents.at(0) == tree));
}

BOOST_AUTO_TEST_CASE(durations_are_those_of_go) {
  const std::pair<const char*, int64_t> good[] = {{"5s", 5'000'000'000},
                                                  {"1m30s", 90'000'000'000},
                                                  {"250ms", 250'000'000},
                                                  {"1.5h", 5'400'000'000'000},
                                                  {"0", 0},
                                                  {"-2s", -2'000'000'000},
                                                  {"1us", 1000},
                                                  {"1\u00b5s", 1000},
                                                  {".5s", 500'000'000},
                                                  {"3ns", 3}};
  for (const auto& [text, ns] : good) {
    const auto parsed = parse_duration(text);
    BOOST_REQUIRE_MESSAGE(parsed.has_value(), text);
    BOOST_TEST(parsed->ns == ns, text);
  }
  for (const char* bad : {"", "5", "s", "5 s", "1x", "-", "1..5s", ".s", "9999999999h", "5s5"}) {
    BOOST_TEST(!parse_duration(bad).has_value(), bad);
  }
  BOOST_TEST(control::to_string(Duration::seconds(900)) == "15m0s");
  BOOST_TEST(control::to_string(Duration::milliseconds(1500)) == "1.5s");
  BOOST_TEST(control::to_string(Duration::seconds(5400)) == "1h30m0s");
  BOOST_TEST(control::to_string(Duration::microseconds(1500)) == "1.5ms");
  BOOST_TEST(control::to_string(Duration{}) == "0s");
  for (const int64_t ns : {1ll, 999ll, 1'000'001ll, 61'000'000'001ll, -5'000'000'000ll}) {
    BOOST_TEST(parse_duration(control::to_string(Duration{ns}))->ns == ns);
  }
}

BOOST_AUTO_TEST_CASE(base64_goes_both_ways_and_refuses_what_is_not) {
  for (const std::string text : {"", "a", "ab", "abc", "abcd", "\xff\xfe"}) {
    BOOST_TEST(*decode_base64(encode_base64(text)) == text);
  }
  BOOST_TEST(encode_base64("abcd") == "YWJjZA==");
  BOOST_TEST(*decode_base64("YWJj\nZA==\n") == "abcd");
  for (const char* bad : {"Y", "YWJjZA=", "YW=j", "YWJj*A==", "YWJjZB==", "===="}) {
    BOOST_TEST(!decode_base64(bad).has_value(), bad);
  }
}

BOOST_AUTO_TEST_SUITE_END()
