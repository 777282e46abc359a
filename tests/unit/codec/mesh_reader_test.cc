#include "dataplane/codec/mesh_reader.h"

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

using namespace istmo;
using codec::encode_mesh_message;
using codec::kMeshMessageBytesMax;
using codec::MeshReader;
using io::Chain;
using io::Slice;

namespace {

std::string framed(const std::string& message) {
  return std::string(text_of(encode_mesh_message(message).bytes()));
}

std::string length(uint32_t size) {
  uint8_t octets[4];
  store_big_endian(octets, size);
  return std::string(text_of(octets));
}

// Feeds pieces of `size`, dealing with every message at once; the error, if any, comes last.
std::vector<std::string> read_all(const std::string& octets, size_t size) {
  MeshReader reader;
  std::vector<std::string> messages;
  for (size_t at = 0; at < octets.size(); at += size) {
    Result<> result = reader.feed(Chain::copy_of(octets.substr(at, size)));
    while (result && reader.has_message()) {
      messages.push_back(reader.take_message());
      result = reader.resume();
    }
    if (!result) {
      messages.push_back(result.error().text());
      break;
    }
  }
  return messages;
}

// A block that somebody lent, as receive blocks are.
struct Lender final : io::BlockOwner {
  void release(io::Block&) override { is_lent = false; }
  Slice lend(uint8_t octet) {
    octets[0] = octet;
    block = {.data = octets.data(), .size = 8192, .references = 1, .owner = this};
    is_lent = true;
    return Slice(block, 0, 1);
  }
  std::vector<uint8_t> octets = std::vector<uint8_t>(8192);
  io::Block block;
  bool is_lent = false;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(mesh_reader)

BOOST_AUTO_TEST_CASE(messages_are_read_at_every_split_point) {
  const std::string last(1000, 'z');
  const std::string octets = framed("a") + framed("message") + framed(last) + length(9);
  for (size_t size = 1; size <= octets.size(); ++size) {
    const std::vector<std::string> expected = {"a", "message", last};
    BOOST_TEST(read_all(octets, size) == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(empty_and_too_long_messages_are_refused_at_every_split_point) {
  for (size_t size = 1; size < 12; ++size) {
    const std::vector<std::string> empty = {"first", "empty mesh message"};
    BOOST_TEST(read_all(framed("first") + length(0), size) == empty,
               boost::test_tools::per_element());
    const std::vector<std::string> long_one = {"first", "mesh message too long"};
    BOOST_TEST(read_all(framed("first") + length(kMeshMessageBytesMax + 1), size) == long_one,
               boost::test_tools::per_element());
  }
  const std::string longest(kMeshMessageBytesMax, 'x');
  BOOST_TEST((read_all(framed(longest), 16'000) == std::vector<std::string>{longest}));
}

BOOST_AUTO_TEST_CASE(nothing_behind_a_message_is_drained_until_it_was_dealt_with) {
  MeshReader reader;
  BOOST_TEST(reader.feed(Chain::copy_of(framed("one") + framed("two").substr(0, 5))).has_value());
  BOOST_TEST(reader.take_drained() == 7u);
  BOOST_TEST(reader.take_message() == "one");
  BOOST_TEST(!reader.has_message());
  BOOST_TEST(reader.feed(Chain::copy_of(framed("two").substr(5) + framed("three"))).has_value());
  BOOST_TEST(!reader.has_message());
  BOOST_TEST(reader.take_drained() == 0u);
  BOOST_TEST(reader.resume().has_value());
  BOOST_TEST(reader.take_drained() == 7u);
  BOOST_TEST(reader.take_message() == "two");
  BOOST_TEST(reader.resume().has_value());
  BOOST_TEST(reader.take_message() == "three");
}

BOOST_AUTO_TEST_CASE(octets_that_come_one_by_one_hold_no_receive_block) {
  MeshReader reader;
  Lender lender;
  for (const char octet : framed("slowly") + framed("and more")) {
    BOOST_TEST(reader.feed(Chain(lender.lend(static_cast<uint8_t>(octet)))).has_value());
    BOOST_TEST(!lender.is_lent);
  }
  BOOST_TEST(reader.take_message() == "slowly");
}

BOOST_AUTO_TEST_CASE(an_announced_length_takes_no_memory_by_itself) {
  MeshReader reader;
  BOOST_TEST(reader.feed(Chain::copy_of(length(kMeshMessageBytesMax))).has_value());
  for (size_t came = 1000; came <= 60'000; came += 1000) {
    BOOST_TEST(reader.feed(Chain::copy_of(std::string(1000, 'x'))).has_value());
    BOOST_TEST(reader.held_bytes() <= 2 * came + 64);
  }
}

BOOST_AUTO_TEST_SUITE_END()
