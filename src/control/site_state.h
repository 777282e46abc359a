// What a site must remember over restarts, in its private folder `runtime/` (0700, files 0600):
//
//   site.json                 id of the site, chosen ports, names given with tokens
//   issuers/istmo-site-ca.pem certificate and key of the site's CA, in one file (site_ca.h)
//   certs/<name>.pem          certificates of this site with their keys: istmo-site-server,
//                             istmo-grant-server
//   grants/<uid>.json         the ledger: one grant with its code and every redemption
//   issued/<serial>.json      what was signed for others: for whom, when, until when
//   renewals/<secret>.json    newer credentials than a Secret document has
//   links/<token>.json        tokens that were redeemed here, with the documents that they gave
//   links/<token>.room        room on the disk for such a file while its token is being redeemed
//
// Each file is replaced as a whole (private_file.h), and before memory changes, so a crash loses
// nothing that was answered. A file that cannot be understood is an error with its name; nothing is
// ever made anew in its place: a new CA would cut every linked site off.
//
// Owned by the controller, control thread only. Ends by destruction; there is nothing to flush.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/pki.h"
#include "control/site_ca.h"

namespace istmo::control {

struct SiteStateOptions {
  std::filesystem::path runtime;  // made if it is not there
  std::string site_name;          // in the CA's name
  std::string site_id;            // of a site that is new here; empty: a random one
};

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
  // A document of this run asks for it. Not on disk: until its document was read again a grant is
  // kept, and not redeemed.
  bool is_wanted = false;
  uint32_t redemptions() const { return static_cast<uint32_t>(claims.size()); }
  bool is_open(WallTime now) const { return now < expires && redemptions() < redemptions_allowed; }
  // Why it is not open, for people; empty while it is.
  std::string why_closed(WallTime now) const;
};

// A certificate that this site's CA signed for others.
struct IssuedCertificate {
  std::string serial;
  std::string subject;  // site id, or the name given to `link generate`
  std::string reason;   // "grant <uid>", "link generate"
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

// What a Secret of a Link was renewed to.
struct Renewal {
  std::string secret;
  std::string replaces_sha256;     // of the certificate in the document that it goes with
  proxy::Credentials credentials;  // in use instead; empty: none yet
  SigningRequest pending;          // a key that waits for its certificate; empty: none does
};

class SiteState {
 public:
  // A certificate has to hold them all.
  static constexpr size_t kIngressHostsMax = 100;

  // Reads what is there and makes what is not: folders, id, CA. Error::config names the file.
  static Result<SiteState> open(const SiteStateOptions& options, WallTime now);

  const std::string& site_id() const { return site_id_; }
  // What others have to trust: one certificate, or two while the CA changes (site_ca.h).
  const std::string& ca_certificates() const { return ca_->bundle(); }
  // At start (open() does it) and once a day.
  Result<> rotate_ca(WallTime now) { return ca_->rotate(now); }

  // --- certificates ------------------------------------------------------------------------
  // This site's own server certificate `name` for `hosts`: the one on disk while it is good for
  // them, else a new one of the same CA. Call it at start, when the hosts change, and once a day.
  Result<proxy::Credentials> server_credentials(const std::string& name,
                                                const std::vector<std::string>& hosts,
                                                WallTime now);
  // Signs for another site and remembers it. The record is on disk before this returns.
  Result<proxy::Credentials> issue_for(const CertificateRequest& request, const std::string& reason,
                                       WallTime now);
  // The same for a key that the other site made: the certificate alone, PEM.
  Result<std::string> issue_for_key(std::string_view signing_request,
                                    const CertificateRequest& request, const std::string& reason,
                                    WallTime now);
  std::vector<IssuedCertificate> issued() const;
  // When the last certificate that others hold ends; nothing: they hold none that is valid.
  std::optional<WallTime> issued_until(WallTime now) const;

  // --- the ledger of grants ------------------------------------------------------------------
  // A new grant, or the existing one of this name with the number of redemptions, the window and
  // the code that are asked for now; the old code is dead. Claims stay, and the window begins when
  // the grant was made, so that a restart gives no second life. On disk when this returns; after an
  // error nothing has changed.
  struct GrantRequest {
    std::string name;
    std::string code;  // empty: random
    uint32_t redemptions_allowed = 1;
    std::chrono::seconds expiration_window = std::chrono::minutes(15);
  };
  Result<Grant> put_grant(const GrantRequest& request, WallTime now);
  Result<> remove_grant(const std::string& name);
  const Grant* find_grant(std::string_view uid) const;
  const Grant* find_grant_by_name(std::string_view name) const;
  const std::map<std::string, Grant, std::less<>>& grants() const { return grants_; }  // by uid
  // Raises the count. It is on disk when this returns without an error. After an error the count
  // is what it was if the ledger on disk lacks the claim; in doubt the claim counts.
  Result<> record_claim(const std::string& uid, const Claim& claim);

  // --- tokens redeemed here ------------------------------------------------------------------
  // Before a token is used up: an error when what it gives could not be written.
  Result<> reserve_redeemed(const std::string& name);
  void release_redeemed(const std::string& name);
  Result<> put_redeemed(const RedeemedToken& token);
  Result<> remove_redeemed(const std::string& name);
  const std::map<std::string, RedeemedToken>& redeemed() const { return redeemed_; }

  // --- renewed certificates of links ---------------------------------------------------------
  Result<> put_renewal(const Renewal& renewal);
  Result<> remove_renewal(const std::string& secret);
  const std::map<std::string, Renewal>& renewals() const { return renewals_; }

  // --- names and ports -----------------------------------------------------------------------
  // Under which others reach this site, beside those that it is started with: tokens and links
  // that exist name them. Adding what is there already writes nothing; after an error nothing has
  // changed.
  const std::vector<std::string>& ingress_hosts() const { return ingress_hosts_; }
  Result<> add_ingress_hosts(const std::vector<std::string>& hosts);
  // What was chosen last time for a purpose ("grant", "link/<RouterAccess>"), so that a restart
  // asks for the same one first: tokens and links that exist name it.
  std::optional<uint16_t> port(const std::string& purpose) const;
  Result<> set_port(const std::string& purpose, uint16_t port);

 private:
  SiteState() = default;
  Result<> read_site(const SiteStateOptions& options);
  Result<> read_ca(const SiteStateOptions& options, WallTime now);
  Result<> read_grants();
  Result<> read_issued();
  Result<> read_redeemed();
  Result<> read_renewals();
  Result<> remember_issued(const std::string& certificate, const CertificateRequest& request,
                           const std::string& reason, WallTime now);
  Result<> write_site() const;
  Result<> write_grant(const Grant& grant) const;
  Result<Grant> read_grant(const std::filesystem::path& path) const;
  Result<Grant> change_grant(const Grant& known, const GrantRequest& request);

  std::filesystem::path runtime_;
  std::string site_id_;
  std::optional<SiteCa> ca_;
  std::vector<std::string> ingress_hosts_;
  std::map<std::string, uint16_t> ports_;
  std::map<std::string, Grant, std::less<>> grants_;
  std::map<std::string, IssuedCertificate> issued_;  // by serial
  std::map<std::string, RedeemedToken> redeemed_;
  std::map<std::string, Renewal> renewals_;  // by Secret
};

}  // namespace istmo::control
