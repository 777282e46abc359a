#include "control/plain_text.h"

#include <algorithm>
#include <charconv>

#include "dataplane/io/socket.h"

namespace istmo::control {
namespace {

constexpr size_t kHostBytesMax = 253;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::optional<uint16_t> port_from(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

uint16_t port_at(const Value& map, std::string_view key) {
  return port_from(text_at(map, key)).value_or(0);
}

uint32_t number_at(const Value& map, std::string_view key) {
  const std::string& text = text_at(map, key);
  uint32_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  return read.ec == std::errc() && read.ptr == text.data() + text.size() ? number : 0;
}

bool is_host(const std::string& text) {
  if (io::Address::parse(text, 0)) return true;
  return !text.empty() && text.size() <= kHostBytesMax && std::ranges::all_of(text, [](char c) {
    return is_letter_or_digit(c) || c == '-' || c == '.' || c == '_';
  });
}

std::string in_lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string escaped_for_query(std::string_view text) {
  constexpr std::string_view kPlain = "-._~";
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string query;
  for (const char c : text) {
    const auto octet = static_cast<uint8_t>(c);
    if (is_letter_or_digit(c) || kPlain.contains(c)) query += c;
    else query.append({'%', kDigits[octet >> 4], kDigits[octet & 15]});
  }
  return query;
}

}  // namespace istmo::control
