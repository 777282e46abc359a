#include "dataplane/codec/client_hello.h"

#include <algorithm>

namespace istmo::codec {
namespace {

// RFC 8446 5.1, 4, 4.2; RFC 6066 3; RFC 7301 3.1
constexpr uint8_t kHandshakeRecord = 22;
constexpr uint8_t kMajorVersion = 3;
constexpr size_t kRecordHeaderBytes = 5;
constexpr size_t kFragmentBytesMax = 16 * 1024;
constexpr uint8_t kClientHelloMessage = 1;
constexpr size_t kMessageHeaderBytes = 4;
constexpr uint16_t kServerNameExtension = 0;
constexpr uint16_t kAlpnExtension = 16;
constexpr uint8_t kHostName = 0;

Error not_tls(std::string_view why) {
  return Error::protocol("not a TLS client hello: " + std::string(why));
}

// A vector behind a length of one or two octets.
template <std::unsigned_integral Length>
Result<Bytes> read_vector(Reader& in) {
  const auto length = TRY(in.number<Length>());
  return in.take(length);
}

Result<> read_server_name(Bytes body, ClientHello& hello) {
  Reader in(body);
  Reader names(TRY(read_vector<uint16_t>(in)));
  while (!names.empty()) {
    const uint8_t type = TRY(names.u8());
    const Bytes name = TRY(read_vector<uint16_t>(names));
    if (type == kHostName) hello.server_name = text_of(name);
  }
  return {};
}

Result<> read_alpn(Bytes body, ClientHello& hello) {
  Reader in(body);
  Reader names(TRY(read_vector<uint16_t>(in)));
  while (!names.empty()) hello.alpn.emplace_back(text_of(TRY(read_vector<uint8_t>(names))));
  return {};
}

Result<ClientHello> read_message(Bytes message) {
  ClientHello hello;
  Reader in(message);
  TRY(in.take(2 + 32));            // legacy_version, random
  TRY(read_vector<uint8_t>(in));   // session id
  TRY(read_vector<uint16_t>(in));  // cipher suites
  TRY(read_vector<uint8_t>(in));   // compression methods
  if (in.empty()) return hello;    // no extensions, as TLS 1.2 allows
  Reader extensions(TRY(read_vector<uint16_t>(in)));
  while (!extensions.empty()) {
    const uint16_t type = TRY(extensions.u16());
    const Bytes body = TRY(read_vector<uint16_t>(extensions));
    if (type == kServerNameExtension) TRY(read_server_name(body, hello));
    if (type == kAlpnExtension) TRY(read_alpn(body, hello));
  }
  return hello;
}

// Appends what the records in `received` carry to `handshake`; a record that is cut off at the end
// gives what is there of it.
Result<> read_records(Bytes received, std::vector<uint8_t>& handshake) {
  while (!received.empty()) {
    if (received[0] != kHandshakeRecord) return not_tls("first octet");
    if (received.size() > 1 && received[1] != kMajorVersion) return not_tls("version");
    if (received.size() < kRecordHeaderBytes) return {};
    const size_t length = load_big_endian<uint16_t>(received.data() + 3);
    if (length == 0 || length > kFragmentBytesMax) return not_tls("record length");
    received = received.subspan(kRecordHeaderBytes);
    const Bytes fragment = received.first(std::min(length, received.size()));
    handshake.insert(handshake.end(), fragment.begin(), fragment.end());
    received = received.subspan(fragment.size());
    // The hello is the first message, so what is behind it is of no interest here.
    if (handshake.size() < kMessageHeaderBytes) continue;
    const size_t whole =
        kMessageHeaderBytes + (load_big_endian<uint32_t>(handshake.data()) & 0xffffff);
    if (handshake.size() >= whole) return {};
  }
  return {};
}

}  // namespace

Result<std::optional<ClientHello>> parse_client_hello(Bytes received) {
  std::vector<uint8_t> handshake;
  TRY(read_records(received.first(std::min(received.size(), kClientHelloBytesMax)), handshake));
  if (!handshake.empty() && handshake[0] != kClientHelloMessage) return not_tls("message type");
  size_t whole = kMessageHeaderBytes;
  if (handshake.size() >= kMessageHeaderBytes) {
    whole += load_big_endian<uint32_t>(handshake.data()) & 0xffffff;
  }
  if (whole > kClientHelloBytesMax) return not_tls("message length");
  if (handshake.size() < whole) {
    if (received.size() >= kClientHelloBytesMax) return not_tls("too long");
    return std::nullopt;
  }
  return TRY(read_message(Bytes(handshake).first(whole).subspan(kMessageHeaderBytes)));
}

}  // namespace istmo::codec
