// The record layer with keys of the test's own: what it makes of records that no honest program
// sends, and what it keeps in memory. Against OpenSSL's record layer: tls_engine_openssl_test.cc.
#include "dataplane/codec/tls_records.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"

using namespace istmo;
using codec::RecordCipher;
using codec::TlsRecords;
using codec::TlsSecret;
using codec::TlsTrafficKey;
using io::Chain;
using io::Slice;

namespace {

constexpr uint8_t kAlert = 21, kHandshake = 22, kData = 23;
constexpr uint32_t kBlockBytes = 8192;

TlsSecret secret(uint8_t first) {
  TlsSecret made;
  for (uint32_t i = 0; i < made.size(); ++i) made.octets[i] = static_cast<uint8_t>(first + i);
  return made;
}

// Somebody who has the keys and can write any record with them.
struct Writer {
  std::string record(uint8_t type, const std::string& content, uint32_t padding = 0) {
    return record_of(content + static_cast<char>(type) + std::string(padding, '\0'));
  }
  std::string record_of(std::string inner) {
    const auto length = static_cast<uint32_t>(inner.size() + RecordCipher::kTagBytes);
    std::string header = {kData, 3, 3, static_cast<char>(length >> 8), static_cast<char>(length)};
    RecordCipher& cipher = key.next_record(bytes_of(header));
    auto* octets = reinterpret_cast<uint8_t*>(inner.data());
    cipher.update(octets, octets, static_cast<uint32_t>(inner.size()));
    const RecordCipher::Tag tag = cipher.finish_seal();
    return header + inner + std::string(text_of(tag));
  }
  std::string key_update(uint8_t request = 0) {
    const std::string message = {24, 0, 0, 1, static_cast<char>(request)};
    std::string wire = record(kHandshake, message);
    key.update();
    return wire;
  }
  TlsTrafficKey key{secret(1), RecordCipher::Direction::seal};
};

struct World {
  // Feeds the text in pieces of `size`; the error, if any.
  std::string feed(const std::string& text, size_t size = SIZE_MAX) {
    for (size_t at = 0; at < text.size(); at += size) {
      const Result<> result = reader.decrypt(Chain::copy_of(text.substr(at, size)), plaintext);
      if (!result) return result.error().text();
      if (text.size() - at <= size) break;
    }
    return "";
  }
  // Feeds pieces as a loop's blocks hold them: each in memory of 8 KiB.
  std::string feed_blocks(std::initializer_list<std::string_view> pieces) {
    for (const std::string_view piece : pieces) {
      Chain blocks;
      for (size_t at = 0; at < piece.size(); at += kBlockBytes) {
        const std::string_view part = piece.substr(at, kBlockBytes);
        Slice block = Slice::allocate(kBlockBytes);
        std::ranges::copy(bytes_of(part), block.mutable_data());
        block.truncate(static_cast<uint32_t>(part.size()));
        blocks.append(std::move(block));
      }
      const Result<> result = reader.decrypt(std::move(blocks), plaintext);
      if (!result) return result.error().text();
    }
    return "";
  }
  // The alert that was sent in answer, as the writer's side sees it.
  int alert_sent() {
    TlsRecords other(secret(1), secret(101), {.is_client = true, .records_per_key = 1u << 20});
    Chain nothing;
    const Result<> result = other.decrypt(reader.take_output(), nothing);
    return result ? -1 : last_number(result.error().text());
  }
  static int last_number(const std::string& text) {
    for (int alert = 0; alert < 256; ++alert) {
      if (text == codec::alert_error(alert).text()) return alert;
    }
    return -2;
  }

  Writer writer;
  TlsRecords reader{secret(101), secret(1), {.is_client = false, .records_per_key = 1u << 20}};
  Chain plaintext;
};

std::string random_text(size_t size, uint64_t seed) {
  Rng rng(seed);
  std::string text(size, '\0');
  for (char& octet : text) octet = static_cast<char>(rng.next());
  return text;
}

const std::string kKeyUpdate = {24, 0, 0, 1, 0};
const std::string kKeyUpdateRequest = {24, 0, 0, 1, 1};

}  // namespace

BOOST_AUTO_TEST_SUITE(tls_records)

BOOST_AUTO_TEST_CASE(records_of_every_kind_are_read_in_pieces_of_every_size) {
  for (size_t size = 1; size < 120; ++size) {
    World world;
    std::string wire = world.writer.record(kData, "first");
    wire += world.writer.record(kData, "padded", 70);
    wire += world.writer.record(kData, "");
    wire += world.writer.record(kHandshake, kKeyUpdate);
    world.writer.key.update();
    wire += world.writer.record(kData, random_text(5000, 7));
    wire += world.writer.record(kAlert, {1, 90});  // user_canceled means nothing by itself
    wire += world.writer.record(kAlert, {1, 0});
    wire += "what follows is ignored";
    BOOST_TEST(world.feed(wire, size) == "");
    BOOST_TEST((world.plaintext.to_string() == "firstpadded" + random_text(5000, 7)));
    BOOST_TEST(world.reader.has_ended());
  }
}

// RFC 8448 section 3: the server's application traffic secret, and the nonce made from it.
BOOST_AUTO_TEST_CASE(the_published_nonce_is_derived_and_wiped_with_its_key) {
  TlsSecret published;
  published.octets = {0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47, 0x11,
                      0x6b, 0x45, 0xa9, 0x50, 0x32, 0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb,
                      0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb, 0x63, 0x16, 0x43};
  const RecordCipher::Nonce nonce = {0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83,
                                     0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84};
  alignas(TlsTrafficKey) std::array<uint8_t, sizeof(TlsTrafficKey)> memory{};
  const auto is_in_memory = [&] { return !std::ranges::search(memory, nonce).empty(); };
  auto* key = std::construct_at(reinterpret_cast<TlsTrafficKey*>(memory.data()), published,
                                RecordCipher::Direction::seal);
  BOOST_TEST(is_in_memory());
  std::destroy_at(key);
  BOOST_TEST(!is_in_memory());
}

// Above 2 KiB a record is opened where it lies: at a cut that is in several slices. A first piece
// that uses little of its block is copied out of it, a longer one stays.
BOOST_AUTO_TEST_CASE(a_large_record_is_read_at_every_cut) {
  const std::string content = random_text(3000, 5);
  const std::string wire = Writer().record(kData, content);
  for (size_t cut = 1; cut < wire.size(); ++cut) {
    World exact;
    BOOST_TEST_REQUIRE(exact.feed(wire.substr(0, cut)) == "");
    BOOST_TEST_REQUIRE(exact.plaintext.empty());
    BOOST_TEST_REQUIRE(exact.feed(wire.substr(cut)) == "");
    BOOST_TEST_REQUIRE((exact.plaintext.to_string() == content));
    World blocks;
    BOOST_TEST_REQUIRE(blocks.feed_blocks({std::string_view(wire).substr(0, cut)}) == "");
    const bool is_copied = cut < kBlockBytes / 4;
    BOOST_TEST_REQUIRE(blocks.reader.pinned_bytes() == (is_copied ? cut : kBlockBytes));
    BOOST_TEST_REQUIRE(blocks.feed_blocks({std::string_view(wire).substr(cut)}) == "");
    BOOST_TEST_REQUIRE((blocks.plaintext.to_string() == content));
    BOOST_TEST_REQUIRE(blocks.reader.pinned_bytes() == 0u);
  }
}

BOOST_AUTO_TEST_CASE(two_records_back_to_back_are_read_at_every_cut) {
  const std::string first = random_text(2600, 8), second = random_text(2300, 9);
  for (const auto& [a, b] : {std::pair(first, second), std::pair(first, std::string("small")),
                             std::pair(std::string("small"), second)}) {
    Writer writer;
    std::string wire = writer.record(kData, a);
    wire += writer.record(kData, b);
    for (size_t cut = 1; cut < wire.size(); ++cut) {
      World exact;
      BOOST_TEST_REQUIRE(exact.feed(wire.substr(0, cut)) == "");
      BOOST_TEST_REQUIRE(exact.feed(wire.substr(cut)) == "");
      BOOST_TEST_REQUIRE((exact.plaintext.to_string() == a + b));
      World blocks;
      const std::string_view all(wire);
      BOOST_TEST_REQUIRE(blocks.feed_blocks({all.substr(0, cut), all.substr(cut)}) == "");
      BOOST_TEST_REQUIRE((blocks.plaintext.to_string() == a + b));
      BOOST_TEST_REQUIRE(blocks.reader.pinned_bytes() == 0u);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_large_record_is_opened_where_it_lies) {
  World world;
  const std::string wire = world.writer.record(kData, random_text(16'000, 3));
  Slice received = Slice::copy_of(wire);
  const uint8_t* place = received.data() + 5;
  BOOST_TEST(world.reader.decrypt(Chain(std::move(received)), world.plaintext).has_value());
  BOOST_TEST(world.plaintext.slice_count() == 1u);
  BOOST_TEST((world.plaintext.slice(0).data() == place));
}

BOOST_AUTO_TEST_CASE(crumbs_of_a_record_hold_no_receive_blocks) {
  World world;
  const std::string wire = world.writer.record(kData, random_text(16'000, 4));
  uint64_t held_max = 0;
  for (const char octet : wire) {
    Slice block = Slice::allocate(8192);
    block.mutable_data()[0] = static_cast<uint8_t>(octet);
    block.truncate(1);
    BOOST_TEST_REQUIRE(world.reader.decrypt(Chain(std::move(block)), world.plaintext).has_value());
    held_max = std::max(held_max, world.reader.pinned_bytes());
  }
  BOOST_TEST((world.plaintext.to_string() == random_text(16'000, 4)));
  BOOST_TEST(held_max <= 5 * wire.size());
  BOOST_TEST(world.reader.pinned_bytes() == 0u);
}

BOOST_AUTO_TEST_CASE(many_small_records_share_a_block) {
  World world;
  std::string wire;
  for (int i = 0; i < 1000; ++i) wire += world.writer.record(kData, "0123456789");
  BOOST_TEST(world.feed(wire) == "");
  BOOST_TEST(world.plaintext.size() == 10'000u);
  BOOST_TEST(world.plaintext.slice(0).pinned_bytes() <= 4096u);
}

BOOST_AUTO_TEST_CASE(records_that_break_the_rules_are_refused_with_the_alert_of_the_rfc) {
  struct Case {
    const char* what;
    int alert;
    std::string (*make)(Writer&);
  };
  const Case cases[] = {
      {"no content type", 10, [](Writer& w) { return w.record_of(std::string(40, '\0')); }},
      {"nothing inside", 20, [](Writer& w) { return w.record_of(""); }},
      {"content too long", 22, [](Writer& w) { return w.record(kData, std::string(16'385, 'x')); }},
      {"padding too long", 22, [](Writer& w) { return w.record(kData, "x", 16'384); }},
      {"record too long", 22, [](Writer&) { return std::string{kData, 3, 3, 0x40, 0x12}; }},
      {"change_cipher_spec", 10, [](Writer&) { return std::string{20, 3, 3, 0, 1, 1}; }},
      {"alert in clear", 10, [](Writer&) { return std::string{21, 3, 3, 0, 2, 2, 40}; }},
      {"unknown type", 10, [](Writer& w) { return w.record(99, "x"); }},
      {"half an alert", 50, [](Writer& w) { return w.record(kAlert, {2}); }},
      {"two alerts", 50, [](Writer& w) { return w.record(kAlert, {1, 0, 1, 0}); }},
      {"empty handshake", 10, [](Writer& w) { return w.record(kHandshake, ""); }},
      {"client hello", 10, [](Writer& w) { return w.record(kHandshake, {1, 0, 0, 1, 0}); }},
      {"ticket to a server", 10, [](Writer& w) { return w.record(kHandshake, {4, 0, 0, 1, 0}); }},
      {"key update 2", 47, [](Writer& w) { return w.record(kHandshake, {24, 0, 0, 1, 2}); }},
      {"key update of 2", 50, [](Writer& w) { return w.record(kHandshake, {24, 0, 0, 2, 0, 0}); }},
      {"key update amid a record", 10,
       [](Writer& w) { return w.record(kHandshake, kKeyUpdate + kKeyUpdate); }},
      {"data amid a message", 10,
       [](Writer& w) {
         std::string wire = w.record(kHandshake, {24, 0});
         return wire += w.record(kData, "x");
       }},
      {"records without data", 10,
       [](Writer& w) {
         std::string wire;
         for (int i = 0; i < 33; ++i) wire += w.record(kData, "");
         return wire;
       }},
      {"key updates between single octets", 10,
       [](Writer& w) {
         std::string wire;
         for (int i = 0; i < 40; ++i) {
           wire += w.key_update();
           wire += w.record(kData, "x");
         }
         return wire;
       }},
      {"record twice", 20,
       [](Writer& w) {
         const std::string record = w.record(kData, "x");
         return record + record;
       }},
  };
  for (const Case& one : cases) {
    World world;
    BOOST_TEST_CONTEXT(one.what) {
      BOOST_TEST(world.feed(one.make(world.writer)).starts_with("tls: receive: "));
      BOOST_TEST(world.alert_sent() == one.alert);
    }
  }
}

// RFC 8446 5.4: content, type and padding together are at most 2^14 + 1 octets.
BOOST_AUTO_TEST_CASE(the_longest_records_are_read) {
  for (const size_t size : {1u, 100u, 16'383u, 16'384u}) {
    World world;
    const std::string text = random_text(size, size);
    const auto padding = static_cast<uint32_t>(16'384 - size);
    BOOST_TEST(world.feed(world.writer.record(kData, text, padding)) == "");
    BOOST_TEST((world.plaintext.to_string() == text));
  }
}

BOOST_AUTO_TEST_CASE(any_changed_octet_of_a_record_is_refused) {
  for (size_t at = 0; at < 5 + 100 + 1 + 16; ++at) {
    World world;
    std::string wire = world.writer.record(kData, std::string(100, 'x'));
    // Another version is to be ignored (RFC 8446 5.1), but the tag covers the header. A longer
    // record never becomes complete.
    wire[at] = static_cast<char>(wire[at] ^ 0x01);
    const std::string error = world.feed(wire + std::string(300, 'y'));
    BOOST_TEST(error.starts_with("tls: receive: "));
    BOOST_TEST(world.plaintext.empty());
  }
}

BOOST_AUTO_TEST_CASE(a_requested_key_update_is_answered_before_the_next_data_and_once) {
  World world;
  std::string wire;
  for (int i = 0; i < 5; ++i) {
    wire += world.writer.record(kHandshake, kKeyUpdateRequest);
    world.writer.key.update();
  }
  BOOST_TEST(world.feed(wire + world.writer.record(kData, "after")) == "");
  BOOST_TEST(world.plaintext.to_string() == "after");
  BOOST_TEST(world.reader.take_output().empty());
  Chain data = Chain::copy_of("data");
  world.reader.encrypt(data, UINT64_MAX);
  const Chain output = world.reader.take_output();
  BOOST_TEST(output.size() == (5 + 22u) + (4 + 22u));
}

BOOST_AUTO_TEST_CASE(key_updates_between_data_are_never_too_many) {
  World records, octets;
  for (int i = 0; i < 200; ++i) {
    std::string wire = records.writer.key_update();
    for (int j = 0; j < 32; ++j) wire += records.writer.record(kData, "x");
    BOOST_TEST_REQUIRE(records.feed(wire) == "");
    wire = octets.writer.key_update();
    wire += octets.writer.record(kData, random_text(16'000, 5));
    BOOST_TEST_REQUIRE(octets.feed(wire) == "");
  }
}

// Their program may not count; we do not let it go on under one key for ever.
BOOST_AUTO_TEST_CASE(a_sender_that_keeps_its_key_is_asked_for_another_and_then_refused) {
  Writer writer;
  TlsRecords reader(secret(101), secret(1), {.is_client = false, .records_per_key = 10});
  TlsRecords other(secret(1), secret(101), {.is_client = true, .records_per_key = 10});
  Chain plaintext, nothing;
  const auto feed = [&](const std::string& wire) {
    const Result<> result = reader.decrypt(Chain::copy_of(wire), plaintext);
    return result ? std::string() : result.error().text();
  };
  for (int i = 0; i < 10; ++i) BOOST_TEST(feed(writer.record(kData, "x")) == "");
  BOOST_TEST(reader.take_output().empty());
  BOOST_TEST(feed(writer.key_update()) == "");  // in time, unasked
  for (int i = 0; i < 11; ++i) BOOST_TEST(feed(writer.record(kData, "x")) == "");
  BOOST_TEST(other.decrypt(reader.take_output(), nothing).has_value());
  Chain data = Chain::copy_of("data");
  other.encrypt(data, UINT64_MAX);
  BOOST_TEST(other.take_output().size() == (5 + 22u) + (4 + 22u));  // it was asked
  data = Chain::copy_of("more");
  reader.encrypt(data, UINT64_MAX);
  BOOST_TEST(other.decrypt(reader.take_output(), nothing).has_value());
  BOOST_TEST(nothing.to_string() == "more");
  for (int i = 0; i < 9; ++i) BOOST_TEST(feed(writer.record(kData, "x")) == "");
  BOOST_TEST(reader.take_output().empty());  // once
  BOOST_TEST(feed(writer.record(kData, "x")) == "tls: receive: too many records under one key");
}

BOOST_AUTO_TEST_CASE(a_client_skips_tickets_in_any_pieces) {
  const std::string ticket = std::string{4, 0, 1, 0} + std::string(256, 't');
  for (size_t size = 1; size < 300; size += 7) {
    World world;
    TlsRecords client(secret(101), secret(1), {.is_client = true, .records_per_key = 1u << 20});
    std::string wire;
    const std::string messages = ticket + ticket;
    for (size_t at = 0, count = 0; at < messages.size(); at += size) {
      wire += world.writer.record(kHandshake, messages.substr(at, size));
      if (++count == 30) break;
    }
    const bool is_whole = messages.size() <= 30 * size;
    if (is_whole) wire += world.writer.record(kData, "data");
    BOOST_TEST(client.decrypt(Chain::copy_of(wire), world.plaintext).has_value());
    BOOST_TEST(world.plaintext.to_string() == (is_whole ? "data" : ""));
  }
}

BOOST_AUTO_TEST_SUITE_END()
