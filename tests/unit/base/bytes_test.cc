#include "base/bytes.h"

#include <boost/test/unit_test.hpp>

#include <array>

using namespace istmo;

BOOST_AUTO_TEST_SUITE(bytes)

BOOST_AUTO_TEST_CASE(numbers_are_big_endian) {
  std::array<uint8_t, 8> octets{};
  store_big_endian<uint64_t>(octets.data(), 0x0102030405060708);
  for (uint8_t i = 0; i < 8; ++i) BOOST_TEST(octets[i] == i + 1);
  BOOST_TEST(load_big_endian<uint64_t>(octets.data()) == 0x0102030405060708U);
  BOOST_TEST(load_big_endian<uint32_t>(octets.data()) == 0x01020304U);
  BOOST_TEST(load_big_endian<uint16_t>(octets.data() + 1) == 0x0203U);
  BOOST_TEST(load_big_endian<uint8_t>(octets.data() + 7) == 8U);
  store_big_endian<uint16_t>(octets.data(), 0xfffe);
  BOOST_TEST(octets[0] == 0xff);
  BOOST_TEST(octets[1] == 0xfe);
}

BOOST_AUTO_TEST_CASE(reader_takes_in_order) {
  const std::array<uint8_t, 9> octets{1, 0, 2, 0, 0, 0, 3, 'h', 'i'};
  Reader reader(octets);
  BOOST_TEST(reader.u8().value() == 1);
  BOOST_TEST(reader.u16().value() == 2);
  BOOST_TEST(reader.u32().value() == 3U);
  BOOST_TEST(reader.left() == 2U);
  BOOST_TEST(text_of(reader.take(2).value()) == "hi");
  BOOST_TEST(reader.empty());
}

BOOST_AUTO_TEST_CASE(reader_never_reads_past_the_end) {
  const std::array<uint8_t, 3> octets{1, 2, 3};
  Reader reader(octets);
  for (const auto& error : {reader.u32().error(), reader.u64().error(), reader.take(4).error()}) {
    BOOST_TEST((error.error_class() == ErrorClass::protocol));
  }
  BOOST_TEST(reader.left() == 3U);  // a failed read takes nothing
  BOOST_TEST(reader.u16().has_value());
  BOOST_TEST(!reader.u16().has_value());
  BOOST_TEST(reader.take(1).has_value());
  BOOST_TEST(reader.take(0).has_value());
  BOOST_TEST(!reader.u8().has_value());
}

BOOST_AUTO_TEST_SUITE_END()
