// Big-endian reading and writing of octets, bounds checked.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace istmo {

using Bytes = std::span<const uint8_t>;

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <std::unsigned_integral T>
T load_big_endian(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (sizeof(T) > 1 && std::endian::native == std::endian::little) {
    if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
    else if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
    else value = __builtin_bswap64(value);
  }
  return value;
}

template <std::unsigned_integral T>
void store_big_endian(uint8_t* to, T value) {
  if constexpr (sizeof(T) > 1 && std::endian::native == std::endian::little) {
    if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
    else if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
    else value = __builtin_bswap64(value);
  }
  std::memcpy(to, &value, sizeof value);
}

// Reads from borrowed contiguous octets. Every read that goes past the end is a protocol Error.
class Reader {
 public:
  explicit Reader(Bytes bytes) : rest_(bytes) {}

  Bytes rest() const { return rest_; }
  size_t left() const { return rest_.size(); }
  bool empty() const { return rest_.empty(); }

  template <std::unsigned_integral T>
  Result<T> number() {
    if (rest_.size() < sizeof(T)) return Error::protocol("input ends inside a number");
    const T value = load_big_endian<T>(rest_.data());
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  Result<uint8_t> u8() { return number<uint8_t>(); }
  Result<uint16_t> u16() { return number<uint16_t>(); }
  Result<uint32_t> u32() { return number<uint32_t>(); }
  Result<uint64_t> u64() { return number<uint64_t>(); }

  Result<Bytes> take(size_t count) {
    if (rest_.size() < count) return Error::protocol("input ends inside a value");
    const Bytes taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

 private:
  Bytes rest_;
};

}  // namespace istmo
