// What a site remembers, as values, and as the text of its records (state_store.h).
//
// Functions without state, any thread. What cannot be understood is Error::config that names the
// record's place.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/pki.h"

namespace istmo::control {

// One redemption of a grant.
struct Claim {
  std::string name;     // the token's
  std::string subject;  // the redeeming site's id
  std::string serial;   // of the certificate that it got
  WallTime time;
};

struct Grant {
  std::string uid;   // UUID: the path of its URL
  std::string name;  // of the AccessGrant document
  std::string code;
  bool is_code_given = false;  // by the document; else it is random
  uint32_t redemptions_allowed = 1;
  std::optional<WallTime> created;  // nothing: an earlier version did not write it down
  WallTime expires;
  std::vector<Claim> claims;
  // A document of this run asks for it. Not in the record: until its document was read again a
  // grant is kept, and not redeemed.
  bool is_wanted = false;
  uint32_t redemptions() const { return static_cast<uint32_t>(claims.size()); }
  bool is_open(WallTime now) const { return now < expires && redemptions() < redemptions_allowed; }
  // Why it is not open, for people; empty while it is.
  std::string why_closed(WallTime now) const;
};

// A certificate that this site's CA signed for others.
struct IssuedCertificate {
  std::string serial;
  std::string subject;  // site id, or the name given to `link generate` or a Certificate
  std::string reason;   // "grant <uid>", "link generate", "certificate <name>"
  std::string fingerprint_sha256;
  WallTime issued;
  WallTime expires;
};

// An AccessToken that this site has redeemed.
struct RedeemedToken {
  std::string name;
  std::string url;
  std::string code_sha256;  // a document of the same name with another code is another token
  std::string documents;    // Secret and Links, YAML; empty once the link was deleted
  WallTime time;
};

// What was issued for a Certificate document.
struct CertificateRecord {
  std::string name;     // of the document and of the Secret
  std::string request;  // SHA-256 of what the document asked for then
  proxy::Credentials credentials;
  friend bool operator==(const CertificateRecord&, const CertificateRecord&) = default;
};

// What a Secret of a Link was renewed to.
struct Renewal {
  std::string secret;
  std::string replaces_sha256;     // of the certificate in the document that it goes with
  proxy::Credentials credentials;  // in use instead; empty: none yet
  SigningRequest pending;          // a key that waits for its certificate; empty: none does
};

struct SiteRecord {
  std::string id;
  std::vector<std::string> ingress_hosts;
};

// By purpose.
using PortsRecord = std::map<std::string, uint16_t>;

struct RecordText {
  std::string place;  // for errors
  std::string text;
};

std::string to_record(const Grant& grant);
std::string to_record(const IssuedCertificate& issued);
std::string to_record(const RedeemedToken& token);
std::string to_record(const CertificateRecord& certificate);
std::string to_record(const Renewal& renewal);
std::string to_record(const SiteRecord& site);
std::string to_record(const PortsRecord& ports);

Result<Grant> read_grant(const RecordText& record);
Result<IssuedCertificate> read_issued(const RecordText& record);
Result<RedeemedToken> read_redeemed(const RecordText& record);
Result<CertificateRecord> read_certificate_record(const RecordText& record);
Result<Renewal> read_renewal(const RecordText& record);
Result<SiteRecord> read_site(const RecordText& record);
// Also of what an earlier version wrote together with the site.
Result<PortsRecord> read_ports(const RecordText& record);

}  // namespace istmo::control
