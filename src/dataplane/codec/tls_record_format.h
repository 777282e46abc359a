// Numbers of the record layer (RFC 8446 4, 5.1, 5.2), for tls_records*.cc.
#pragma once

#include <cstdint>

#include "dataplane/codec/record_cipher.h"

namespace istmo::codec {

inline constexpr uint32_t kRecordHeaderBytes = 5;
// Header, content type and tag around the content of a record.
inline constexpr uint32_t kRecordOverheadBytes = kRecordHeaderBytes + 1 + RecordCipher::kTagBytes;

// ContentType
inline constexpr uint8_t kAlert = 21;
inline constexpr uint8_t kHandshake = 22;
inline constexpr uint8_t kApplicationData = 23;

// HandshakeType
inline constexpr uint8_t kNewSessionTicketMessage = 4;
inline constexpr uint8_t kKeyUpdateMessage = 24;

}  // namespace istmo::codec
