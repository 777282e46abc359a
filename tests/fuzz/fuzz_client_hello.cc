// Any octets as the first message of a TLS client, which nobody has vouched for.
//
// The input: two octets that say where the wire is cut, one that says how long records are, then
// octets. Length 0: they are the wire. Else they are the body of a ClientHello, which is put into
// records of that length, so that the fuzzer need not get lengths of headers right. Checked: no
// crash, no verdict is taken back as more comes, and records do not change what is read.
#include <algorithm>
#include <optional>
#include <string>

#include "base/assert.h"
#include "dataplane/codec/client_hello.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

enum class Verdict : uint8_t { more, whole, error };

Verdict verdict_on(Bytes received, ClientHello& hello) {
  auto result = parse_client_hello(received);
  if (!result) return Verdict::error;
  if (!*result) return Verdict::more;
  hello = std::move(**result);
  size_t text_bytes = hello.server_name.size();
  for (const std::string& protocol : hello.alpn) text_bytes += protocol.size() + 1;
  ASSERT(text_bytes <= received.size());
  return Verdict::whole;
}

void check_beginning(Bytes wire, size_t size) {
  ClientHello early, late;
  const Verdict first = verdict_on(wire.first(size), early);
  const Verdict second = verdict_on(wire, late);
  ASSERT(first == Verdict::more || first == second);
  ASSERT(first != Verdict::whole || early == late);
  ASSERT(wire.size() < kClientHelloBytesMax || second != Verdict::more);
}

std::string in_records(std::string_view message, size_t record_bytes) {
  std::string wire;
  for (size_t at = 0; at < message.size(); at += record_bytes) {
    const std::string_view fragment = message.substr(at, record_bytes);
    wire += {22, 3, 1, static_cast<char>(fragment.size() >> 8), static_cast<char>(fragment.size())};
    wire += fragment;
  }
  return wire;
}

std::string hello_message(Bytes body) {
  const size_t size = body.size();
  std::string message{1, static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                      static_cast<char>(size)};
  return message.append(text_of(body));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kChoiceBytes = 3;
  if (size < kChoiceBytes) return 0;
  const size_t cut = load_big_endian<uint16_t>(data), record_bytes = data[2];
  const Bytes octets = Bytes(data, size).subspan(kChoiceBytes);
  if (record_bytes == 0) {
    check_beginning(octets, cut % (octets.size() + 1));
    return 0;
  }
  const std::string message = hello_message(octets);
  const std::string wire = in_records(message, record_bytes);
  check_beginning(bytes_of(wire), cut % (wire.size() + 1));
  if (wire.size() > kClientHelloBytesMax) return 0;
  const std::string in_one = in_records(message, message.size());
  ClientHello one, many;
  ASSERT(verdict_on(bytes_of(in_one), one) == verdict_on(bytes_of(wire), many) && one == many);
  return 0;
}
