// The CA of a site over its life. In the last third of that life it has a successor, which others
// are told to trust too; in the last sixth the successor signs; at its end the successor takes its
// place. So everybody who is linked once in the years between goes on without noticing.
//
//   life:  0 ............ 2/3 ............ 5/6 ............ end
//   trust: CA             CA + successor   CA + successor   successor, now the CA
//   signs: CA             CA               successor        successor
//
// Two records: istmo-site-ca.pem and, while there is one, istmo-site-ca-next.pem, each a
// certificate with its key. Owned by SiteState, control thread only; borrows the store.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/pki.h"
#include "control/state_store.h"

namespace istmo::control {

// A certificate and its key in one text, so that they change together. Error::config names `place`.
Result<KeyPair> read_key_pair(std::string_view text, const std::string& place);
std::string to_text(const KeyPair& pair);

class SiteCa {
 public:
  static constexpr const char* kFolder = "issuers";
  static constexpr const char* kRecord = "issuers/istmo-site-ca.pem";
  static constexpr const char* kNextRecord = "issuers/istmo-site-ca-next.pem";

  enum class Missing : uint8_t { made, is_an_error };
  // Reads the CA, or makes it where none was. Error::config names the record.
  static Result<SiteCa> open(StateStore& store, const std::string& site_name, Missing missing,
                             WallTime now);
  // Another process wrote them. One that is gone is written again.
  Result<> reload();

  // What others have to trust: PEM of one certificate, or of two.
  const std::string& bundle() const { return bundle_; }
  const KeyPair& signer(WallTime now) const;
  // Makes the successor, or puts it in its place, when it is time. Call it at start and once
  // a day.
  Result<> rotate(WallTime now);

 private:
  SiteCa(StateStore& store, const std::string& site_name)
      : store_(&store), common_name_("istmo-site-ca " + site_name) {}
  Result<> read(Missing missing, WallTime now);
  Result<> check(const KeyPair& ca, const char* record, WallTime now) const;
  void join();

  StateStore* store_;
  std::string common_name_;
  KeyPair current_;
  std::optional<KeyPair> next_;
  std::string bundle_;
};

}  // namespace istmo::control
