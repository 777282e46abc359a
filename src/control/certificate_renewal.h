// The certificates of links are renewed over the link that they open, before they expire.
//
// The site that holds one makes a new key and asks in its mesh message; the site that signed it
// knows from the link who asks, signs for that key, and answers in its own message. Private keys
// never travel. The same messages tell a changed CA (site_ca.h) to those who trust it. All of it is
// state, told until it was heard: a lost link or a restart only delays it. What came stands in
// runtime/renewals/ and acts instead of the Secret document, as long as that stays what it was.
//
// Owned by the controller, control thread only; borrows the state. Certificates of `link generate`
// name no site and are not renewed: who made them replaces them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/mesh.h"
#include "control/observed.h"
#include "control/site_state.h"

namespace istmo::control {

class CertificateRenewal {
 public:
  // A neighbour gets at most one certificate in this time.
  static constexpr std::chrono::seconds kBetween = std::chrono::minutes(10);

  explicit CertificateRenewal(SiteState& state) : state_(state) {}

  // Brings everything in line with what neighbours say: signs, takes what was signed, asks. Then
  // puts what is newer into the Secrets of `desired`.
  void update(Desired& desired, const std::vector<RemoteSite>& sites,
              const std::vector<LinkState>& links, WallTime now);
  // For the next message to the neighbour.
  MeshTrust trust_for(const std::string& site_id) const;

 private:
  struct Answer {
    std::string request;  // SHA-256
    std::string certificate;
    WallTime time;
  };
  void answer(const std::string& site_id, const MeshTrust& asked, WallTime now);
  void renew(const SecretDocument& secret, const MeshTrust& told, MeshTrust& ours, WallTime now);
  void apply(Desired& desired);

  SiteState& state_;
  std::map<std::string, Answer> answers_;  // by site
  std::map<std::string, MeshTrust> trust_;
};

}  // namespace istmo::control
