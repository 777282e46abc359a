#include "dataplane/codec/client_hello.h"

#include <boost/test/unit_test.hpp>

#include <map>
#include <string>

#include "base/rng.h"
#include "dataplane/codec/tls_engine.h"
#include "dataplane/transport/tls_context.h"

using namespace istmo;
using codec::ClientHello;
using codec::kClientHelloBytesMax;
using codec::parse_client_hello;

namespace {

// What a real client sends first.
std::string hello_of(codec::TlsEngineOptions options) {
  auto context = transport::TlsContext::create(
      {.remote_certificate = transport::RemoteCertificate::unchecked});
  codec::TlsEngine engine(context->shared(), codec::TlsRole::client, std::move(options));
  BOOST_TEST_REQUIRE(engine.start().has_value());
  return engine.take_output().to_string();
}

const std::string& link_hello() {
  static const std::string text =
      hello_of({.server_name = "east.example", .alpn = {"amqp", "istmo-7"}});
  return text;
}
const ClientHello kLinkHello{"east.example", {"amqp", "istmo-7"}};

std::string record(std::string_view fragment) {
  std::string text = "\x16\x03\x01";
  text += static_cast<char>(fragment.size() >> 8);
  text += static_cast<char>(fragment.size());
  return text.append(fragment);
}

std::string verdict_of(std::string_view received) {
  const auto result = parse_client_hello(bytes_of(received));
  if (!result) return result.error().text();
  return *result ? "whole" : "more";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(client_hello)

BOOST_AUTO_TEST_CASE(names_and_protocols_are_read) {
  const auto result = parse_client_hello(bytes_of(link_hello()));
  BOOST_TEST_REQUIRE(result.has_value());
  BOOST_TEST((*result == kLinkHello));
}

BOOST_AUTO_TEST_CASE(a_hello_without_extensions_of_interest_is_one_too) {
  const auto result = parse_client_hello(bytes_of(hello_of({})));
  BOOST_TEST_REQUIRE(result.has_value());
  BOOST_TEST((*result == ClientHello{}));
}

BOOST_AUTO_TEST_CASE(every_beginning_asks_for_more) {
  for (size_t size = 0; size < link_hello().size(); ++size) {
    BOOST_TEST(verdict_of(link_hello().substr(0, size)) == "more");
  }
}

BOOST_AUTO_TEST_CASE(what_follows_the_hello_is_not_looked_at) {
  const auto result = parse_client_hello(bytes_of(link_hello() + "anything"));
  BOOST_TEST_REQUIRE(result.has_value());
  BOOST_TEST((*result == kLinkHello));
}

BOOST_AUTO_TEST_CASE(a_hello_in_two_records_is_read_at_every_cut) {
  const std::string message = link_hello().substr(5);
  for (size_t cut = 1; cut < message.size(); ++cut) {
    const std::string text = record(message.substr(0, cut)) + record(message.substr(cut));
    const auto result = parse_client_hello(bytes_of(text));
    BOOST_TEST_REQUIRE(result.has_value());
    BOOST_TEST((*result == kLinkHello));
    BOOST_TEST(verdict_of(text.substr(0, text.size() - 1)) == "more");
  }
}

BOOST_AUTO_TEST_CASE(a_hello_in_records_of_one_octet_is_read) {
  std::string text;
  for (const char octet : link_hello().substr(5)) text += record({&octet, 1});
  const auto result = parse_client_hello(bytes_of(text));
  BOOST_TEST_REQUIRE(result.has_value());
  BOOST_TEST((*result == kLinkHello));
}

BOOST_AUTO_TEST_CASE(other_protocols_show_at_once) {
  BOOST_TEST(verdict_of("G") == "not a TLS client hello: first octet");
  BOOST_TEST(verdict_of("AMQP") == "not a TLS client hello: first octet");
  BOOST_TEST(verdict_of(std::string("\x16\x02", 2)) == "not a TLS client hello: version");
  BOOST_TEST(verdict_of(std::string("\x16\x03\x01\x00\x00", 5)) ==
             "not a TLS client hello: record length");
  BOOST_TEST(verdict_of(std::string("\x16\x03\x01\x40\x01", 5)) ==
             "not a TLS client hello: record length");
  BOOST_TEST(verdict_of(record("\x02")) == "not a TLS client hello: message type");
}

BOOST_AUTO_TEST_CASE(length_is_bounded) {
  BOOST_TEST(verdict_of(record(std::string("\x01\x00\x40\x00", 4))) ==
             "not a TLS client hello: message length");
  // One that would fit, in records that make it too long.
  std::string text = record(std::string("\x01\x00\x3f\x00", 4));
  while (text.size() < kClientHelloBytesMax) text += record("a");
  BOOST_TEST(verdict_of(text) == "not a TLS client hello: too long");
}

BOOST_AUTO_TEST_CASE(lengths_that_lie_are_errors) {
  // Every octet of the message changed to its greatest value: no crash, no read past the end
  // (the sanitizers see that), and never a wait for more than the message says.
  const std::string& hello = link_hello();
  for (size_t place = 9; place < hello.size(); ++place) {
    std::string text = hello;
    text[place] = '\xff';
    BOOST_TEST(verdict_of(text) != "more");
  }
}

// Whatever is read lies in what was received, and what a beginning said stays true.
BOOST_AUTO_TEST_CASE(random_octets_do_no_harm) {
  Rng rng(1);
  std::map<std::string, int> verdicts;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = link_hello();
    for (uint64_t i = rng.between(1, 8); i > 0; --i) {
      text[rng.below(text.size())] = static_cast<char>(rng.next());
    }
    const std::string verdict = verdict_of(text);
    ++verdicts[verdict == "whole" || verdict == "more" ? verdict : "error"];
    const std::string beginning = text.substr(0, rng.below(text.size()));
    const std::string earlier = verdict_of(beginning);
    BOOST_TEST_REQUIRE((earlier == "more" || (earlier == "whole") == (verdict == "whole")));
    if (verdict != "whole") continue;
    const ClientHello hello = **parse_client_hello(bytes_of(text));
    BOOST_TEST_REQUIRE(text.contains(hello.server_name));
    for (const std::string& protocol : hello.alpn) BOOST_TEST_REQUIRE(text.contains(protocol));
    if (earlier == "whole") {
      BOOST_TEST_REQUIRE((**parse_client_hello(bytes_of(beginning)) == hello));
    }
  }
  BOOST_TEST(verdicts["whole"] > 1000);
  BOOST_TEST(verdicts["more"] > 10);
  BOOST_TEST(verdicts["error"] > 1000);
}

BOOST_AUTO_TEST_SUITE_END()
