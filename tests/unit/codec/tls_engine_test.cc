#include "dataplane/codec/tls_engine.h"

#include <boost/test/unit_test.hpp>

#include "base/rng.h"
#include "dataplane/transport/tls_context.h"
#include "test_pki.h"

using namespace istmo;
using codec::TlsEngine;
using codec::TlsEngineOptions;
using io::Chain;
using io::Slice;
using transport::TlsContext;
using transport::TlsContextOptions;
using transport::TlsRole;

namespace {

const test::TestCa& ca() {
  static const test::TestCa authority("test ca");
  return authority;
}

const test::TestCertificate& west() {
  static const auto certificate =
      ca().issue({"west", {"DNS:west.example", "IP:127.0.0.1", "URI:istmo://site/west-id"}});
  return certificate;
}

TlsContextOptions options(TlsRole role, const test::TestCertificate& own = west()) {
  return {.role = role,
          .certificate_chain_pem = own.certificate_pem,
          .private_key_pem = own.key_pem,
          .ca_pem = ca().certificate_pem()};
}

Chain numbers(size_t size, uint64_t seed) {
  Rng rng(seed);
  Slice slice = Slice::allocate(static_cast<uint32_t>(size));
  for (size_t i = 0; i < size; ++i) slice.mutable_data()[i] = static_cast<uint8_t>(rng.next());
  return Chain(std::move(slice));
}

// The same octets in slices of 1..size_max.
Chain cut(Chain&& from, uint64_t size_max, Rng& rng) {
  Chain pieces;
  while (!from.empty()) {
    const uint64_t size = std::min(from.size(), rng.between(1, size_max));
    pieces.append(Slice::copy_of(from.take_front(size).to_string()));
  }
  return pieces;
}

// Two engines and the octets between them.
struct Pair {
  Pair(const TlsContextOptions& client_options, const TlsContextOptions& server_options,
       TlsEngineOptions engine_options = {})
      : client_context(*TlsContext::create(client_options)),
        server_context(*TlsContext::create(server_options)),
        client(client_context.shared(), TlsRole::client, std::move(engine_options)),
        server(server_context.shared(), TlsRole::server, {}) {
    client_result = client.start();
    server_result = server.start();
  }

  // Moves what waits, `bytes_max` octets at a time, until nothing moves or both have failed.
  void exchange(uint64_t bytes_max = UINT64_MAX) {
    to_server.append(client.take_output());
    to_client.append(server.take_output());
    while (!to_server.empty() || !to_client.empty()) {
      deliver(to_server, bytes_max, server, server_result, at_server);
      deliver(to_client, bytes_max, client, client_result, at_client);
      to_server.append(client.take_output());
      to_client.append(server.take_output());
    }
  }

  static void deliver(Chain& from, uint64_t bytes_max, TlsEngine& to, Result<>& result,
                      Chain& plaintext) {
    Chain part = from.take_front(std::min(bytes_max, from.size()));
    if (result) result = to.decrypt(std::move(part), plaintext);
  }

  bool is_open() const { return client.is_open() && server.is_open(); }

  TlsContext client_context, server_context;
  TlsEngine client, server;
  Result<> client_result, server_result;
  Chain to_server, to_client;  // ciphertext
  Chain at_server, at_client;  // plaintext
};

struct MutualPair : Pair {
  MutualPair() : Pair(options(TlsRole::client), options(TlsRole::server)) {}
};

std::string error_of(const Result<>& result) {
  return result
             ? ""
             : std::string(to_string(result.error().error_class())) + ": " + result.error().text();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tls_engine)

BOOST_AUTO_TEST_CASE(handshake_and_data_survive_pieces_of_every_size) {
  for (uint64_t piece = 1; piece < 40; ++piece) {
    MutualPair pair;
    pair.exchange(piece);
    BOOST_TEST_REQUIRE(pair.is_open());
    Chain hello = Chain::copy_of("hello"), answer = Chain::copy_of("answer");
    BOOST_TEST(pair.client.encrypt(hello, UINT64_MAX).has_value());
    BOOST_TEST(pair.server.encrypt(answer, UINT64_MAX).has_value());
    pair.exchange(piece);
    BOOST_TEST(pair.at_server.to_string() == "hello");
    BOOST_TEST(pair.at_client.to_string() == "answer");
  }
}

BOOST_AUTO_TEST_CASE(random_slices_arrive_byte_exact) {
  Rng rng(1);
  for (int round = 0; round < 20; ++round) {
    MutualPair pair;
    pair.exchange();
    Chain sent;
    std::string expected;
    for (int i = 0; i < 8; ++i) {
      Chain part = cut(numbers(rng.between(1, 60'000), rng.next()), rng.between(1, 40'000), rng);
      expected += part.to_string();
      sent.append(std::move(part));
    }
    while (!sent.empty()) {
      BOOST_TEST_REQUIRE(pair.client.encrypt(sent, rng.between(1, 50'000)).has_value());
      pair.to_server = cut(pair.client.take_output(), rng.between(1, 20'000), rng);
      pair.exchange(rng.between(1, 30'000));
    }
    BOOST_TEST((pair.at_server.to_string() == expected));
  }
}

BOOST_AUTO_TEST_CASE(small_slices_share_full_records) {
  MutualPair pair;
  pair.exchange();
  Rng rng(2);
  Chain sent = cut(numbers(160 * 1024, 3), 900, rng);
  BOOST_TEST(pair.client.encrypt(sent, UINT64_MAX).has_value());
  const Chain records = pair.client.take_output();
  BOOST_TEST(records.size() == 160 * 1024 + 10 * 22u);  // TLS 1.3: 22 octets around each record
}

BOOST_AUTO_TEST_CASE(behind_the_handshake_large_records_are_not_copied) {
  MutualPair pair;
  pair.exchange();
  Chain sent = numbers(16'000, 6);
  BOOST_TEST(pair.client.encrypt(sent, UINT64_MAX).has_value());
  const Chain record = pair.client.take_output();
  Slice received = Slice::copy_of(record.to_string());
  const uint8_t* place = received.data() + 5;
  BOOST_TEST(pair.server.decrypt(Chain(std::move(received)), pair.at_server).has_value());
  BOOST_TEST((pair.at_server.slice(0).data() == place));
}

BOOST_AUTO_TEST_CASE(encrypt_takes_no_more_than_asked) {
  MutualPair pair;
  pair.exchange();
  Chain sent = numbers(50'000, 4);
  BOOST_TEST(pair.client.encrypt(sent, 20'000).has_value());
  BOOST_TEST(sent.size() == 30'000);
}

BOOST_AUTO_TEST_CASE(few_octets_do_not_keep_a_large_block) {
  MutualPair pair;
  pair.exchange();
  Chain sent = Chain::copy_of("ping");
  BOOST_TEST(pair.client.encrypt(sent, UINT64_MAX).has_value());
  pair.exchange();
  BOOST_TEST(pair.at_server.pinned_bytes() == 5u);  // and the content type
}

BOOST_AUTO_TEST_CASE(close_notify_ends_one_direction_only) {
  MutualPair pair;
  pair.exchange();
  BOOST_TEST(pair.client.shutdown().has_value());
  pair.exchange();
  BOOST_TEST(pair.server.has_ended());
  BOOST_TEST(pair.server.check_end().has_value());
  BOOST_TEST(!pair.client.has_ended());
  Chain answer = numbers(100'000, 5);
  const std::string expected = answer.to_string();
  BOOST_TEST(pair.server.encrypt(answer, UINT64_MAX).has_value());
  BOOST_TEST(pair.server.shutdown().has_value());
  pair.exchange();
  BOOST_TEST((pair.at_client.to_string() == expected));
  BOOST_TEST(pair.client.has_ended());
}

BOOST_AUTO_TEST_CASE(a_stream_without_close_notify_is_cut_not_ended) {
  MutualPair pair;
  BOOST_TEST(error_of(pair.server.check_end()) ==
             "reset: tls: connection ended during the handshake");
  pair.exchange();
  BOOST_TEST(error_of(pair.server.check_end()) ==
             "reset: tls: connection ended without close_notify");
}

BOOST_AUTO_TEST_CASE(the_certificate_tells_who_the_other_side_is) {
  MutualPair pair;
  BOOST_TEST(!pair.server.remote_identity());
  pair.exchange();
  const auto identity = pair.server.remote_identity();
  BOOST_TEST_REQUIRE(identity.has_value());
  BOOST_TEST(identity->common_name == "west");
  BOOST_TEST(identity->dns_names == std::vector<std::string>{"west.example"},
             boost::test_tools::per_element());
  BOOST_TEST(identity->uris == std::vector<std::string>{"istmo://site/west-id"},
             boost::test_tools::per_element());
  BOOST_TEST(identity->fingerprint_sha256.size() == 64u);
  BOOST_TEST(identity->fingerprint_sha256 == pair.client.remote_identity()->fingerprint_sha256);
  BOOST_TEST(pair.client.version() == "TLSv1.3");
}

BOOST_AUTO_TEST_CASE(certificate_of_another_ca_is_refused_with_unknown_ca) {
  const test::TestCa other("other ca");
  Pair pair(options(TlsRole::client), options(TlsRole::server, other.issue({"mallory"})));
  pair.exchange();
  BOOST_TEST(error_of(pair.client_result).starts_with("protocol: tls: certificate not accepted: "));
  BOOST_TEST(error_of(pair.server_result) ==
             "protocol: tls: alert from the other side: unknown ca");
}

BOOST_AUTO_TEST_CASE(client_of_another_ca_is_refused_with_unknown_ca) {
  const test::TestCa other("other ca");
  Pair pair(options(TlsRole::client, other.issue({"mallory"})), options(TlsRole::server));
  pair.exchange();
  BOOST_TEST(error_of(pair.server_result).starts_with("protocol: tls: certificate not accepted: "));
  BOOST_TEST(error_of(pair.client_result) ==
             "protocol: tls: alert from the other side: unknown ca");
  BOOST_TEST(!pair.server.is_open());
}

BOOST_AUTO_TEST_CASE(expired_certificate_is_refused) {
  const auto old = ca().issue({"old"}, test::Validity::expired);
  Pair pair(options(TlsRole::client, old), options(TlsRole::server));
  pair.exchange();
  BOOST_TEST(error_of(pair.server_result) ==
             "protocol: tls: certificate not accepted: certificate has expired");
  BOOST_TEST(error_of(pair.client_result) ==
             "protocol: tls: alert from the other side: certificate expired");
}

BOOST_AUTO_TEST_CASE(client_without_certificate_is_refused) {
  Pair pair({.role = TlsRole::client, .ca_pem = ca().certificate_pem()}, options(TlsRole::server));
  pair.exchange();
  BOOST_TEST(error_of(pair.server_result) ==
             "protocol: tls: certificate required, but the other side sent none");
  BOOST_TEST(error_of(pair.client_result) ==
             "protocol: tls: alert from the other side: certificate required");
}

BOOST_AUTO_TEST_CASE(any_one_of_the_expected_names_is_enough) {
  for (const char* name : {"west.example", "127.0.0.1"}) {
    Pair pair(options(TlsRole::client), options(TlsRole::server),
              {.expected_names = {"other.example", name}});
    pair.exchange();
    BOOST_TEST(pair.is_open());
  }
}

BOOST_AUTO_TEST_CASE(certificate_without_an_expected_name_is_refused) {
  Pair pair(options(TlsRole::client), options(TlsRole::server),
            {.expected_names = {"east.example", "127.0.0.2"}});
  pair.exchange();
  // OpenSSL 3.0 writes "hostname", later ones "Hostname".
  BOOST_TEST(error_of(pair.client_result).ends_with("ostname mismatch"));
  BOOST_TEST(error_of(pair.server_result) ==
             "protocol: tls: alert from the other side: bad certificate");
}

BOOST_AUTO_TEST_CASE(octets_that_are_not_tls_are_an_error) {
  MutualPair pair;
  pair.to_server = Chain::copy_of("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  pair.exchange();
  BOOST_TEST(error_of(pair.server_result).starts_with("protocol: tls: handshake: "));
}

BOOST_AUTO_TEST_CASE(a_changed_octet_is_an_error_for_both) {
  MutualPair pair;
  pair.exchange();
  Chain sent = Chain::copy_of("hello");
  BOOST_TEST(pair.client.encrypt(sent, UINT64_MAX).has_value());
  std::string record = pair.client.take_output().to_string();
  record[10] ^= 1;
  pair.to_server = Chain::copy_of(record);
  pair.exchange();
  BOOST_TEST(error_of(pair.server_result).starts_with("protocol: tls: receive: "));
  BOOST_TEST(error_of(pair.client_result) ==
             "protocol: tls: alert from the other side: bad record mac");
  BOOST_TEST(pair.at_server.empty());
}

BOOST_AUTO_TEST_CASE(data_before_an_alert_is_delivered) {
  const test::TestCa other("other ca");
  MutualPair pair;
  pair.exchange();
  Chain sent = Chain::copy_of("last words");
  BOOST_TEST(pair.client.encrypt(sent, UINT64_MAX).has_value());
  pair.to_server = pair.client.take_output();
  pair.to_server.append(Slice::copy_of("garbage that is no record"));
  pair.exchange();
  BOOST_TEST(pair.at_server.to_string() == "last words");
  BOOST_TEST(!pair.server_result.has_value());
}

BOOST_AUTO_TEST_CASE(tls_1_2_only_where_it_is_allowed) {
  TlsContextOptions old_client = options(TlsRole::client);
  old_client.minimum_version = transport::TlsVersion::v1_2;
  TlsContextOptions old_server = options(TlsRole::server);
  old_server.minimum_version = transport::TlsVersion::v1_2;
  for (const auto& server_options : {old_server, options(TlsRole::server)}) {
    Pair pair(old_client, server_options);
    SSL_CTX_set_max_proto_version(pair.client_context.shared().context.get(), TLS1_2_VERSION);
    TlsEngine client(pair.client_context.shared(), TlsRole::client, {});
    TlsEngine server(pair.server_context.shared(), TlsRole::server, {});
    BOOST_TEST(client.start().has_value());
    Chain plaintext;
    Result<> result;
    for (int i = 0; i < 4 && result; ++i) {
      result = server.decrypt(client.take_output(), plaintext);
      if (result) result = client.decrypt(server.take_output(), plaintext);
    }
    const bool is_allowed = server_options.minimum_version == transport::TlsVersion::v1_2;
    BOOST_TEST(server.is_open() == is_allowed);
    BOOST_TEST(result.has_value() == is_allowed);
  }
}

BOOST_AUTO_TEST_CASE(keys_change_after_a_number_of_records) {
  Pair pair(options(TlsRole::client), options(TlsRole::server), {.records_per_key = 3});
  pair.exchange();
  std::string expected;
  uint64_t ciphertext_bytes = 0;
  for (int i = 0; i < 10; ++i) {
    Chain sent = Chain::copy_of("data");
    expected += "data";
    BOOST_TEST(pair.client.encrypt(sent, UINT64_MAX).has_value());
    pair.to_server = pair.client.take_output();
    ciphertext_bytes += pair.to_server.size();
    pair.exchange();
  }
  BOOST_TEST(pair.at_server.to_string() == expected);
  // Three times a KeyUpdate (5 octets, RFC 8446 4.6.3) in a record of its own.
  BOOST_TEST(ciphertext_bytes == 10 * (4 + 22) + 3 * (5 + 22u));
}

BOOST_AUTO_TEST_CASE(alpn_takes_the_servers_first_choice) {
  auto server_options = options(TlsRole::server);
  server_options.alpn = {"h2", "amqp"};
  const auto negotiate = [&](std::vector<std::string> offered) {
    Pair pair(options(TlsRole::client), server_options, {.alpn = std::move(offered)});
    pair.exchange();
    return pair.is_open() ? "open " + pair.client.negotiated_alpn() : error_of(pair.client_result);
  };
  BOOST_TEST(negotiate({"amqp", "istmo-3"}) == "open amqp");
  BOOST_TEST(negotiate({"amqp", "h2"}) == "open h2");
  BOOST_TEST(negotiate({}) == "open ");
  BOOST_TEST(negotiate({"http/1.1"}) ==
             "protocol: tls: alert from the other side: no application protocol");
}

BOOST_AUTO_TEST_CASE(engine_outlives_the_settings_that_made_it) {
  auto server_options = options(TlsRole::server);
  server_options.alpn = {"amqp"};
  auto client_context = TlsContext::create(options(TlsRole::client));
  auto server_context = TlsContext::create(server_options);
  TlsEngine client(client_context->shared(), TlsRole::client, {.alpn = {"amqp"}});
  TlsEngine server(server_context->shared(), TlsRole::server, {});
  client_context = Error::closed("gone");
  server_context = Error::closed("gone");
  BOOST_TEST(client.start().has_value());
  Chain plaintext;
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(server.decrypt(client.take_output(), plaintext).has_value());
    BOOST_TEST(client.decrypt(server.take_output(), plaintext).has_value());
  }
  BOOST_TEST(client.negotiated_alpn() == "amqp");
}

BOOST_AUTO_TEST_SUITE_END()
