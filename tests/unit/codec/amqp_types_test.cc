// The encodings of AMQP 1.0 part 1, by table and at random.
#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

#include "base/rng.h"
#include "dataplane/codec/amqp_types.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

std::vector<uint8_t> from_hex(std::string_view hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

struct Row {
  const char* hex;
  ValueKind kind;
  uint64_t number = 0;
  const char* bytes = "";  // hex
  uint32_t count = 0;
};

const Row kRows[] = {
    {"40", ValueKind::null},
    {"41", ValueKind::boolean, 1},
    {"42", ValueKind::boolean, 0},
    {"5601", ValueKind::boolean, 1},
    {"5600", ValueKind::boolean, 0},
    {"50ff", ValueKind::uint8, 255},
    {"6001ff", ValueKind::uint16, 511},
    {"43", ValueKind::uint32, 0},
    {"52ff", ValueKind::uint32, 255},
    {"7000010000", ValueKind::uint32, 65536},
    {"44", ValueKind::uint64, 0},
    {"5310", ValueKind::uint64, 16},
    {"800000000100000000", ValueKind::uint64, 1ull << 32},
    {"51ff", ValueKind::int8, static_cast<uint64_t>(-1)},
    {"61ff00", ValueKind::int16, static_cast<uint64_t>(-256)},
    {"54fe", ValueKind::int32, static_cast<uint64_t>(-2)},
    {"7180000000", ValueKind::int32, static_cast<uint64_t>(INT32_MIN)},
    {"5580", ValueKind::int64, static_cast<uint64_t>(-128)},
    {"81ffffffffffffff00", ValueKind::int64, static_cast<uint64_t>(-256)},
    {"723f800000", ValueKind::float32, 0x3f800000},
    {"823ff0000000000000", ValueKind::float64, 0x3ff0000000000000},
    {"7400000001", ValueKind::decimal32, 1},
    {"840000000000000002", ValueKind::decimal64, 2},
    {"9400112233445566778899aabbccddeeff", ValueKind::decimal128, 0,
     "00112233445566778899aabbccddeeff"},
    {"730001f600", ValueKind::character, 0x1f600},
    {"83ffffffffffffffff", ValueKind::timestamp, static_cast<uint64_t>(-1)},
    {"9800112233445566778899aabbccddeeff", ValueKind::uuid, 0, "00112233445566778899aabbccddeeff"},
    {"a003010203", ValueKind::binary, 0, "010203"},
    {"b000000001ff", ValueKind::binary, 0, "ff"},
    {"a1026869", ValueKind::string, 0, "6869"},
    {"b1000000026869", ValueKind::string, 0, "6869"},
    {"a301cc", ValueKind::symbol, 0, "cc"},
    {"b300000000", ValueKind::symbol},
    {"45", ValueKind::list},
    {"c003024142", ValueKind::list, 0, "4142", 2},
    {"d0000000050000000140", ValueKind::list, 0, "40", 1},
    {"c103024143", ValueKind::map, 0, "4143", 2},
    {"d1000000060000000241a0", ValueKind::map, 0, "41a0", 2},
    {"e00402520102", ValueKind::array, 0, "0102", 2},
    {"f00000000600000001520a", ValueKind::array, 0, "0a", 1},
    {"00532445", ValueKind::described, 0, "532445"},
};

// What the table's lazy rows leave out: malformed input.
const char* const kMalformed[] = {
    "",
    "00",
    "0053",
    "3f",
    "46",
    "5602",
    "70000000",
    "a00501",
    "b0ffffffff",
    "c00101",
    "c00003",
    "c1020141",
    "d0000000030000",
    "d0ffffffff00000001",
    "c003ff4142",
    "e00201",
    "e0030199",
    "d00000000400020000",
    "9800",
    "a1",
    "f000000004ffffffff",
};

void write_random(AmqpWriter& out, Rng& rng, uint32_t depth) {
  const std::string text(rng.below(400), 'x');
  std::array<uint8_t, 16> sixteen{};
  for (auto& octet : sixteen) octet = static_cast<uint8_t>(rng.next());
  const uint64_t number = rng.next() >> rng.below(64);
  switch (rng.below(depth > 5 ? 20 : 24)) {
    case 0: return out.null();
    case 1: return out.boolean(number % 2 == 0);
    case 2: return out.u8(static_cast<uint8_t>(number));
    case 3: return out.u16(static_cast<uint16_t>(number));
    case 4: return out.u32(static_cast<uint32_t>(number));
    case 5: return out.u64(number);
    case 6: return out.i8(static_cast<int8_t>(number));
    case 7: return out.i16(static_cast<int16_t>(number));
    case 8: return out.i32(static_cast<int32_t>(number));
    case 9: return out.i64(static_cast<int64_t>(number));
    case 10: return out.f32(1.5f);
    case 11: return out.f64(-2.25);
    case 12: return out.decimal32(static_cast<uint32_t>(number));
    case 13: return out.decimal64(number);
    case 14: return out.decimal128(sixteen);
    case 15: return out.character(static_cast<uint32_t>(number));
    case 16: return out.timestamp(static_cast<int64_t>(number));
    case 17: return out.uuid(sixteen);
    case 18: return out.binary(bytes_of(text));
    case 19: return out.string(text);
    case 20: {
      const std::vector<std::string_view> symbols(rng.below(5), text);
      return out.symbol_array(symbols);
    }
    case 21: out.descriptor(number); return write_random(out, rng, depth + 1);
    default: {
      const auto mark = out.begin_compound();
      const auto count = static_cast<uint32_t>(rng.below(6) * 2);
      for (uint32_t i = 0; i < count; ++i) write_random(out, rng, depth + 1);
      if (number % 2 == 0) out.end_list(mark, count);
      else out.end_map(mark, count);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(amqp_types)

BOOST_AUTO_TEST_CASE(every_encoding_is_read) {
  for (const auto& row : kRows) {
    BOOST_TEST_CONTEXT(row.hex) {
      const auto bytes = from_hex(row.hex);
      Reader in(bytes);
      const auto value = read_value(in);
      BOOST_REQUIRE(value.has_value());
      BOOST_TEST(in.empty());
      BOOST_TEST((value->kind == row.kind));
      BOOST_TEST(value->number == row.number);
      BOOST_TEST(text_of(value->bytes) == text_of(from_hex(row.bytes)));
      BOOST_TEST(value->count == row.count);
    }
  }
}

BOOST_AUTO_TEST_CASE(an_encoding_that_ends_early_is_an_error) {
  for (const auto& row : kRows) {
    const auto bytes = from_hex(row.hex);
    for (size_t size = 0; size < bytes.size(); ++size) {
      Reader in(Bytes(bytes).first(size));
      BOOST_TEST(!read_value(in).has_value());
    }
  }
}

BOOST_AUTO_TEST_CASE(malformed_input_is_an_error) {
  for (const auto* hex : kMalformed) {
    BOOST_TEST_CONTEXT(hex) {
      const auto bytes = from_hex(hex);
      Reader in(bytes);
      BOOST_TEST(!read_value_deeply(in).has_value());
    }
  }
}

BOOST_AUTO_TEST_CASE(nesting_is_bounded) {
  std::vector<uint8_t> lists{0x40};
  for (int i = 0; i < 40; ++i) {
    const auto size = static_cast<uint8_t>(lists.size() + 1);
    lists.insert(lists.begin(), {0xc0, size, 1});
  }
  Reader in(lists);
  BOOST_TEST(!read_value_deeply(in).has_value());
  const std::vector<uint8_t> descriptors(100'000, 0);
  Reader again(descriptors);
  BOOST_TEST(!read_value(again).has_value());
}

BOOST_AUTO_TEST_CASE(what_was_written_is_read_and_written_alike) {
  Rng rng(20240607);
  for (int i = 0; i < 3000; ++i) {
    std::vector<uint8_t> first;
    AmqpWriter out(first);
    write_random(out, rng, 0);
    Reader in(first);
    const auto value = read_value_deeply(in);
    BOOST_REQUIRE(value.has_value());
    BOOST_TEST(in.empty());
    std::vector<uint8_t> second;
    AmqpWriter(second).value(*value);
    BOOST_TEST(first == second);
  }
}

BOOST_AUTO_TEST_CASE(fields_have_defaults_and_types) {
  const auto bytes = from_hex("c007044052054100a0");  // null, uint 5, true, (cut)
  const auto list = from_hex(
      "c00503405205"
      "41");
  Reader in(list);
  const auto value = read_value(in);
  BOOST_REQUIRE(value.has_value());
  FieldReader fields(*value);
  BOOST_TEST(*fields.u32(7) == 7u);
  BOOST_TEST(*fields.u32(7) == 5u);
  BOOST_TEST(*fields.boolean(false) == true);
  BOOST_TEST(*fields.u16(9) == 9u);  // behind the end
  FieldReader wrong(*value);
  BOOST_TEST(wrong.skip(1).has_value());
  BOOST_TEST(!wrong.text().has_value());
  static_cast<void>(bytes);
}

BOOST_AUTO_TEST_CASE(trailing_nulls_are_left_out) {
  std::vector<uint8_t> bytes;
  AmqpWriter out(bytes);
  {
    FieldWriter fields(out);
    fields.null();
    fields.field().boolean(true);
    fields.null();
  }
  BOOST_TEST(bytes == from_hex("c003024041"));
}

BOOST_AUTO_TEST_CASE(symbolic_descriptors_are_known) {
  std::vector<uint8_t> bytes{0};
  AmqpWriter out(bytes);
  out.symbol("amqp:data:binary");
  out.binary(bytes_of("x"));
  Reader in(bytes);
  BOOST_TEST(read_described(in)->code == 0x75u);
}

BOOST_AUTO_TEST_SUITE_END()
