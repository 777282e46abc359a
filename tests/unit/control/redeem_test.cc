#include "control/redeem.h"

#include "control/document_text.h"
#include "scripted_server.h"

using namespace istmo;
using namespace istmo::control;
using istmo::control::test::run_until;

namespace {

// Answers every request with the same octets and ends. Without octets it resets.
class CannedServer final : public test::ScriptedServer {
 public:
  explicit CannedServer(const std::string& reply) { otherwise = {reply, true}; }

  AccessTokenDocument token() const {
    const Grant grant{.uid = "uid", .name = "g", .code = "code", .expires = {}, .claims = {}};
    auto urls = grant_urls({{"127.0.0.1", port()}}, "uid");
    urls.push_back(urls[0] + "/again");  // the same server: it must not be asked twice
    return make_access_token("t", grant, urls, ca.certificate, std::nullopt);
  }
  Result<Redemption> redeem() {
    test::ResultSink sink;
    Redeemer redeemer(*loop, sink);
    redeemer.start(token(), test::kRedeemingSite, {}, nullptr);
    run_until(*loop, [&] { return sink.has_result(); });
    return std::move(sink.result());
  }
  std::string redeem_error() {
    const auto result = redeem();
    return result ? "redeemed" : result.error().text();
  }
};

std::string error_of(const std::string& reply) { return CannedServer(reply).redeem_error(); }

bool has(const std::string& text, std::string_view part) {
  BOOST_TEST_INFO(text);
  return text.find(part) != std::string::npos;
}

// What a grant server of the site `ca` would send for a token `name`.
std::vector<Document> documents_for(const KeyPair& ca, const std::string& name) {
  const auto pair = issue_certificate(ca, {.common_name = "x", .hosts = {}}, wall_now()).value();
  return make_link_documents(
      name,
      {.certificate = pair.certificate, .private_key = pair.private_key, .ca = ca.certificate},
      {{"192.0.2.1", 55671}}, 1);
}

std::string reply_of(const std::vector<Document>& documents) {
  return write_reply(200, "application/yaml", write_documents(documents, Format::yaml));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(redeem)

BOOST_AUTO_TEST_CASE(redirects_are_not_followed) {
  BOOST_TEST(has(error_of("HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\n"
                          "Content-Length: 0\r\n\r\n"),
                 "redirect"));
}

BOOST_AUTO_TEST_CASE(replies_over_256_kib_and_cut_ones_are_errors) {
  BOOST_TEST(
      has(error_of(write_reply(200, "text/plain", std::string(300 * 1024, 'x'))), "longer than"));
  BOOST_TEST(
      has(error_of("HTTP/1.1 200 OK\r\n\r\n" + std::string(300 * 1024, 'x')), "longer than"));
  BOOST_TEST(has(error_of("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxx"), "cut off"));
}

BOOST_AUTO_TEST_CASE(a_reply_may_define_only_what_the_token_is_for) {
  const KeyPair ca = make_ca("ca", wall_now()).value();
  const KeyPair other = make_ca("other", wall_now()).value();
  BOOST_TEST(error_of(reply_of(documents_for(ca, "t"))) == "redeemed");
  BOOST_TEST(has(error_of(reply_of(documents_for(ca, "victim"))), "Secret is called victim"));

  auto with_connector = documents_for(ca, "t");
  ConnectorDocument connector;
  connector.metadata.name = "evil";
  connector.routing_key = "backend";
  connector.host = "192.0.2.66";
  connector.port = 1;
  with_connector.emplace_back(connector);
  BOOST_TEST(has(error_of(reply_of(with_connector)), "a Connector does not belong there"));

  auto with_wrong_ca = documents_for(ca, "t");
  std::get<SecretDocument>(with_wrong_ca[0]).data["ca.crt"] = other.certificate;
  BOOST_TEST(has(error_of(reply_of(with_wrong_ca)), "not signed by the CA"));

  auto without_link = documents_for(ca, "t");
  without_link.pop_back();
  BOOST_TEST(has(error_of(reply_of(without_link)), "a Secret and a Link belong there"));
}

BOOST_AUTO_TEST_CASE(only_what_stays_so_is_final) {
  const auto class_of = [](const std::string& reply) {
    CannedServer server(reply);
    return server.redeem().error().error_class();
  };
  for (int status : {403, 404}) {
    BOOST_TEST((class_of(write_reply(status, "text/plain", "no")) == ErrorClass::config), status);
  }
  BOOST_TEST((class_of(write_reply(429, "text/plain", "wait")) == ErrorClass::limit));
  for (int status : {400, 500, 503}) {
    BOOST_TEST((class_of(write_reply(status, "text/plain", "")) != ErrorClass::config), status);
  }
  BOOST_TEST((class_of("") != ErrorClass::config));
  BOOST_TEST((class_of(write_reply(200, "application/yaml", "a: [")) != ErrorClass::config));
  CannedServer other("");
  other.ca = make_ca("ca", wall_now()).value();
  BOOST_TEST((other.redeem().error().error_class() != ErrorClass::config));
}

BOOST_AUTO_TEST_CASE(the_code_is_sent_once) {
  CannedServer server("");
  BOOST_TEST(has(server.redeem_error(), "before the answer came"));
  BOOST_TEST(server.requests.size() == 1u);
}

BOOST_AUTO_TEST_CASE(text_of_a_server_is_made_harmless) {
  const std::string text = error_of(write_reply(500, "text/plain", "bad\x1b[31m\nnews"));
  BOOST_TEST(text == "redemption failed: the server answered 500: bad [31m news");
}

BOOST_AUTO_TEST_CASE(tokens_without_a_usable_url_are_errors) {
  const auto loop = test::make_test_loop();
  test::ResultSink sink;
  Redeemer redeemer(*loop, sink);
  AccessTokenDocument token;
  token.url = "http://127.0.0.1:1/x";
  redeemer.start(token, test::kRedeemingSite, {}, nullptr);
  BOOST_TEST(!sink.has_result());  // never from inside start()
  run_until(*loop, [&] { return sink.has_result(); });
  BOOST_TEST(has(sink.result().error().text(), "does not start with https://"));
  BOOST_TEST((sink.result().error().error_class() == ErrorClass::config));
  token.url = "https://nowhere.example:9090/x";
  BOOST_TEST(redeem_hosts(token).at(0) == "nowhere.example");
}

BOOST_AUTO_TEST_CASE(cancelled_redemptions_end_without_a_word) {
  CannedServer server("");
  test::ResultSink sink;
  Redeemer redeemer(*server.loop, sink);
  redeemer.start(server.token(), test::kRedeemingSite, {}, nullptr);
  redeemer.cancel();
  run_until(*server.loop, [&] { return redeemer.is_idle(); });
  BOOST_TEST(!sink.has_result());
}

BOOST_AUTO_TEST_CASE(blocking_redemption_reports_refused_connections) {
  // A port that was free a moment ago.
  const auto loop = test::make_test_loop();
  const io::Fd fd = loop->listen(io::Address::parse("127.0.0.1", 0).value(), {}).value();
  const uint16_t port = loop->local_address(fd)->port();
  loop->close(fd, io::Loop::Ending::orderly);
  AccessTokenDocument token;
  token.url = "https://localhost:" + std::to_string(port) + "/x";
  token.ca = make_ca("ca", wall_now())->certificate;
  const auto result = redeem_blocking(token, test::kRedeemingSite);
  BOOST_REQUIRE(!result.has_value());
  BOOST_TEST(has(result.error().text(), "refused"));
  BOOST_TEST(has(result.error().text(), "the token expired or was used up"));
}

BOOST_AUTO_TEST_CASE(urls_are_parsed) {
  const auto url = parse_https_url("https://[2001:db8::1]:9090/uid").value();
  BOOST_TEST(url.host == "2001:db8::1");
  BOOST_TEST(url.port == 9090);
  BOOST_TEST(url.path == "/uid");
  BOOST_TEST(parse_https_url("https://west.example")->port == 443);
  BOOST_TEST(parse_https_url("https://west.example")->path == "/");
  for (const char* bad : {"http://a/", "https://", "https://a:0/", "https://a:x/", "https://u@a/",
                          "https://[::1", "https://[::1]9/", "https://a/\r\nb", "https://a/b#c"}) {
    BOOST_TEST(!parse_https_url(bad).has_value(), bad);
  }
}

BOOST_AUTO_TEST_SUITE_END()
