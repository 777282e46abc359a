#include "control/base64.h"

#include <algorithm>
#include <cstdint>

namespace istmo::control {
namespace {
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}  // namespace

std::string encode_base64(std::string_view octets) {
  std::string text;
  text.reserve((octets.size() + 2) / 3 * 4);
  for (size_t at = 0; at < octets.size(); at += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, octets.size() - at);
    for (size_t i = 0; i < 3; ++i) {
      group = group << 8 | (i < count ? static_cast<uint8_t>(octets[at + i]) : 0);
    }
    for (size_t i = 0; i < 4; ++i) {
      text += i <= count ? kAlphabet[group >> (18 - 6 * i) & 63] : '=';
    }
  }
  return text;
}

Result<std::string> decode_base64(std::string_view text) {
  std::string octets;
  uint32_t bits = 0;
  int bit_count = 0;
  size_t digits = 0;
  size_t padding = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r' || c == ' ' || c == '\t') continue;
    if (c == '=') {
      ++padding;
      continue;
    }
    const size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos || padding > 0) return Error::config("is not base64");
    ++digits;
    bits = (bits << 6 | static_cast<uint32_t>(digit)) & 0xffffff;
    bit_count += 6;
    if (bit_count < 8) continue;
    bit_count -= 8;
    octets += static_cast<char>(bits >> bit_count & 0xff);
  }
  const bool is_whole = digits % 4 == 0 ? padding == 0 : digits % 4 + padding == 4 && padding < 3;
  if (!is_whole || (bits & ((1u << bit_count) - 1)) != 0) return Error::config("is not base64");
  return octets;
}

}  // namespace istmo::control
