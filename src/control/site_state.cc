#include "control/site_state.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "control/private_file.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSite = "site.json";
constexpr std::string_view kRecordExtension = ".json";

Result<std::string> record_in(std::string_view folder, const std::string& name) {
  return record_name(folder, name, kRecordExtension);
}

Result<> write_in(StateStore& store, std::string_view folder, const std::string& key,
                  const std::string& text) {
  const std::string name = TRY(record_in(folder, key));
  return store.write(name, text);
}

Result<> remove_in(StateStore& store, std::string_view folder, const std::string& key) {
  const std::string name = TRY(record_in(folder, key));
  return store.remove(name);
}

// What the record of a value is called.
std::string key_of(const Grant& grant) { return grant.uid; }
std::string key_of(const IssuedCertificate& issued) { return issued.serial; }
std::string key_of(const RedeemedToken& token) { return token.name; }
std::string key_of(const CertificateRecord& certificate) { return certificate.name; }
std::string key_of(const Renewal& renewal) { return renewal.secret; }

std::string folder_of(const std::string& name) { return name.substr(0, name.find('/')); }

// "uid" of "grants/uid.json".
std::string key_in(const std::string& name) {
  const size_t begin = name.find('/') + 1;
  return name.substr(begin, name.size() - begin - kRecordExtension.size());
}

bool is_missing(const Error& error) { return error.error_class() == ErrorClass::closed; }

}  // namespace

Result<SiteState> SiteState::open(const SiteStateOptions& options, WallTime now) {
  SiteState state;
  state.runtime_ = options.runtime;
  TRY(make_private_folder(options.runtime));
  TRY(make_private_folder(options.runtime / "certs"));
  state.store_ = options.store;
  if (options.store == nullptr) {
    DiskStateStore files = TRY(DiskStateStore::open(options.runtime));
    state.own_store_ = std::make_unique<DiskStateStore>(std::move(files));
    state.store_ = state.own_store_.get();
  }
  TRY(state.read_site(options));
  TRY(state.read_ports());
  TRY(state.read_ca(options, now));
  TRY(state.read_all("grants", state.grants_));
  TRY(state.read_all("issued", state.issued_));
  TRY(state.read_all("links", state.redeemed_));
  TRY(state.read_all("renewals", state.renewals_));
  TRY(state.read_all("certificates", state.certificates_));
  return state;
}

// --- reading -----------------------------------------------------------------------------------

Result<RecordText> SiteState::read_record(const std::string& name) const {
  std::string text = TRY(store_->read(name));
  return RecordText{.place = store_->place_of(name), .text = std::move(text)};
}

Result<> SiteState::read_site(const SiteStateOptions& options) {
  const auto record = read_record(kSite);
  if (record) {
    SiteRecord site = TRY(control::read_site(*record));
    site_id_ = std::move(site.id);
    ingress_hosts_ = std::move(site.ingress_hosts);
    return {};
  }
  if (!is_missing(record.error())) return std::unexpected(record.error());
  // On a machine the id is written first of all: a CA without it means that the id was lost.
  const bool is_id_known = store_->is_shared() && !options.site_id.empty();
  if (!is_id_known && store_->read(SiteCa::kRecord)) {
    return Error::config(store_->place_of(kSite) +
                         ": lost, but the CA of the site is there; restore it from a copy, or "
                         "delete the site and make it anew");
  }
  site_id_ = options.site_id.empty() ? random_uuid() : options.site_id;
  return write_site();
}

Result<> SiteState::write_site() {
  return store_->write(kSite, to_record({.id = site_id_, .ingress_hosts = ingress_hosts_}));
}

// An earlier version wrote them together with the site.
Result<> SiteState::read_ports() {
  const fs::path file = runtime_ / "ports.json";
  auto text = read_private_file(file);
  if (text) {
    ports_ = TRY(control::read_ports({.place = file.string(), .text = std::move(*text)}));
    return {};
  }
  if (!is_missing(text.error())) return std::unexpected(text.error());
  if (store_->is_shared()) return {};
  const RecordText site = TRY(read_record(kSite));
  ports_ = TRY(control::read_ports(site));
  return ports_.empty() ? Result<>() : write_private_file(file, to_record(ports_));
}

Result<> SiteState::read_ca(const SiteStateOptions& options, WallTime now) {
  const bool has_signed = !TRY(store_->list("issued")).empty();
  const std::string name = options.site_name.empty() ? site_id_ : options.site_name;
  const auto missing = has_signed ? SiteCa::Missing::is_an_error : SiteCa::Missing::made;
  ca_.emplace(TRY(SiteCa::open(*store_, name, missing, now)));
  return {};
}

Result<> SiteState::read_one(const std::string& name, Grant& grant) const {
  const RecordText record = TRY(read_record(name));
  grant = TRY(read_grant(record));
  return {};
}
Result<> SiteState::read_one(const std::string& name, IssuedCertificate& issued) const {
  const RecordText record = TRY(read_record(name));
  issued = TRY(read_issued(record));
  return {};
}
Result<> SiteState::read_one(const std::string& name, RedeemedToken& token) const {
  const RecordText record = TRY(read_record(name));
  token = TRY(read_redeemed(record));
  return {};
}
Result<> SiteState::read_one(const std::string& name, CertificateRecord& certificate) const {
  const RecordText record = TRY(read_record(name));
  certificate = TRY(read_certificate_record(record));
  return {};
}
Result<> SiteState::read_one(const std::string& name, Renewal& renewal) const {
  const RecordText record = TRY(read_record(name));
  renewal = TRY(read_renewal(record));
  return {};
}

template <class T>
Result<> SiteState::read_all(const std::string& folder,
                             std::map<std::string, T, std::less<>>& into) const {
  for (const std::string& name : TRY(store_->list(folder))) {
    T value;
    TRY(read_one(name, value));
    if (key_of(value) != key_in(name)) {
      return Error::config(store_->place_of(name) + ": damaged: it is the record of '" +
                           key_of(value) + "'; restore it from a copy");
    }
    into.insert_or_assign(key_in(name), std::move(value));
  }
  return {};
}

// --- what others wrote -------------------------------------------------------------------------

// What cannot be understood is told, and what was known counts on.
void SiteState::reload(const std::string& name) {
  const std::string folder = folder_of(name);
  Result<> read;
  if (name == kSite) read = reload_site();
  else if (folder == SiteCa::kFolder) read = ca_->reload();
  else if (folder == "grants") read = reload_grant(name);
  else if (folder == "issued") read = reload_one(name, issued_);
  else if (folder == "links") read = reload_one(name, redeemed_);
  else if (folder == "renewals") read = reload_one(name, renewals_);
  else if (folder == "certificates") read = reload_one(name, certificates_);
  if (!read) LOG_ERROR("what another process wrote is not used", "error", read.error().text());
}

template <class T>
Result<> SiteState::reload_one(const std::string& name,
                               std::map<std::string, T, std::less<>>& into) {
  T value;
  const auto read = read_one(name, value);
  if (read) into.insert_or_assign(key_in(name), std::move(value));
  else if (is_missing(read.error())) into.erase(key_in(name));
  else return read;
  return {};
}

// One that was removed and made again is another grant.
Result<> SiteState::reload_grant(const std::string& name) {
  const Grant* known = find_grant(key_in(name));
  const auto created = known ? known->created : std::nullopt;
  const bool is_wanted = known && known->is_wanted;
  TRY(reload_one(name, grants_));
  const auto found = grants_.find(key_in(name));
  if (found == grants_.end()) return {};
  found->second.is_wanted = is_wanted && found->second.created == created;
  return {};
}

// Names are only ever added: two who added some at once both have theirs.
Result<> SiteState::reload_site() {
  const auto record = read_record(kSite);
  if (!record && is_missing(record.error())) return write_site();
  if (!record) return std::unexpected(record.error());
  SiteRecord site = TRY(control::read_site(*record));
  if (site.id != site_id_) {
    LOG_WARNING("the site has another id since this process began, which a restart takes", "id",
                site.id);
  }
  const auto ours = std::exchange(ingress_hosts_, std::move(site.ingress_hosts));
  return add_ingress_hosts(ours);
}

// --- certificates ------------------------------------------------------------------------------

Result<proxy::Credentials> SiteState::server_credentials(const std::string& name,
                                                         const std::vector<std::string>& hosts,
                                                         WallTime now) {
  const fs::path path = runtime_ / TRY(record_name("certs", name, ".pem"));
  const auto text = read_private_file(path);
  if (!text && !is_missing(text.error())) return std::unexpected(text.error());
  std::optional<KeyPair> pair;
  if (text) pair = TRY(read_key_pair(*text, path.string()));
  const KeyPair& signer = ca_->signer(now);
  proxy::Credentials credentials{.certificate = {}, .private_key = {}, .ca = signer.certificate};
  if (pair) {
    credentials.certificate = pair->certificate;
    credentials.private_key = pair->private_key;
    // A certificate of this site can be made anew at any time, so a bad one is replaced.
    if (check_credentials(credentials, path.string(), now) &&
        !needs_rotation(pair->certificate, now) && names_hosts(pair->certificate, hosts)) {
      credentials.ca = ca_->bundle();
      return credentials;
    }
  }
  const CertificateRequest request{.common_name = name,
                                   .hosts = hosts,
                                   .site_id = site_id_,
                                   .use = CertificateUse::client_and_server};
  KeyPair fresh = TRY(issue_certificate(signer, request, now));
  TRY(write_private_file(path, to_text(fresh)));
  credentials.ca = ca_->bundle();
  credentials.certificate = std::move(fresh.certificate);
  credentials.private_key = std::move(fresh.private_key);
  return credentials;
}

Result<proxy::Credentials> SiteState::issue_for(const CertificateRequest& request,
                                                const std::string& reason, WallTime now) {
  KeyPair pair = TRY(issue_certificate(ca_->signer(now), request, now));
  if (request.use != CertificateUse::server) {
    TRY(remember_issued(pair.certificate, request, reason, now));
  }
  return proxy::Credentials{.certificate = std::move(pair.certificate),
                            .private_key = std::move(pair.private_key),
                            .ca = ca_->bundle()};
}

Result<std::string> SiteState::issue_for_key(std::string_view signing_request,
                                             const CertificateRequest& request,
                                             const std::string& reason, WallTime now) {
  std::string certificate = TRY(sign_request(ca_->signer(now), signing_request, request, now));
  TRY(remember_issued(certificate, request, reason, now));
  return certificate;
}

Result<> SiteState::remember_issued(const std::string& certificate,
                                    const CertificateRequest& request, const std::string& reason,
                                    WallTime now) {
  const CertificateInfo info = TRY(inspect_certificate(certificate, "new certificate"));
  IssuedCertificate issued{
      .serial = info.serial,
      .subject = request.site_id.empty() ? request.common_name : request.site_id,
      .reason = reason,
      .fingerprint_sha256 = info.fingerprint_sha256,
      .issued = now,
      .expires = info.not_after};
  TRY(write_in(*store_, "issued", info.serial, to_record(issued)));
  issued_.emplace(info.serial, std::move(issued));
  return {};
}

Result<> SiteState::forget_issued(const std::string& serial) {
  TRY(remove_in(*store_, "issued", serial));
  issued_.erase(serial);
  return {};
}

std::vector<IssuedCertificate> SiteState::issued() const {
  std::vector<IssuedCertificate> all;
  for (const auto& [serial, issued] : issued_) all.push_back(issued);
  return all;
}

std::optional<WallTime> SiteState::issued_until(WallTime now) const {
  std::optional<WallTime> last;
  for (const auto& [serial, issued] : issued_) {
    if (issued.expires > now && (!last || issued.expires > *last)) last = issued.expires;
  }
  return last;
}

Result<> SiteState::put_certificate(const CertificateRecord& certificate) {
  TRY(write_in(*store_, "certificates", certificate.name, to_record(certificate)));
  certificates_[certificate.name] = certificate;
  return {};
}

Result<> SiteState::remove_certificate(const std::string& name) {
  TRY(remove_in(*store_, "certificates", name));
  certificates_.erase(name);
  return {};
}

bool SiteState::is_stored(const CertificateRecord& certificate) const {
  return store_->is_stored("certificates/" + certificate.name + std::string(kRecordExtension));
}

// --- the ledger of grants ----------------------------------------------------------------------

Result<> SiteState::write_grant(const Grant& grant) {
  return write_in(*store_, "grants", grant.uid, to_record(grant));
}

bool SiteState::is_stored(const Grant& grant) const {
  return store_->is_stored("grants/" + grant.uid + std::string(kRecordExtension));
}

Result<Grant> SiteState::put_grant(const GrantRequest& request, WallTime now) {
  if (const Grant* known = find_grant_by_name(request.name)) return change_grant(*known, request);
  // Replicas that find the same document at once make the same grant.
  Grant grant{.uid = store_->is_shared() ? uuid_of(site_id_ + "/" + request.name) : random_uuid(),
              .name = request.name,
              .code = request.code.empty() ? random_code() : request.code,
              .is_code_given = !request.code.empty(),
              .redemptions_allowed = request.redemptions_allowed,
              .created = now,
              .expires = now + request.expiration_window,
              .claims = {},
              .is_wanted = true};
  TRY(write_grant(grant));
  grants_.emplace(grant.uid, grant);
  return grant;
}

Result<Grant> SiteState::change_grant(const Grant& known, const GrantRequest& request) {
  Grant changed = known;
  changed.is_wanted = true;
  changed.redemptions_allowed = request.redemptions_allowed;
  changed.is_code_given = !request.code.empty();
  if (changed.is_code_given) changed.code = request.code;
  else if (known.is_code_given) changed.code = random_code();
  // Where nobody knows when it was made, its window counts as not edited, this once.
  if (!known.created) changed.created = known.expires - request.expiration_window;
  changed.expires = *changed.created + request.expiration_window;
  const bool is_same = changed.created == known.created && changed.expires == known.expires &&
                       changed.redemptions_allowed == known.redemptions_allowed &&
                       changed.is_code_given == known.is_code_given && changed.code == known.code;
  if (!is_same) TRY(write_grant(changed));
  grants_.find(known.uid)->second = changed;
  return changed;
}

const Grant& SiteState::want_grant(const std::string& name) {
  const Grant* known = find_grant_by_name(name);
  ASSERT(known != nullptr);
  Grant& grant = grants_.find(known->uid)->second;
  grant.is_wanted = true;
  return grant;
}

Result<> SiteState::remove_grant(const std::string& name) {
  const Grant* grant = find_grant_by_name(name);
  if (!grant) return {};
  TRY(remove_in(*store_, "grants", grant->uid));
  grants_.erase(grants_.find(grant->uid));
  return {};
}

const Grant* SiteState::find_grant(std::string_view uid) const {
  const auto found = grants_.find(uid);
  return found == grants_.end() ? nullptr : &found->second;
}

const Grant* SiteState::find_grant_by_name(std::string_view name) const {
  for (const auto& [uid, grant] : grants_) {
    if (grant.name == name) return &grant;
  }
  return nullptr;
}

Result<> SiteState::record_claim(const std::string& uid, const Claim& claim) {
  const auto found = grants_.find(uid);
  if (found == grants_.end()) return Error::config("grant " + uid + " is not there");
  Grant& grant = found->second;
  grant.claims.push_back(claim);
  auto written = write_grant(grant);
  if (written) return {};
  // It counts unless the ledger can be seen to lack it.
  Grant there;
  const std::string name = TRY(record_in("grants", uid));
  const auto read = read_one(name, there);
  if (read && there.claims.size() < grant.claims.size()) grant.claims.pop_back();
  return written;
}

bool SiteState::has_claim(const std::string& uid, const std::string& serial) const {
  const Grant* grant = find_grant(uid);
  return grant && std::ranges::find(grant->claims, serial, &Claim::serial) != grant->claims.end();
}

Result<> SiteState::withdraw_claim(const std::string& uid, const std::string& serial) {
  if (!has_claim(uid, serial)) return {};
  Grant& grant = grants_.find(uid)->second;
  Grant without = grant;
  std::erase_if(without.claims, [&](const Claim& claim) { return claim.serial == serial; });
  TRY(write_grant(without));
  grant = std::move(without);
  return {};
}

// --- tokens, renewals, names and ports ---------------------------------------------------------

Result<> SiteState::reserve_redeemed(const std::string& name) {
  const std::string record = TRY(record_in("links", name));
  return store_->reserve(record);
}

void SiteState::release_redeemed(const std::string& name) {
  if (const auto record = record_in("links", name)) store_->release(*record);
}

Result<> SiteState::put_redeemed(const RedeemedToken& token) {
  release_redeemed(token.name);
  TRY(write_in(*store_, "links", token.name, to_record(token)));
  redeemed_[token.name] = token;
  return {};
}

Result<> SiteState::put_renewal(const Renewal& renewal) {
  TRY(write_in(*store_, "renewals", renewal.secret, to_record(renewal)));
  renewals_[renewal.secret] = renewal;
  return {};
}

Result<> SiteState::remove_renewal(const std::string& secret) {
  TRY(remove_in(*store_, "renewals", secret));
  renewals_.erase(secret);
  return {};
}

Result<> SiteState::add_ingress_hosts(const std::vector<std::string>& hosts) {
  std::vector<std::string> all = ingress_hosts_;
  for (const std::string& host : hosts) {
    if (std::ranges::find(all, host) == all.end()) all.push_back(host);
  }
  if (all == ingress_hosts_) return {};
  if (all.size() > kIngressHostsMax) {
    return Error::config("this site was given " + std::to_string(kIngressHostsMax) +
                         " names with --ingress-host already; use one of them: " + all.front() +
                         ", ...");
  }
  std::swap(all, ingress_hosts_);
  auto written = write_site();
  if (!written) std::swap(all, ingress_hosts_);
  return written;
}

std::optional<uint16_t> SiteState::port(const std::string& purpose) const {
  const auto found = ports_.find(purpose);
  return found == ports_.end() ? std::nullopt : std::optional(found->second);
}

Result<> SiteState::set_port(const std::string& purpose, uint16_t port) {
  PortsRecord changed = ports_;
  changed[purpose] = port;
  if (changed == ports_) return {};
  TRY(write_private_file(runtime_ / "ports.json", to_record(changed)));
  ports_ = std::move(changed);
  return {};
}

}  // namespace istmo::control
