// TlsEngine against OpenSSL's own record layer: what our records mean to another implementation.
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <string>

#include "base/rng.h"
#include "dataplane/codec/tls_engine.h"
#include "dataplane/transport/tls_context.h"
#include "test_pki.h"

using namespace istmo;
using codec::TlsEngine;
using io::Chain;
using transport::TlsContext;
using transport::TlsContextOptions;
using transport::TlsRole;

namespace {

const test::TestCa& ca() {
  static const test::TestCa authority("test ca");
  return authority;
}

TlsContextOptions options(TlsRole role) {
  static const auto certificate = ca().issue({"west", {"DNS:west.example"}});
  return {.role = role,
          .certificate_chain_pem = certificate.certificate_pem,
          .private_key_pem = certificate.key_pem,
          .ca_pem = ca().certificate_pem()};
}

// An SSL object over memory, as any program would use it.
struct Openssl {
  Openssl(SSL_CTX* context, TlsRole role) : ssl(SSL_new(context)) {
    input = BIO_new(BIO_s_mem());
    output = BIO_new(BIO_s_mem());
    SSL_CTX_set_keylog_callback(context, nullptr);  // it expects an engine of ours
    SSL_set_bio(ssl.get(), input, output);
    if (role == TlsRole::server) SSL_set_accept_state(ssl.get());
    else SSL_set_connect_state(ssl.get());
  }

  void feed(const Chain& ciphertext) {
    const std::string text = ciphertext.to_string();
    if (!text.empty()) BIO_write(input, text.data(), static_cast<int>(text.size()));
    if (!SSL_is_init_finished(ssl.get())) SSL_do_handshake(ssl.get());
    char buffer[20'000];
    for (int count = 0; (count = SSL_read(ssl.get(), buffer, sizeof buffer)) > 0;) {
      received.append(buffer, static_cast<size_t>(count));
    }
  }
  void write(const std::string& text) {
    BOOST_TEST_REQUIRE(SSL_write(ssl.get(), text.data(), static_cast<int>(text.size())) ==
                       static_cast<int>(text.size()));
  }
  Chain take_output() {
    std::string text(BIO_pending(output), '\0');
    if (!text.empty()) BIO_read(output, text.data(), static_cast<int>(text.size()));
    return Chain::copy_of(text);
  }

  codec::SslPointer ssl;
  BIO* input;   // owned by ssl
  BIO* output;  // owned by ssl
  std::string received;
};

struct World {
  explicit World(TlsRole ours, codec::TlsEngineOptions engine_options = {},
                 void (*prepare)(SSL_CTX*) = nullptr)
      : context(*TlsContext::create(options(ours))),
        other_context(*TlsContext::create(
            options(ours == TlsRole::client ? TlsRole::server : TlsRole::client))),
        engine(context.shared(), ours, std::move(engine_options)),
        other((prepare ? prepare(raw()) : void(), raw()),
              ours == TlsRole::client ? TlsRole::server : TlsRole::client) {
    BOOST_TEST_REQUIRE(engine.start().has_value());
    other.feed({});
    exchange();
    BOOST_TEST_REQUIRE(engine.is_open());
    BOOST_TEST_REQUIRE(SSL_is_init_finished(other.ssl.get()));
  }
  SSL_CTX* raw() const { return other_context.shared().context.get(); }

  void exchange() {
    for (int i = 0; i < 6; ++i) {
      other.feed(engine.take_output());
      BOOST_TEST_REQUIRE(engine.decrypt(other.take_output(), received).has_value());
    }
  }
  void send(const std::string& text) {
    Chain chain = Chain::copy_of(text);
    BOOST_TEST_REQUIRE(engine.encrypt(chain, UINT64_MAX).has_value());
  }

  TlsContext context, other_context;
  TlsEngine engine;
  Openssl other;
  Chain received;
};

std::string random_text(size_t size) {
  Rng rng(size);
  std::string text(size, '\0');
  for (char& octet : text) octet = static_cast<char>(rng.next());
  return text;
}

const auto kRoles = boost::unit_test::data::make({0, 1});

}  // namespace

BOOST_AUTO_TEST_SUITE(tls_engine_openssl)

BOOST_DATA_TEST_CASE(data_passes_both_ways_under_every_suite, kRoles, role) {
  for (const char* suite :
       {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}) {
    static const char* chosen;
    chosen = suite;
    World world(static_cast<TlsRole>(role), {},
                [](SSL_CTX* context) { SSL_CTX_set_ciphersuites(context, chosen); });
    for (size_t size : {1u, 100u, 16'384u, 16'385u, 300'000u}) {
      world.send(random_text(size));
      world.other.write(random_text(size));
      world.exchange();
      BOOST_TEST((world.other.received == random_text(size)));
      BOOST_TEST((world.received.to_string() == random_text(size)));
      world.other.received.clear();
      world.received.clear();
    }
  }
}

BOOST_DATA_TEST_CASE(keys_change_on_both_sides, kRoles, role) {
  World world(static_cast<TlsRole>(role), {.records_per_key = 2});
  for (int i = 0; i < 10; ++i) {
    BOOST_TEST(SSL_key_update(world.other.ssl.get(), i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED
                                                                : SSL_KEY_UPDATE_NOT_REQUESTED));
    world.other.write("theirs");
    world.exchange();
    world.send("ours");
    world.exchange();
  }
  BOOST_TEST(world.received.size() == 60u);
  BOOST_TEST(world.other.received.size() == 40u);
}

// OpenSSL does not count its records (RFC 8446 5.5): we ask.
BOOST_DATA_TEST_CASE(a_sender_that_does_not_count_changes_its_key_when_asked, kRoles, role) {
  World world(static_cast<TlsRole>(role), {.records_per_key = 3});
  for (int i = 0; i < 40; ++i) {
    world.other.write("theirs");
    world.exchange();
  }
  BOOST_TEST(world.received.size() == 240u);
  world.send("ours");
  world.exchange();
  BOOST_TEST(world.other.received == "ours");
}

BOOST_DATA_TEST_CASE(padding_is_taken_off, kRoles, role) {
  World world(static_cast<TlsRole>(role), {},
              [](SSL_CTX* context) { SSL_CTX_set_block_padding(context, 512); });
  world.other.write("padded");
  world.other.write(random_text(5000));
  world.exchange();
  BOOST_TEST((world.received.to_string() == "padded" + random_text(5000)));
}

BOOST_DATA_TEST_CASE(close_notify_is_understood_both_ways, kRoles, role) {
  World world(static_cast<TlsRole>(role));
  world.send("last");
  BOOST_TEST(world.engine.shutdown().has_value());
  world.exchange();
  BOOST_TEST(world.other.received == "last");
  BOOST_TEST((SSL_get_shutdown(world.other.ssl.get()) & SSL_RECEIVED_SHUTDOWN) != 0);
  world.other.write("answer");
  BOOST_TEST(SSL_shutdown(world.other.ssl.get()) >= 0);
  world.exchange();
  BOOST_TEST(world.received.to_string() == "answer");
  BOOST_TEST(world.engine.has_ended());
}

BOOST_AUTO_TEST_CASE(tickets_of_a_server_are_skipped) {
  World world(TlsRole::client, {}, [](SSL_CTX* context) {
    SSL_CTX_clear_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 3);
  });
  world.other.write("data");
  world.exchange();
  BOOST_TEST(world.received.to_string() == "data");
}

BOOST_DATA_TEST_CASE(our_alert_is_understood, kRoles, role) {
  World world(static_cast<TlsRole>(role));
  world.other.write("damaged");
  std::string record = world.other.take_output().to_string();
  record.back() = static_cast<char>(record.back() ^ 1);
  BOOST_TEST(!world.engine.decrypt(Chain::copy_of(record), world.received).has_value());
  ERR_clear_error();
  world.other.feed(world.engine.take_output());
  BOOST_TEST(ERR_GET_REASON(ERR_peek_error()) == SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
  ERR_clear_error();
}

BOOST_AUTO_TEST_SUITE_END()
