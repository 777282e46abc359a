// Reads the first message of a TLS client (RFC 8446 4.1.2) without answering it: where it wants to
// go (SNI, RFC 6066 3) and what it wants to speak (ALPN, RFC 7301 3.1). The acceptor of a link
// chooses the worker by it before TLS starts, so nobody has vouched for these octets.
//
// A pure function, on the worker that accepted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace istmo::codec {

struct ClientHello {
  std::string server_name;        // SNI; empty if there was none
  std::vector<std::string> alpn;  // in the client's order

  friend bool operator==(const ClientHello&, const ClientHello&) = default;
};

// Longest hello that is read, record headers included. Post-quantum key shares make 2 KiB.
inline constexpr size_t kClientHelloBytesMax = 16 * 1024;

// `received` is everything that came so far. nullopt: more is needed. Error: it is not a client
// hello of TLS 1.0 or later, or it is too long; what is wrong is reported as soon as it shows.
Result<std::optional<ClientHello>> parse_client_hello(Bytes received);

}  // namespace istmo::codec
