// The TLS settings of one worker for one purpose: keys, whom to trust, which protocols.
//
// Immutable. Made from text, anywhere; then it belongs to one worker with all engines made from
// it, which keep what they need of it: the context may end before them, so that a new certificate
// concerns new connections only.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/codec/tls_engine.h"
#include "dataplane/transport/key_log.h"

namespace istmo::transport {

using codec::TlsRole;

enum class TlsVersion : uint8_t { v1_2, v1_3 };
// required: the other side shows a certificate that `ca_pem` signed, or the handshake fails.
// unchecked: a server asks for none, a client takes any.
enum class RemoteCertificate : uint8_t { required, unchecked };

struct TlsContextOptions {
  TlsRole role = TlsRole::client;
  std::string certificate_chain_pem;  // own certificate first; a client may have none
  std::string private_key_pem;
  std::string ca_pem;  // the only ones trusted
  RemoteCertificate remote_certificate = RemoteCertificate::required;
  TlsVersion minimum_version = TlsVersion::v1_3;
  // Server: accepted, best first; a client that offers others only is refused, one that offers
  // none is not. (A client's are per connection: TlsEngineOptions.)
  std::vector<std::string> alpn;
  const KeyLog* key_log = nullptr;
};

class TlsContext {
 public:
  // Error::config with what is wrong in which of the texts.
  static Result<TlsContext> create(const TlsContextOptions& options);
  TlsRole role() const { return role_; }
  codec::TlsShared& shared() const { return *shared_; }

 private:
  TlsContext(TlsRole role, codec::TlsSharedPointer shared)
      : role_(role), shared_(std::move(shared)) {}

  TlsRole role_;
  codec::TlsSharedPointer shared_;
};

}  // namespace istmo::transport
