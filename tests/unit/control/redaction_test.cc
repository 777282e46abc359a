// What is taken out of texts that are shown to others.
#include "control/cli/redaction.h"

#include <boost/test/unit_test.hpp>

#include "control/base64.h"
#include "control/document_text.h"
#include "control/pki.h"

using namespace istmo::control;

namespace {

Value yaml(const std::string& text) {
  auto values = parse_values(text, "test.yaml");
  BOOST_REQUIRE(values.has_value() && values->size() == 1u);
  return values->front();
}

std::string shown(const Redaction& redaction, const std::string& text) {
  return write_value(redaction.object(yaml(text)), Format::yaml);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(redaction)

BOOST_AUTO_TEST_CASE(a_secret_is_shown_by_its_keys_and_their_sizes) {
  const std::string text = shown(
      {}, "kind: Secret\nmetadata: {name: a}\ndata: {k: " + encode_base64("twelve bytes") + "}\n");
  BOOST_TEST(text == "kind: Secret\nmetadata:\n  name: a\ndata:\n  k: \"12 octets\"\n");
}

BOOST_AUTO_TEST_CASE(codes_keys_and_variables_are_replaced_at_any_depth) {
  for (const char* text :
       {"a: [{spec: {code: x-secret}}]", "status: {Password: x-secret}", "privateKey: x-secret",
        "containers: [{env: [{name: A, value: x-secret}]}]",
        "kind: ConfigMap\ndata: {doc.yaml: \"kind: AccessGrant\\nspec: {code: x-secret}\"}",
        "kind: ConfigMap\ndata: {doc.yaml: \"x-secret: [\"}",
        "metadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: x-secret}}",
        "kind: List\nitems: [{kind: Secret, stringData: {a: x-secret}}]"}) {
    BOOST_TEST(!shown({}, text).contains("x-secret"), text);
  }
  BOOST_TEST(shown({}, "metadata: {name: code}") == "metadata:\n  name: code\n");
}

BOOST_AUTO_TEST_CASE(what_is_known_to_be_secret_is_replaced_wherever_it_stands) {
  Redaction redaction;
  redaction.learn(
      yaml("kind: Secret\ndata: {document.yaml: " + encode_base64("spec: {code: x-secret}") + "}"));
  redaction.learn(yaml("status: {code: y-secret}"));
  redaction.learn_text("z-secret");
  for (const std::string secret : {"x-secret", "y-secret", "z-secret"}) {
    BOOST_TEST(redaction.text("a " + secret + ", " + encode_base64(secret) + secret) ==
               "a [removed], [removed][removed]");
  }
}

BOOST_AUTO_TEST_CASE(no_line_of_a_private_key_is_shown_and_its_certificate_is) {
  const KeyPair ca = make_ca("root", wall_now()).value();
  Redaction redaction;
  redaction.learn(yaml("kind: Secret\ndata: {tls.key: " + encode_base64(ca.private_key) +
                       ", tls.crt: " + encode_base64(ca.certificate) + "}"));
  const std::string body = ca.private_key.substr(ca.private_key.find('\n') + 1, 64);
  BOOST_TEST(!redaction.text("indented:   " + body + "\n").contains(body));
  BOOST_TEST(redaction.text(ca.certificate) == ca.certificate);
}

BOOST_AUTO_TEST_SUITE_END()
