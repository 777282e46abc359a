// Issues what Certificate documents ask for: a CA (`signing`), or a certificate that is signed by
// such a CA or by the site's own. Each is a record of the state with its key, which acts as a
// Secret of the document's name; where it is written for others is the platform's.
//
// A record stays as long as it is what its document asks for and has a third of its life left, so
// restarts and other processes of the site find the same key. A CA is renewed with its key: what it
// signed stays good. Of several processes the one that acts for the site issues.
//
// Owned by the controller, control thread only; borrows the state.
#pragma once

#include <map>
#include <set>
#include <string>

#include "control/desired.h"
#include "control/observed.h"
#include "control/site_state.h"

namespace istmo::control {

// What is wrong with it among these documents: hosts that are none, a CA that is not there.
// Error::config names the field.
Result<> check_certificate(const CertificateDocument& document, const Desired& desired);
// A Secret document of its name acts, and nothing is issued: Error::taken.
Result<> check_secret_is_free(const CertificateDocument& document, const Desired& desired);

class CertificateIssuer {
 public:
  // What was found good is not looked at again for so long.
  static constexpr std::chrono::seconds kGoodFor = std::chrono::hours(1);

  explicit CertificateIssuer(SiteState& state) : state_(state) {}

  // Brings the records in line with `desired`, and writes observed.certificates and its part of
  // observed.credentials. Call it when documents changed, and every few hours.
  void update(const Desired& desired, Observed& observed, WallTime now);
  // All that is issued and would be there after a crash, by name.
  std::map<std::string, proxy::Credentials> secrets() const;
  // Something could not be written: update() again after a while.
  bool has_failed() const { return has_failed_; }

 private:
  struct Signer {
    KeyPair ca;       // of a Certificate document; empty: the site's own
    std::string pem;  // what others have to trust; empty: it is not issued yet
  };
  struct Good {
    proxy::Credentials credentials;
    WallTime until;
  };
  void remove_without_document(const Desired& desired, const Observed& observed, WallTime now);
  Result<> bring_in_line(const CertificateDocument& document, const Desired& desired,
                         const Observed& observed, WallTime now);
  Signer signer_for(const CertificateDocument& document, const Desired& desired) const;
  bool is_good(const CertificateRecord& record, const std::string& ca, WallTime now);
  Result<proxy::Credentials> issue(const CertificateDocument& document, const Signer& signer,
                                   WallTime now);
  Result<proxy::Credentials> issue_ca(const CertificateDocument& document, WallTime now);
  const CertificateRecord* find_stored(const std::string& name) const;

  SiteState& state_;
  std::set<std::string> seen_;        // documents that were there in this run
  std::map<std::string, Good> good_;  // by name
  bool has_failed_ = false;
};

}  // namespace istmo::control
