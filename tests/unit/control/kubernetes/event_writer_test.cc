#include "control/kubernetes/event_writer.h"

#include <boost/test/unit_test.hpp>

namespace istmo::control {
namespace {

const ObjectOwner kAbout{"v1", "ConfigMap", "site-west", "uid-1"};

BOOST_AUTO_TEST_SUITE(event_writer)

BOOST_AUTO_TEST_CASE(an_event_names_the_object_that_shows_it) {
  const Value event = event_object(
      kAbout, {.is_warning = true, .reason = "DocumentError", .text = "port is missing"}, "west",
      "2026-11-26T00:00:00Z");
  BOOST_TEST(text_at(event, "involvedObject", "name") == "site-west");
  BOOST_TEST(text_at(event, "involvedObject", "uid") == "uid-1");
  BOOST_TEST(text_at(event, "involvedObject", "namespace") == "west");
  BOOST_TEST(text_at(event, "type") == "Warning");
  BOOST_TEST(text_at(event, "message") == "port is missing");
  BOOST_TEST(text_at(event, "metadata", "labels", "app.kubernetes.io/managed-by") == "istmo");
  BOOST_TEST(text_at(event_object(kAbout, {}, "west", ""), "type") == "Normal");
}

BOOST_AUTO_TEST_CASE(a_long_message_is_cut_between_characters) {
  const std::string umlaut = "\xc3\xbc";
  std::string text = "x";
  while (text.size() < 3000) text += umlaut;
  const Value event = event_object(kAbout, {.text = text}, "west", "");
  const std::string& message = text_at(event, "message");
  BOOST_TEST(message.size() <= 1024u);
  BOOST_TEST(message.ends_with(umlaut + "..."));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
}  // namespace istmo::control
