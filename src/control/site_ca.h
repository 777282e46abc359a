// The CA of a site over its life. In the last third of that life it has a successor, which others
// are told to trust too; in the last sixth the successor signs; at its end the successor takes its
// place. So everybody who is linked once in the years between goes on without noticing.
//
//   life:  0 ............ 2/3 ............ 5/6 ............ end
//   trust: CA             CA + successor   CA + successor   successor, now the CA
//   signs: CA             CA               successor        successor
//
// Two files in `issuers/`: istmo-site-ca.pem and, while there is one, istmo-site-ca-next.pem, each
// a certificate with its key. Owned by SiteState, control thread only.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "control/pki.h"

namespace istmo::control {

// A certificate and its key in one file, so that they change together. read: Error::closed when
// there is no file, Error::config when it is damaged.
Result<KeyPair> read_key_pair(const std::filesystem::path& path);
Result<> write_key_pair(const std::filesystem::path& path, const KeyPair& pair);

class SiteCa {
 public:
  enum class Missing : uint8_t { made, is_an_error };
  // Reads the CA, or makes it where none was. Error::config names the file.
  static Result<SiteCa> open(const std::filesystem::path& issuers, const std::string& site_name,
                             Missing missing, WallTime now);

  // What others have to trust: PEM of one certificate, or of two.
  const std::string& bundle() const { return bundle_; }
  const KeyPair& signer(WallTime now) const;
  // Makes the successor, or puts it in its place, when it is time; on disk when it returns. Call
  // it at start and once a day.
  Result<> rotate(WallTime now);

 private:
  SiteCa(const std::filesystem::path& issuers, const std::string& site_name);
  Result<> read(Missing missing, WallTime now);
  void join();

  std::filesystem::path file_;
  std::filesystem::path next_file_;
  std::string common_name_;
  KeyPair current_;
  std::optional<KeyPair> next_;
  std::string bundle_;
};

}  // namespace istmo::control
