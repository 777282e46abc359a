#include "control/site_state.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "control/json.h"
#include "control/private_file.h"
#include "control/site_ca.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kRoomExtension = ".room";
constexpr int64_t kVersion = 1;

fs::path site_file(const fs::path& runtime) { return runtime / "site.json"; }
fs::path ca_file(const fs::path& runtime) { return runtime / "issuers" / "istmo-site-ca.pem"; }

// --- maps of text and numbers, with their file in every error ----------------------------------

class Record {
 public:
  static Result<Record> read(const fs::path& path) {
    const std::string text = TRY(read_private_file(path));
    ParsedText parsed = parse_json(text, {.bytes_max = kPrivateFileBytesMax});
    if (parsed.error) return damaged(path, parsed.error->text);
    if (parsed.documents.size() != 1 || !parsed.documents[0].is_map()) {
      return damaged(path, "a map belongs here");
    }
    Record record(path, std::move(parsed.documents[0]));
    if (const auto version = TRY(record.number("version")); version != kVersion) {
      return Error::config(path.string() + ": written by another version of Istmo (" +
                           std::to_string(version) + ")");
    }
    return record;
  }
  Record(const fs::path& path, Value value) : path_(path), value_(std::move(value)) {}

  const fs::path& path() const { return path_; }
  Result<std::string> text(std::string_view key) const {
    const Value* found = value_.find(key);
    if (!found || found->kind() != Value::Kind::string) return missing(key);
    return found->text();
  }
  Result<int64_t> number(std::string_view key) const {
    const Value* found = value_.find(key);
    if (!found || found->kind() != Value::Kind::integer) return missing(key);
    int64_t number = 0;
    const std::string& text = found->text();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return missing(key);
    return number;
  }
  Result<uint32_t> count(std::string_view key) const {
    const int64_t value = TRY(number(key));
    if (value < 0 || value > UINT32_MAX) return missing(key);
    return static_cast<uint32_t>(value);
  }
  Result<WallTime> time(std::string_view key) const {
    auto parsed = parse_rfc3339(TRY(text(key)));
    if (!parsed) return damaged(path_, parsed.error().text());
    return parsed;
  }
  const Value* find(std::string_view key) const { return value_.find(key); }
  Error missing(std::string_view key) const {
    return damaged(path_, "'" + std::string(key) + "' is missing or wrong");
  }

 private:
  static Error damaged(const fs::path& path, std::string_view why) {
    return Error::config(path.string() + ": damaged: " + std::string(why) +
                         "; restore it from a copy, or delete the site and make it anew");
  }
  fs::path path_;
  Value value_;
};

Value new_record() {
  Value value = Value::map();
  value.set("version", kVersion);
  return value;
}

Result<> write_record(const fs::path& path, const Value& value) {
  return write_private_file(path, write_json(value, JsonStyle::indented) + "\n");
}

Result<std::vector<fs::path>> files_in(const fs::path& folder, std::string_view extension) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == extension) files.push_back(at->path());
  }
  if (error) return Error::config("read folder " + folder.string() + ": " + error.message());
  return files;
}

Result<std::vector<fs::path>> record_files(const fs::path& folder) {
  return files_in(folder, ".json");
}

// --- what the records hold ---------------------------------------------------------------------

Value to_record(const Grant& grant) {
  Value value = new_record();
  value.set("uid", grant.uid);
  value.set("name", grant.name);
  value.set("code", grant.code);
  value.set("isCodeGiven", grant.is_code_given);
  value.set("redemptionsAllowed", grant.redemptions_allowed);
  if (grant.created) value.set("created", to_rfc3339(*grant.created));
  value.set("expires", to_rfc3339(grant.expires));
  Value claims = Value::list();
  for (const Claim& claim : grant.claims) {
    Value& item = claims.add(Value::map());
    item.set("name", claim.name);
    item.set("subject", claim.subject);
    item.set("serial", claim.serial);
    item.set("time", to_rfc3339(claim.time));
  }
  value.set("claims", std::move(claims));
  return value;
}

Result<Grant> to_grant(const Record& record) {
  Grant grant{.uid = TRY(record.text("uid")),
              .name = TRY(record.text("name")),
              .code = TRY(record.text("code")),
              .redemptions_allowed = TRY(record.count("redemptionsAllowed")),
              .created = {},
              .expires = TRY(record.time("expires")),
              .claims = {}};
  if (record.path().stem() != grant.uid) return record.missing("uid");
  // Not there in what an earlier version wrote.
  const Value* is_given = record.find("isCodeGiven");
  grant.is_code_given = is_given != nullptr && is_given->text() == "true";
  if (record.find("created")) grant.created = TRY(record.time("created"));
  const Value* claims = record.find("claims");
  if (!claims || !claims->is_list()) return record.missing("claims");
  for (const Value& item : claims->items()) {
    const Record claim(record.path(), item);
    grant.claims.push_back({.name = TRY(claim.text("name")),
                            .subject = TRY(claim.text("subject")),
                            .serial = TRY(claim.text("serial")),
                            .time = TRY(claim.time("time"))});
  }
  return grant;
}

Value to_record(const IssuedCertificate& issued) {
  Value value = new_record();
  value.set("serial", issued.serial);
  value.set("subject", issued.subject);
  value.set("reason", issued.reason);
  value.set("sha256", issued.fingerprint_sha256);
  value.set("issued", to_rfc3339(issued.issued));
  value.set("expires", to_rfc3339(issued.expires));
  return value;
}

Result<IssuedCertificate> to_issued(const Record& record) {
  return IssuedCertificate{.serial = TRY(record.text("serial")),
                           .subject = TRY(record.text("subject")),
                           .reason = TRY(record.text("reason")),
                           .fingerprint_sha256 = TRY(record.text("sha256")),
                           .issued = TRY(record.time("issued")),
                           .expires = TRY(record.time("expires"))};
}

Value to_record(const RedeemedToken& token) {
  Value value = new_record();
  value.set("name", token.name);
  value.set("url", token.url);
  value.set("codeSha256", token.code_sha256);
  value.set("documents", token.documents);
  value.set("time", to_rfc3339(token.time));
  return value;
}

Result<RedeemedToken> to_redeemed(const Record& record) {
  return RedeemedToken{.name = TRY(record.text("name")),
                       .url = TRY(record.text("url")),
                       .code_sha256 = TRY(record.text("codeSha256")),
                       .documents = TRY(record.text("documents")),
                       .time = TRY(record.time("time"))};
}

Value to_record(const Renewal& renewal) {
  Value value = new_record();
  value.set("secret", renewal.secret);
  value.set("replaces", renewal.replaces_sha256);
  value.set("ca", renewal.credentials.ca);
  value.set("certificate", renewal.credentials.certificate);
  value.set("privateKey", renewal.credentials.private_key);
  value.set("pendingKey", renewal.pending.private_key);
  value.set("pendingRequest", renewal.pending.request);
  return value;
}

Result<Renewal> to_renewal(const Record& record) {
  return Renewal{.secret = TRY(record.text("secret")),
                 .replaces_sha256 = TRY(record.text("replaces")),
                 .credentials = {.certificate = TRY(record.text("certificate")),
                                 .private_key = TRY(record.text("privateKey")),
                                 .ca = TRY(record.text("ca"))},
                 .pending = {.private_key = TRY(record.text("pendingKey")),
                             .request = TRY(record.text("pendingRequest"))}};
}

// Names come from documents, which were checked; a second look where a path is made of them.
Result<fs::path> path_in(const fs::path& folder, const std::string& name,
                         std::string_view extension) {
  if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    return Error::config("'" + name + "' cannot be the name of a file");
  }
  return folder / (name + std::string(extension));
}

Result<fs::path> record_path(const fs::path& folder, const std::string& name) {
  return path_in(folder, name, ".json");
}

Result<> write_record(const fs::path& folder, const std::string& name, const Value& value) {
  const fs::path path = TRY(record_path(folder, name));
  return write_record(path, value);
}

Result<> remove_record(const fs::path& folder, const std::string& name) {
  const fs::path path = TRY(record_path(folder, name));
  return remove_private_file(path);
}

}  // namespace

std::string Grant::why_closed(WallTime now) const {
  if (redemptions() >= redemptions_allowed) {
    return "used up: " + std::to_string(redemptions()) + " of " +
           std::to_string(redemptions_allowed) + " redemptions";
  }
  return is_open(now) ? std::string() : "expired at " + to_rfc3339(expires);
}

Result<SiteState> SiteState::open(const SiteStateOptions& options, WallTime now) {
  SiteState state;
  state.runtime_ = options.runtime;
  TRY(make_private_folder(options.runtime));
  for (const char* folder : {"issuers", "certs", "grants", "issued", "links", "renewals"}) {
    TRY(make_private_folder(options.runtime / folder));
  }
  TRY(state.read_site(options));
  TRY(state.read_ca(options, now));
  TRY(state.read_grants());
  TRY(state.read_issued());
  TRY(state.read_redeemed());
  TRY(state.read_renewals());
  return state;
}

Result<> SiteState::read_site(const SiteStateOptions& options) {
  const auto record = Record::read(site_file(runtime_));
  if (!record && record.error().error_class() != ErrorClass::closed) {
    return std::unexpected(record.error());
  }
  if (!record) {
    // The id is written first of all files: a CA without it means that the id was lost.
    std::error_code ignored;
    if (fs::exists(ca_file(runtime_), ignored)) {
      return Error::config(site_file(runtime_).string() +
                           ": lost, but the CA of the site is there; restore it from a copy, or "
                           "delete the site and make it anew");
    }
    site_id_ = options.site_id.empty() ? random_uuid() : options.site_id;
    return write_site();
  }
  site_id_ = TRY(record->text("id"));
  const Value* ports = record->find("ports");
  if (!is_uuid(site_id_)) return record->missing("id");
  if (!ports || !ports->is_map()) return record->missing("ports");
  const Record chosen(record->path(), *ports);
  for (const auto& entry : ports->entries()) {
    const uint32_t port = TRY(chosen.count(entry.key));
    if (port == 0 || port > UINT16_MAX) return chosen.missing(entry.key);
    ports_[entry.key] = static_cast<uint16_t>(port);
  }
  // Not there in what an earlier version wrote.
  const Value* hosts = record->find("ingressHosts");
  if (hosts && !hosts->is_list()) return record->missing("ingressHosts");
  if (!hosts) return {};
  for (const Value& host : hosts->items()) {
    if (host.kind() != Value::Kind::string) return record->missing("ingressHosts");
    ingress_hosts_.push_back(host.text());
  }
  return {};
}

Result<> SiteState::write_site() const {
  Value value = new_record();
  value.set("id", site_id_);
  Value ports = Value::map();
  for (const auto& [purpose, port] : ports_) ports.set(purpose, port);
  value.set("ports", std::move(ports));
  Value hosts = Value::list();
  for (const std::string& host : ingress_hosts_) hosts.add(host);
  value.set("ingressHosts", std::move(hosts));
  return write_record(site_file(runtime_), value);
}

Result<> SiteState::read_ca(const SiteStateOptions& options, WallTime now) {
  const bool has_signed = !TRY(record_files(runtime_ / "issued")).empty();
  const std::string name = options.site_name.empty() ? site_id_ : options.site_name;
  ca_.emplace(
      TRY(SiteCa::open(runtime_ / "issuers", name,
                       has_signed ? SiteCa::Missing::is_an_error : SiteCa::Missing::made, now)));
  return {};
}

Result<> SiteState::read_grants() {
  for (const fs::path& path : TRY(record_files(runtime_ / "grants"))) {
    Grant grant = TRY(read_grant(path));
    const std::string uid = grant.uid;
    grants_.emplace(uid, std::move(grant));
  }
  return {};
}

Result<Grant> SiteState::read_grant(const fs::path& path) const {
  return to_grant(TRY(Record::read(path)));
}

Result<> SiteState::read_issued() {
  for (const fs::path& path : TRY(record_files(runtime_ / "issued"))) {
    const Record record = TRY(Record::read(path));
    IssuedCertificate issued = TRY(to_issued(record));
    const std::string serial = issued.serial;
    issued_.emplace(serial, std::move(issued));
  }
  return {};
}

Result<> SiteState::read_redeemed() {
  // What a redemption that was interrupted left.
  for (const fs::path& path : TRY(files_in(runtime_ / "links", kRoomExtension))) {
    TRY(remove_private_file(path));
  }
  for (const fs::path& path : TRY(record_files(runtime_ / "links"))) {
    const Record record = TRY(Record::read(path));
    RedeemedToken token = TRY(to_redeemed(record));
    const std::string name = token.name;
    redeemed_.emplace(name, std::move(token));
  }
  return {};
}

Result<> SiteState::read_renewals() {
  for (const fs::path& path : TRY(record_files(runtime_ / "renewals"))) {
    const Record record = TRY(Record::read(path));
    Renewal renewal = TRY(to_renewal(record));
    const std::string secret = renewal.secret;
    renewals_.emplace(secret, std::move(renewal));
  }
  return {};
}

Result<proxy::Credentials> SiteState::server_credentials(const std::string& name,
                                                         const std::vector<std::string>& hosts,
                                                         WallTime now) {
  const fs::path path = TRY(path_in(runtime_ / "certs", name, ".pem"));
  auto pair = read_key_pair(path);
  if (!pair && pair.error().error_class() != ErrorClass::closed) {
    return std::unexpected(pair.error());
  }
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
  TRY(write_key_pair(path, fresh));
  credentials.ca = ca_->bundle();
  credentials.certificate = std::move(fresh.certificate);
  credentials.private_key = std::move(fresh.private_key);
  return credentials;
}

Result<proxy::Credentials> SiteState::issue_for(const CertificateRequest& request,
                                                const std::string& reason, WallTime now) {
  KeyPair pair = TRY(issue_certificate(ca_->signer(now), request, now));
  TRY(remember_issued(pair.certificate, request, reason, now));
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
  TRY(write_record(runtime_ / "issued", info.serial, to_record(issued)));
  issued_.emplace(info.serial, std::move(issued));
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

Result<> SiteState::write_grant(const Grant& grant) const {
  return write_record(runtime_ / "grants", grant.uid, to_record(grant));
}

Result<Grant> SiteState::put_grant(const GrantRequest& request, WallTime now) {
  if (const Grant* known = find_grant_by_name(request.name)) return change_grant(*known, request);
  Grant grant{.uid = random_uuid(),
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

Result<> SiteState::remove_grant(const std::string& name) {
  const Grant* grant = find_grant_by_name(name);
  if (!grant) return {};
  TRY(remove_record(runtime_ / "grants", grant->uid));
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
  const auto on_disk = read_grant(TRY(record_path(runtime_ / "grants", uid)));
  if (on_disk && on_disk->claims.size() < grant.claims.size()) grant.claims.pop_back();
  return written;
}

Result<> SiteState::reserve_redeemed(const std::string& name) {
  return reserve_room(TRY(path_in(runtime_ / "links", name, kRoomExtension)));
}

void SiteState::release_redeemed(const std::string& name) {
  const auto path = path_in(runtime_ / "links", name, kRoomExtension);
  std::error_code ignored;
  if (path) fs::remove(*path, ignored);
}

Result<> SiteState::put_redeemed(const RedeemedToken& token) {
  release_redeemed(token.name);
  TRY(write_record(runtime_ / "links", token.name, to_record(token)));
  redeemed_[token.name] = token;
  return {};
}

Result<> SiteState::remove_redeemed(const std::string& name) {
  TRY(remove_record(runtime_ / "links", name));
  redeemed_.erase(name);
  return {};
}

Result<> SiteState::put_renewal(const Renewal& renewal) {
  TRY(write_record(runtime_ / "renewals", renewal.secret, to_record(renewal)));
  renewals_[renewal.secret] = renewal;
  return {};
}

Result<> SiteState::remove_renewal(const std::string& secret) {
  TRY(remove_record(runtime_ / "renewals", secret));
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
  const auto before = ports_;
  ports_[purpose] = port;
  auto written = write_site();
  if (!written) ports_ = before;
  return written;
}

}  // namespace istmo::control
