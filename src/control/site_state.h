// What a site must remember over restarts, in records of a StateStore: files of its private folder
// `runtime/` (0700, files 0600) on a machine, Secrets in a cluster (kubernetes/cluster_state.h):
//
//   site.json                 id of the site, names given with tokens
//   issuers/istmo-site-ca.pem certificate and key of the site's CA, in one record (site_ca.h)
//   grants/<uid>.json         the ledger: one grant with its code and every redemption
//   issued/<serial>.json      what was signed for others: for whom, when, until when
//   certificates/<name>.json  what was issued for a Certificate document, with its key
//   renewals/<secret>.json    newer credentials than a Secret document has
//   links/<token>.json        tokens that were redeemed here, with the documents that they gave
//
// and, always in files, what is of this machine or pod alone:
//
//   ports.json                chosen ports
//   certs/<name>.pem          certificates of this site with their keys: istmo-site-server,
//                             istmo-grant-server
//
// Each is replaced as a whole, and before memory changes, so a crash loses nothing that was
// answered. One that cannot be understood is an error with its name; nothing is ever made anew in
// its place: a new CA would cut every linked site off.
//
// Where the store is shared, others write the same records: reload() takes what they wrote, and
// what must not be lost to them waits with when_durable() (pending_claim.h).
//
// Owned by the controller, control thread only. Ends by destruction; there is nothing to flush.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/pki.h"
#include "control/site_ca.h"
#include "control/state_records.h"
#include "control/state_store.h"

namespace istmo::control {

struct SiteStateOptions {
  std::filesystem::path runtime;  // made if it is not there
  std::string site_name;          // in the CA's name
  std::string site_id;            // of a site that is new here; empty: a random one
  StateStore* store = nullptr;    // nullptr: files of `runtime`
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

  // --- shared records ------------------------------------------------------------------------
  // Other processes write them, too.
  bool is_shared() const { return store_->is_shared(); }
  // Another process changed or removed this record.
  void reload(const std::string& name);
  void when_durable(DurableWait& wait) { store_->when_durable(wait); }

  // --- certificates ------------------------------------------------------------------------
  // This site's own server certificate `name` for `hosts`: the one on disk while it is good for
  // them, else a new one of the same CA. Call it at start, when the hosts change, and once a day.
  Result<proxy::Credentials> server_credentials(const std::string& name,
                                                const std::vector<std::string>& hosts,
                                                WallTime now);
  // Signs for another site and remembers it, unless it is a server's, with which nobody links. The
  // record is on disk before this returns.
  Result<proxy::Credentials> issue_for(const CertificateRequest& request, const std::string& reason,
                                       WallTime now);
  // The same for a key that the other site made: the certificate alone, PEM.
  Result<std::string> issue_for_key(std::string_view signing_request,
                                    const CertificateRequest& request, const std::string& reason,
                                    WallTime now);
  // One that nobody was given.
  Result<> forget_issued(const std::string& serial);
  std::vector<IssuedCertificate> issued() const;
  // When the last certificate that others hold ends; nothing: they hold none that is valid.
  std::optional<WallTime> issued_until(WallTime now) const;

  // --- what was issued for Certificate documents ---------------------------------------------
  Result<> put_certificate(const CertificateRecord& certificate);
  Result<> remove_certificate(const std::string& name);
  const std::map<std::string, CertificateRecord, std::less<>>& certificates() const {
    return certificates_;
  }
  // It is there after a crash.
  bool is_stored(const CertificateRecord& certificate) const;

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
  // The existing one as it is: its document is there.
  const Grant& want_grant(const std::string& name);
  Result<> remove_grant(const std::string& name);
  const Grant* find_grant(std::string_view uid) const;
  const Grant* find_grant_by_name(std::string_view name) const;
  const std::map<std::string, Grant, std::less<>>& grants() const { return grants_; }  // by uid
  // It can be told to others: it is there after a crash.
  bool is_stored(const Grant& grant) const;
  // Raises the count; when_durable() tells when it lasts. After an error the count is what it was
  // if the ledger lacks the claim; in doubt the claim counts.
  Result<> record_claim(const std::string& uid, const Claim& claim);
  bool has_claim(const std::string& uid, const std::string& serial) const;
  // A claim that was not answered.
  Result<> withdraw_claim(const std::string& uid, const std::string& serial);

  // --- tokens redeemed here ------------------------------------------------------------------
  // Before a token is used up: an error when what it gives could not be written.
  Result<> reserve_redeemed(const std::string& name);
  void release_redeemed(const std::string& name);
  Result<> put_redeemed(const RedeemedToken& token);
  const std::map<std::string, RedeemedToken, std::less<>>& redeemed() const { return redeemed_; }

  // --- renewed certificates of links ---------------------------------------------------------
  Result<> put_renewal(const Renewal& renewal);
  Result<> remove_renewal(const std::string& secret);
  const std::map<std::string, Renewal, std::less<>>& renewals() const { return renewals_; }

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
  Result<RecordText> read_record(const std::string& name) const;
  Result<> read_site(const SiteStateOptions& options);
  Result<> read_ports();
  Result<> read_ca(const SiteStateOptions& options, WallTime now);
  template <class T>
  Result<> read_all(const std::string& folder, std::map<std::string, T, std::less<>>& into) const;
  Result<> read_one(const std::string& name, Grant& grant) const;
  Result<> read_one(const std::string& name, IssuedCertificate& issued) const;
  Result<> read_one(const std::string& name, RedeemedToken& token) const;
  Result<> read_one(const std::string& name, CertificateRecord& certificate) const;
  Result<> read_one(const std::string& name, Renewal& renewal) const;
  template <class T>
  Result<> reload_one(const std::string& name, std::map<std::string, T, std::less<>>& into);
  Result<> reload_grant(const std::string& name);
  Result<> reload_site();
  Result<> remember_issued(const std::string& certificate, const CertificateRequest& request,
                           const std::string& reason, WallTime now);
  Result<> write_site();
  Result<> write_grant(const Grant& grant);
  Result<Grant> change_grant(const Grant& known, const GrantRequest& request);

  std::filesystem::path runtime_;
  std::unique_ptr<StateStore> own_store_;
  StateStore* store_ = nullptr;
  std::string site_id_;
  std::optional<SiteCa> ca_;
  std::vector<std::string> ingress_hosts_;
  PortsRecord ports_;
  std::map<std::string, Grant, std::less<>> grants_;                    // by uid
  std::map<std::string, IssuedCertificate, std::less<>> issued_;        // by serial
  std::map<std::string, RedeemedToken, std::less<>> redeemed_;          // by token
  std::map<std::string, Renewal, std::less<>> renewals_;                // by Secret
  std::map<std::string, CertificateRecord, std::less<>> certificates_;  // by name
};

}  // namespace istmo::control
