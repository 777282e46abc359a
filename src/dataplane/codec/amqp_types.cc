#include "dataplane/codec/amqp_types.h"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

namespace istmo::codec {
namespace {

constexpr uint8_t kDescribed = 0x00;

// AMQP 1.0 part 1, 1.6: the encodings. `described` stands for codes that do not exist.
ValueKind kind_of(uint8_t code) {
  switch (code) {
    case 0x40: return ValueKind::null;
    case 0x41:
    case 0x42:
    case 0x56: return ValueKind::boolean;
    case 0x43:
    case 0x52:
    case 0x70: return ValueKind::uint32;
    case 0x44:
    case 0x53:
    case 0x80: return ValueKind::uint64;
    case 0x45:
    case 0xc0:
    case 0xd0: return ValueKind::list;
    case 0x50: return ValueKind::uint8;
    case 0x51: return ValueKind::int8;
    case 0x54:
    case 0x71: return ValueKind::int32;
    case 0x55:
    case 0x81: return ValueKind::int64;
    case 0x60: return ValueKind::uint16;
    case 0x61: return ValueKind::int16;
    case 0x72: return ValueKind::float32;
    case 0x73: return ValueKind::character;
    case 0x74: return ValueKind::decimal32;
    case 0x82: return ValueKind::float64;
    case 0x83: return ValueKind::timestamp;
    case 0x84: return ValueKind::decimal64;
    case 0x94: return ValueKind::decimal128;
    case 0x98: return ValueKind::uuid;
    case 0xa0:
    case 0xb0: return ValueKind::binary;
    case 0xa1:
    case 0xb1: return ValueKind::string;
    case 0xa3:
    case 0xb3: return ValueKind::symbol;
    case 0xc1:
    case 0xd1: return ValueKind::map;
    case 0xe0:
    case 0xf0: return ValueKind::array;
    default: return ValueKind::described;
  }
}

bool is_signed(ValueKind kind) {
  return kind == ValueKind::int8 || kind == ValueKind::int16 || kind == ValueKind::int32;
}

Result<Value> read_coded(Reader& in, uint8_t code, uint32_t depth);

// From the octet behind 0x00: descriptor, value. Both stay encoded in `bytes`.
Result<Value> read_described_whole(Reader& in, uint32_t depth) {
  if (depth >= kNestingMax) return Error::protocol("AMQP values nested too deep");
  const uint8_t* start = in.rest().data();
  for (int part = 0; part < 2; ++part) {
    const uint8_t code = TRY(in.u8());
    static_cast<void>(TRY(read_coded(in, code, depth + 1)));
  }
  const auto size = static_cast<size_t>(in.rest().data() - start);
  return Value{.kind = ValueKind::described, .bytes = Bytes(start, size)};
}

// The octets of one constructor: a code, with any descriptors before it.
Result<Bytes> read_constructor(Reader& in, uint32_t depth) {
  const uint8_t* start = in.rest().data();
  uint8_t code = TRY(in.u8());
  while (code == kDescribed) {
    if (depth++ >= kNestingMax) return Error::protocol("AMQP values nested too deep");
    const uint8_t descriptor = TRY(in.u8());
    static_cast<void>(TRY(read_coded(in, descriptor, depth)));
    code = TRY(in.u8());
  }
  if (kind_of(code) == ValueKind::described) return Error::protocol("unknown AMQP type code");
  return Bytes(start, static_cast<size_t>(in.rest().data() - start));
}

// `size` and `count` are one or four octets each.
Result<Value> read_compound(Reader& in, uint8_t code, uint32_t depth) {
  const bool is_short = (code >> 4) == 0xc || (code >> 4) == 0xe;
  const uint32_t size = is_short ? TRY(in.u8()) : TRY(in.u32());
  Reader content(TRY(in.take(size)));
  Value value{.kind = kind_of(code)};
  value.count = is_short ? TRY(content.u8()) : TRY(content.u32());
  if (value.count > kElementsMax) return Error::protocol("too many elements in an AMQP value");
  if (value.kind == ValueKind::array) {
    // AMQP 1.0 part 1, 1.6.24: an array has a constructor also when it is empty; be lenient there.
    if (value.count > 0 || !content.empty()) {
      value.constructor = TRY(read_constructor(content, depth));
    }
  } else if (value.count > content.left()) {
    return Error::protocol("more elements than octets in an AMQP value");
  } else if (value.kind == ValueKind::map && value.count % 2 != 0) {
    return Error::protocol("odd number of elements in an AMQP map");
  }
  value.bytes = content.rest();
  return value;
}

Result<Value> read_fixed(Reader& in, uint8_t code, ValueKind kind) {
  Value value{.kind = kind};
  switch (code >> 4) {
    case 0x4: value.number = code == 0x41; break;
    case 0x5: value.number = TRY(in.u8()); break;
    case 0x6: value.number = TRY(in.u16()); break;
    case 0x7: value.number = TRY(in.u32()); break;
    case 0x8: value.number = TRY(in.u64()); break;
    default: value.bytes = TRY(in.take(16)); return value;
  }
  if (kind == ValueKind::boolean && value.number > 1) {
    return Error::protocol("AMQP boolean is neither 0 nor 1");
  }
  // 0x54 and 0x55 are signed in one octet, whatever the kind.
  if (code == 0x54 || code == 0x55 || (is_signed(kind) && code == 0x51)) {
    value.number = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int8_t>(value.number)));
  } else if (kind == ValueKind::int16) {
    value.number = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int16_t>(value.number)));
  } else if (kind == ValueKind::int32) {
    value.number = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(value.number)));
  }
  return value;
}

Result<Value> read_coded(Reader& in, uint8_t code, uint32_t depth) {
  if (code == kDescribed) return read_described_whole(in, depth);
  const ValueKind kind = kind_of(code);
  if (kind == ValueKind::described) return Error::protocol("unknown AMQP type code");
  if (code == 0x45) return Value{.kind = ValueKind::list};
  switch (code >> 4) {
    case 0xa:
    case 0xb: {
      const uint32_t size = (code >> 4) == 0xa ? TRY(in.u8()) : TRY(in.u32());
      return Value{.kind = kind, .bytes = TRY(in.take(size))};
    }
    case 0xc:
    case 0xd:
    case 0xe:
    case 0xf: return read_compound(in, code, depth);
    default: return read_fixed(in, code, kind);
  }
}

Result<> check_content(const Value& value, uint32_t depth) {
  if (depth >= kNestingMax) return Error::protocol("AMQP values nested too deep");
  Reader in(value.bytes);
  if (value.kind == ValueKind::array) {
    // Elements without octets are all the same one.
    if (value.bytes.empty() && value.count > 0) {
      static_cast<void>(TRY(read_element(in, value.constructor)));
      return {};
    }
    for (uint32_t i = 0; i < value.count; ++i) {
      const Value element = TRY(read_element(in, value.constructor));
      TRY(check_content(element, depth + 1));
    }
  } else if (value.kind == ValueKind::list || value.kind == ValueKind::map ||
             value.kind == ValueKind::described) {
    const uint32_t count = value.kind == ValueKind::described ? 2 : value.count;
    for (uint32_t i = 0; i < count; ++i) {
      const Value element = TRY(read_value(in));
      TRY(check_content(element, depth + 1));
    }
  } else {
    return {};
  }
  if (!in.empty()) return Error::protocol("octets behind the last element of an AMQP value");
  return {};
}

struct SymbolicDescriptor {
  std::string_view name;
  uint64_t code;
};
constexpr auto kSymbolicDescriptors = std::to_array<SymbolicDescriptor>({
    {"amqp:open:list", 0x10},
    {"amqp:begin:list", 0x11},
    {"amqp:attach:list", 0x12},
    {"amqp:flow:list", 0x13},
    {"amqp:transfer:list", 0x14},
    {"amqp:disposition:list", 0x15},
    {"amqp:detach:list", 0x16},
    {"amqp:end:list", 0x17},
    {"amqp:close:list", 0x18},
    {"amqp:error:list", 0x1d},
    {"amqp:received:list", 0x23},
    {"amqp:accepted:list", 0x24},
    {"amqp:rejected:list", 0x25},
    {"amqp:released:list", 0x26},
    {"amqp:modified:list", 0x27},
    {"amqp:source:list", 0x28},
    {"amqp:target:list", 0x29},
    {"amqp:coordinator:list", 0x30},
    {"amqp:sasl-mechanisms:list", 0x40},
    {"amqp:sasl-init:list", 0x41},
    {"amqp:sasl-challenge:list", 0x42},
    {"amqp:sasl-response:list", 0x43},
    {"amqp:sasl-outcome:list", 0x44},
    {"amqp:header:list", 0x70},
    {"amqp:delivery-annotations:map", 0x71},
    {"amqp:message-annotations:map", 0x72},
    {"amqp:properties:list", 0x73},
    {"amqp:application-properties:map", 0x74},
    {"amqp:data:binary", 0x75},
    {"amqp:amqp-sequence:list", 0x76},
    {"amqp:amqp-value:*", 0x77},
    {"amqp:footer:map", 0x78},
});

uint64_t code_of(const Value& descriptor) {
  if (descriptor.kind == ValueKind::uint64) return descriptor.number;
  if (descriptor.kind != ValueKind::symbol) return 0;
  for (const auto& known : kSymbolicDescriptors) {
    if (known.name == descriptor.text()) return known.code;
  }
  return 0;
}

}  // namespace

Result<Value> read_value(Reader& in) {
  const uint8_t code = TRY(in.u8());
  return read_coded(in, code, 0);
}

Result<Value> read_value_deeply(Reader& in) {
  const Value value = TRY(read_value(in));
  TRY(check_content(value, 0));
  return value;
}

Result<Value> read_element(Reader& in, Bytes constructor) {
  if (constructor.empty()) return Error::protocol("AMQP array without a constructor");
  if (constructor.size() == 1) return read_coded(in, constructor[0], 0);
  // Described elements: the descriptors are in the constructor, only the innermost value is here.
  return read_coded(in, constructor.back(), 1);
}

Result<Described> read_described(Reader& in) {
  if (TRY(in.u8()) != kDescribed) return Error::protocol("not a described AMQP value");
  const Value descriptor = TRY(read_value(in));
  Value value = TRY(read_value(in));
  return Described{.code = code_of(descriptor), .value = value};
}

Result<Described> read_described(const Value& value) {
  if (value.kind != ValueKind::described) return Error::protocol("not a described AMQP value");
  Reader in(value.bytes);
  const Value descriptor = TRY(read_value(in));
  Value content = TRY(read_value(in));
  return Described{.code = code_of(descriptor), .value = content};
}

Result<Value> FieldReader::next() {
  if (left_ == 0) return Value{};
  --left_;
  return read_value(in_);
}

Result<> FieldReader::skip(uint32_t count) {
  for (; count > 0 && left_ > 0; --count) static_cast<void>(TRY(next()));
  return {};
}

Result<uint64_t> FieldReader::number(ValueKind kind, uint64_t otherwise) {
  const Value value = TRY(next());
  if (value.is_null()) return otherwise;
  if (value.kind != kind) return Error::protocol("AMQP field has another type");
  return value.number;
}

Result<bool> FieldReader::boolean(bool otherwise) {
  return TRY(number(ValueKind::boolean, otherwise)) != 0;
}
Result<uint8_t> FieldReader::u8(uint8_t otherwise) {
  return static_cast<uint8_t>(TRY(number(ValueKind::uint8, otherwise)));
}
Result<uint16_t> FieldReader::u16(uint16_t otherwise) {
  return static_cast<uint16_t>(TRY(number(ValueKind::uint16, otherwise)));
}
Result<uint32_t> FieldReader::u32(uint32_t otherwise) {
  return static_cast<uint32_t>(TRY(number(ValueKind::uint32, otherwise)));
}
Result<uint64_t> FieldReader::u64(uint64_t otherwise) {
  return number(ValueKind::uint64, otherwise);
}

Result<uint32_t> FieldReader::required_u32() {
  const Value value = TRY(next());
  if (value.kind != ValueKind::uint32) return Error::protocol("AMQP field is missing or no uint");
  return static_cast<uint32_t>(value.number);
}

Result<bool> FieldReader::required_boolean() {
  const Value value = TRY(next());
  if (value.kind != ValueKind::boolean) {
    return Error::protocol("AMQP field is missing or no boolean");
  }
  return value.number != 0;
}

Result<std::string_view> FieldReader::text() {
  const Value value = TRY(next());
  if (value.is_null()) return std::string_view();
  if (!value.is_text()) return Error::protocol("AMQP field is no text");
  return value.text();
}

Result<Bytes> FieldReader::binary() {
  const Value value = TRY(next());
  if (value.is_null()) return Bytes();
  if (value.kind != ValueKind::binary) return Error::protocol("AMQP field is no binary");
  return value.bytes;
}

void AmqpWriter::u8(uint8_t value) { fixed(0x50, value); }
void AmqpWriter::u16(uint16_t value) { fixed(0x60, value); }

void AmqpWriter::u32(uint32_t value) {
  if (value == 0) octet(0x43);
  else if (value < 256) fixed(0x52, static_cast<uint8_t>(value));
  else fixed(0x70, value);
}

void AmqpWriter::u64(uint64_t value) {
  if (value == 0) octet(0x44);
  else if (value < 256) fixed(0x53, static_cast<uint8_t>(value));
  else fixed(0x80, value);
}

void AmqpWriter::i8(int8_t value) { fixed(0x51, static_cast<uint8_t>(value)); }
void AmqpWriter::i16(int16_t value) { fixed(0x61, static_cast<uint16_t>(value)); }

void AmqpWriter::i32(int32_t value) {
  if (value >= -128 && value < 128) fixed(0x54, static_cast<uint8_t>(value));
  else fixed(0x71, static_cast<uint32_t>(value));
}

void AmqpWriter::i64(int64_t value) {
  if (value >= -128 && value < 128) fixed(0x55, static_cast<uint8_t>(value));
  else fixed(0x81, static_cast<uint64_t>(value));
}

void AmqpWriter::f32(float value) { fixed(0x72, std::bit_cast<uint32_t>(value)); }
void AmqpWriter::f64(double value) { fixed(0x82, std::bit_cast<uint64_t>(value)); }

void AmqpWriter::decimal128(std::span<const uint8_t, 16> octets) {
  octet(0x94);
  raw(octets);
}

void AmqpWriter::uuid(std::span<const uint8_t, 16> octets) {
  octet(0x98);
  raw(octets);
}

void AmqpWriter::symbol_array(std::span<const std::string_view> symbols) {
  uint32_t size = 5;  // count and constructor
  for (auto symbol : symbols) size += 4 + static_cast<uint32_t>(symbol.size());
  fixed(0xf0, size);
  big_endian(static_cast<uint32_t>(symbols.size()));
  octet(0xb3);
  for (auto symbol : symbols) {
    big_endian(static_cast<uint32_t>(symbol.size()));
    raw(bytes_of(symbol));
  }
}

void AmqpWriter::descriptor(uint64_t code) {
  octet(kDescribed);
  u64(code);
}

void AmqpWriter::variable(uint8_t short_code, Bytes value) {
  if (value.size() < 256) fixed(short_code, static_cast<uint8_t>(value.size()));
  else fixed(static_cast<uint8_t>(short_code + 0x10), static_cast<uint32_t>(value.size()));
  raw(value);
}

void AmqpWriter::value(const Value& value) {
  const auto number = static_cast<int64_t>(value.number);
  switch (value.kind) {
    case ValueKind::null: return null();
    case ValueKind::boolean: return boolean(value.number != 0);
    case ValueKind::uint8: return u8(static_cast<uint8_t>(value.number));
    case ValueKind::uint16: return u16(static_cast<uint16_t>(value.number));
    case ValueKind::uint32: return u32(static_cast<uint32_t>(value.number));
    case ValueKind::uint64: return u64(value.number);
    case ValueKind::int8: return i8(static_cast<int8_t>(number));
    case ValueKind::int16: return i16(static_cast<int16_t>(number));
    case ValueKind::int32: return i32(static_cast<int32_t>(number));
    case ValueKind::int64: return i64(number);
    case ValueKind::float32: return fixed(0x72, static_cast<uint32_t>(value.number));
    case ValueKind::float64: return fixed(0x82, value.number);
    case ValueKind::decimal32: return decimal32(static_cast<uint32_t>(value.number));
    case ValueKind::decimal64: return decimal64(value.number);
    case ValueKind::decimal128: return decimal128(value.bytes.first<16>());
    case ValueKind::character: return character(static_cast<uint32_t>(value.number));
    case ValueKind::timestamp: return timestamp(number);
    case ValueKind::uuid: return uuid(value.bytes.first<16>());
    case ValueKind::binary: return binary(value.bytes);
    case ValueKind::string: return string(value.text());
    case ValueKind::symbol: return symbol(value.text());
    case ValueKind::list:
    case ValueKind::map: {
      const Mark mark = begin_compound();
      raw(value.bytes);
      end_compound(mark, value.count, value.kind == ValueKind::list ? 0xc0 : 0xc1);
      return;
    }
    case ValueKind::array:
      fixed(0xf0, static_cast<uint32_t>(4 + value.constructor.size() + value.bytes.size()));
      big_endian(value.count);
      raw(value.constructor);
      return raw(value.bytes);
    case ValueKind::described: octet(kDescribed); return raw(value.bytes);
  }
}

AmqpWriter::Mark AmqpWriter::begin_compound() {
  const Mark mark{to_.size()};
  to_.resize(to_.size() + 9);  // code, size, count: the long form, shortened at the end if it fits
  return mark;
}

void AmqpWriter::end_compound(Mark mark, uint32_t count, uint8_t short_code) {
  const size_t content = to_.size() - mark.start - 9;
  uint8_t* at = to_.data() + mark.start;
  if (count == 0 && short_code == 0xc0) {
    at[0] = 0x45;
    to_.resize(mark.start + 1);
  } else if (content < 255 && count < 256) {
    at[0] = short_code;
    at[1] = static_cast<uint8_t>(content + 1);
    at[2] = static_cast<uint8_t>(count);
    std::memmove(at + 3, at + 9, content);
    to_.resize(mark.start + 3 + content);
  } else {
    at[0] = static_cast<uint8_t>(short_code + 0x10);
    store_big_endian(at + 1, static_cast<uint32_t>(content + 4));
    store_big_endian(at + 5, count);
  }
}

}  // namespace istmo::codec
