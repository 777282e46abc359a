// Certificates for tests, made in memory: a CA and leaves with any names and validity.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/codec/openssl.h"

namespace istmo::test {

struct TestCertificate {
  std::string certificate_pem;
  std::string key_pem;
};

enum class Validity : uint8_t { current, expired, future };

struct TestNames {
  std::string common_name;
  // As OpenSSL writes them: "DNS:a.example", "IP:127.0.0.1", "URI:istmo://site/west".
  std::vector<std::string> alternative_names = {};
};

// With ed25519 all certificates and signatures of the same names have the same size: what a
// simulation needs to repeat a run.
enum class TestKeys : uint8_t { p256, ed25519 };

class TestCa {
 public:
  explicit TestCa(std::string_view common_name, TestKeys keys = TestKeys::p256);

  // The only thing that somebody needs who trusts it.
  std::string certificate_pem() const;
  // A certificate for servers and clients alike.
  TestCertificate issue(const TestNames& names, Validity validity = Validity::current) const;

 private:
  TestKeys keys_;
  codec::KeyPointer key_;
  codec::CertificatePointer certificate_;
};

}  // namespace istmo::test
