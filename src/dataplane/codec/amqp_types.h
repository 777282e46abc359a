// The AMQP 1.0 type system (part 1 of the specification): every primitive type and described types.
//
// Reading borrows from contiguous octets and copies nothing: a Value of variable width points into
// the input. A list, map or array is read as a whole; its elements are read from `bytes` when
// somebody wants them. Nesting, counts and sizes are bounded by the input and the limits below.
// Writing appends the shortest encoding to a vector that the caller keeps and reuses.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace istmo::codec {

constexpr uint32_t kNestingMax = 16;          // values inside values, descriptors included
constexpr uint32_t kElementsMax = 64 * 1024;  // of one list, map or array

enum class ValueKind : uint8_t {
  null,
  boolean,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  float32,
  float64,
  decimal32,
  decimal64,
  decimal128,
  character,
  timestamp,
  uuid,
  binary,
  string,
  symbol,
  list,
  map,
  array,
  described,
};

// One value, borrowed from the input.
struct Value {
  ValueKind kind = ValueKind::null;
  // boolean: 0 or 1; unsigned; signed: sign extended to 64 bits; float32, float64, decimal32 and
  // decimal64: the bits; character; timestamp: milliseconds since 1970, sign extended.
  uint64_t number = 0;
  // binary, string, symbol, uuid, decimal128: the octets. list, map: the encoded elements. array:
  // the elements without their constructor. described: the encoded descriptor and value.
  Bytes bytes;
  uint32_t count = 0;  // list, array: elements; map: keys and values
  Bytes constructor;   // array: of each element

  bool is_null() const { return kind == ValueKind::null; }
  bool is_text() const { return kind == ValueKind::string || kind == ValueKind::symbol; }
  std::string_view text() const { return text_of(bytes); }
};

// Reads one value. What a compound contains is not looked at.
Result<Value> read_value(Reader& in);
// Reads one value and checks everything that it contains, down to kNestingMax levels.
Result<Value> read_value_deeply(Reader& in);
// Reads the next element of an array: `in` is over array.bytes.
Result<Value> read_element(Reader& in, Bytes constructor);

// A described value: the numeric code of the descriptor (0 if it is not an AMQP one) and the value.
struct Described {
  uint64_t code = 0;
  Value value;
};
// `in` begins at the octet 0x00 of a described value. Symbolic descriptors of the performatives and
// sections that we know are translated to their codes.
Result<Described> read_described(Reader& in);
Result<Described> read_described(const Value& value);  // of kind described

// Reads the fields of a list one after another; a field behind the end is null (trailing nulls may
// be left out). Typed reads give the default for null and a protocol Error for another type.
class FieldReader {
 public:
  explicit FieldReader(const Value& list) : in_(list.bytes), left_(list.count) {}

  Result<Value> next();
  Result<> skip(uint32_t count);
  Result<bool> boolean(bool otherwise);
  Result<uint8_t> u8(uint8_t otherwise);
  Result<uint16_t> u16(uint16_t otherwise);
  Result<uint32_t> u32(uint32_t otherwise);
  Result<uint64_t> u64(uint64_t otherwise);
  Result<uint32_t> required_u32();
  Result<bool> required_boolean();
  Result<std::string_view> text();  // string or symbol
  Result<Bytes> binary();
  uint32_t left() const { return left_; }

 private:
  Result<uint64_t> number(ValueKind kind, uint64_t otherwise);
  Reader in_;
  uint32_t left_;
};

// Appends encoded values to `to`, which the caller owns.
class AmqpWriter {
 public:
  // A list or map that is being written; ended with the count of its elements.
  struct Mark {
    size_t start;
  };

  explicit AmqpWriter(std::vector<uint8_t>& to) : to_(to) {}

  void null() { octet(0x40); }
  void boolean(bool value) { octet(value ? 0x41 : 0x42); }
  void u8(uint8_t value);
  void u16(uint16_t value);
  void u32(uint32_t value);
  void u64(uint64_t value);
  void i8(int8_t value);
  void i16(int16_t value);
  void i32(int32_t value);
  void i64(int64_t value);
  void f32(float value);
  void f64(double value);
  void decimal32(uint32_t bits) { fixed(0x74, bits); }
  void decimal64(uint64_t bits) { fixed(0x84, bits); }
  void decimal128(std::span<const uint8_t, 16> octets);
  void character(uint32_t code_point) { fixed(0x73, code_point); }
  void timestamp(int64_t milliseconds) { fixed(0x83, static_cast<uint64_t>(milliseconds)); }
  void uuid(std::span<const uint8_t, 16> octets);
  void binary(Bytes value) { variable(0xa0, value); }
  void string(std::string_view value) { variable(0xa1, bytes_of(value)); }
  void symbol(std::string_view value) { variable(0xa3, bytes_of(value)); }
  void symbol_array(std::span<const std::string_view> symbols);
  void descriptor(uint64_t code);
  void value(const Value& value);  // anything that was read
  void raw(Bytes encoded) { to_.insert(to_.end(), encoded.begin(), encoded.end()); }

  Mark begin_compound();
  void end_list(Mark mark, uint32_t count) { end_compound(mark, count, 0xc0); }
  void end_map(Mark mark, uint32_t count) { end_compound(mark, count, 0xc1); }

  size_t size() const { return to_.size(); }

 private:
  void octet(uint8_t value) { to_.push_back(value); }
  template <class T>
  void big_endian(T value) {
    const size_t at = to_.size();
    to_.resize(at + sizeof value);
    store_big_endian(to_.data() + at, value);
  }
  template <class T>
  void fixed(uint8_t code, T value) {
    octet(code);
    big_endian(value);
  }
  void variable(uint8_t short_code, Bytes value);
  void end_compound(Mark mark, uint32_t count, uint8_t short_code);

  std::vector<uint8_t>& to_;
};

// Writes the fields of a list in order and leaves out trailing nulls.
class FieldWriter {
 public:
  explicit FieldWriter(AmqpWriter& out) : out_(out), mark_(out.begin_compound()) {}
  FieldWriter(const FieldWriter&) = delete;
  FieldWriter& operator=(const FieldWriter&) = delete;
  ~FieldWriter() { out_.end_list(mark_, count_); }

  void null() { ++nulls_; }
  // The writer for one field that is not null.
  AmqpWriter& field() {
    for (count_ += nulls_ + 1; nulls_ > 0; --nulls_) out_.null();
    return out_;
  }

 private:
  AmqpWriter& out_;
  AmqpWriter::Mark mark_;
  uint32_t nulls_ = 0;
  uint32_t count_ = 0;
};

}  // namespace istmo::codec
