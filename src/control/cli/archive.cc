#include "control/cli/archive.h"

#include <zlib.h>

#include <array>
#include <cstdio>
#include <cstring>

namespace istmo::control {

namespace {

constexpr size_t kRecordBytes = 512;

// A header, at the offsets of POSIX.
struct UstarHeader {
  std::array<char, 100> name;
  std::array<char, 8> mode;
  std::array<char, 8> owner;
  std::array<char, 8> group;
  std::array<char, 12> size;
  std::array<char, 12> time;
  std::array<char, 8> checksum;
  char type;
  std::array<char, 100> link;
  std::array<char, 8> magic;  // with version
  std::array<char, 247> rest;
};
static_assert(sizeof(UstarHeader) == kRecordBytes);

template <size_t Size>
void put_octal(std::array<char, Size>& field, uint64_t value) {
  std::snprintf(field.data(), Size, "%0*llo", static_cast<int>(Size - 1),
                static_cast<unsigned long long>(value));
}

}  // namespace

void Archive::add(std::string_view name, std::string_view text) {
  const std::string path = (folder_ + "/" + std::string(name)).substr(0, kNameBytesMax);
  UstarHeader header{};
  std::memcpy(header.name.data(), path.data(), path.size());
  put_octal(header.mode, 0600);
  put_octal(header.owner, 0);
  put_octal(header.group, 0);
  put_octal(header.size, text.size());
  put_octal(header.time, static_cast<uint64_t>(time_));
  header.type = '0';  // a regular file
  std::memcpy(header.magic.data(), "ustar\00000", header.magic.size());
  header.checksum.fill(' ');  // as it counts in itself
  uint64_t sum = 0;
  const auto* octets = reinterpret_cast<const uint8_t*>(&header);
  for (size_t i = 0; i < kRecordBytes; ++i) sum += octets[i];
  put_octal(header.checksum, sum);
  tar_.append(reinterpret_cast<const char*>(&header), kRecordBytes);
  tar_.append(text);
  tar_.append((kRecordBytes - text.size() % kRecordBytes) % kRecordBytes, '\0');
}

Result<std::string> Archive::take() {
  constexpr int kGzip = 15 + 16;  // the largest window, and the format (zlib.h, deflateInit2)
  constexpr int kMemoryLevel = 8;
  tar_.append(2 * kRecordBytes, '\0');  // the end
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, kMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return Error::internal("compress: no memory");
  }
  std::string compressed(deflateBound(&stream, tar_.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(tar_.data());
  stream.avail_in = static_cast<uInt>(tar_.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  const int outcome = deflate(&stream, Z_FINISH);
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  if (outcome != Z_STREAM_END) return Error::internal("compress: not done");
  return compressed;
}

}  // namespace istmo::control
