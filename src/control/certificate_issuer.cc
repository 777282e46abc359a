#include "control/certificate_issuer.h"

#include <algorithm>

#include "base/log.h"

namespace istmo::control {

namespace {

// So late one process of a site may hear of a document that another one has acted on.
constexpr std::chrono::minutes kDocumentLag{1};
constexpr std::string_view kSiteCaNames[] = {"", "istmo-site-ca", "skupper-site-ca"};

bool is_site_ca(const std::string& name) {
  return std::ranges::find(kSiteCaNames, name) != std::end(kSiteCaNames);
}

// Both where the document asks for neither, as Skupper's have it.
CertificateUse use_of(const CertificateDocument& document) {
  if (document.is_client == document.is_server) return CertificateUse::client_and_server;
  return document.is_client ? CertificateUse::client : CertificateUse::server;
}

// What was issued for one is good for every document with the same.
std::string request_of(const CertificateDocument& document) {
  std::string text = document.is_signing ? "signing" : "ca " + document.ca;
  text += "\n" + document.subject;
  if (!document.is_signing) {
    text += "\n" + std::to_string(static_cast<int>(use_of(document)));
    for (const std::string& host : document.hosts) text += "\n" + host;
  }
  return sha256_hex(text);
}

}  // namespace

Result<> check_certificate(const CertificateDocument& document, const Desired& desired) {
  for (const std::string& host : document.hosts) {
    if (is_certificate_host(host)) continue;
    return Error::config("spec.hosts: '" + host + "' is neither a host name nor an address");
  }
  if (document.is_signing) return {};  // by itself
  const auto named = desired.certificates.find(document.ca);
  if (named == desired.certificates.end() && !is_site_ca(document.ca)) {
    return Error::config("spec.ca: there is no CA '" + document.ca +
                         "': name a Certificate with signing, or istmo-site-ca");
  }
  if (named != desired.certificates.end() && !named->second.is_signing) {
    return Error::config("spec.ca: Certificate '" + document.ca + "' is none that signs");
  }
  return {};
}

Result<> check_secret_is_free(const CertificateDocument& document, const Desired& desired) {
  if (!desired.secrets.contains(document.name())) return {};
  return Error::taken("there is a Secret '" + document.name() +
                      "' already, which acts; rename one of them");
}

void CertificateIssuer::update(const Desired& desired, Observed& observed, WallTime now) {
  has_failed_ = false;
  observed.certificates.clear();
  remove_without_document(desired, observed, now);
  for (const bool is_signing : {true, false}) {  // CAs first
    for (const auto& [name, document] : desired.certificates) {
      if (document.is_signing != is_signing) continue;
      const auto done = bring_in_line(document, desired, observed, now);
      const CertificateRecord* record = find_stored(name);
      if (!done) observed.certificates[name].error = done.error().text();
      if (!done || !record) continue;
      if (const auto info = inspect_certificate(record->credentials.certificate, name)) {
        observed.certificates[name].expiration = to_rfc3339(info->not_after);
      }
    }
  }
  for (const auto& [name, credentials] : secrets()) observed.credentials[name] = credentials;
}

std::map<std::string, proxy::Credentials> CertificateIssuer::secrets() const {
  std::map<std::string, proxy::Credentials> secrets;
  for (const auto& [name, record] : state_.certificates()) {
    if (state_.is_stored(record)) secrets[name] = record.credentials;
  }
  return secrets;
}

const CertificateRecord* CertificateIssuer::find_stored(const std::string& name) const {
  const auto found = state_.certificates().find(name);
  if (found == state_.certificates().end() || !state_.is_stored(found->second)) return nullptr;
  return &found->second;
}

// A document that was never read in this run may be what could not be read.
void CertificateIssuer::remove_without_document(const Desired& desired, const Observed& observed,
                                                WallTime now) {
  for (const auto& [name, document] : desired.certificates) seen_.insert(name);
  if (!observed.acts_for_site) return;  // another process may have read more than this one
  std::vector<std::string> gone;
  for (const auto& [name, record] : state_.certificates()) {
    if (desired.certificates.contains(name)) continue;
    const bool was_seen = seen_.contains(name);
    if (!was_seen && observed.unread.may_hold({std::string(CertificateDocument::kKind), name})) {
      continue;
    }
    const auto info = inspect_certificate(record.credentials.certificate, name);
    const bool is_new = info && now < info->not_before + kBackdate + kDocumentLag;
    if (was_seen || !state_.is_shared() || !is_new) gone.push_back(name);
  }
  for (const std::string& name : gone) {
    good_.erase(name);
    if (const auto removed = state_.remove_certificate(name); !removed) {
      has_failed_ = true;
      LOG_WARNING("certificate not removed", "certificate", name, "error", removed.error().text());
    }
  }
}

// An error is for the author of the document; what was issued before stays.
Result<> CertificateIssuer::bring_in_line(const CertificateDocument& document,
                                          const Desired& desired, const Observed& observed,
                                          WallTime now) {
  const std::string& name = document.name();
  // In a cluster the Secret may be ours: ObjectKeeper knows.
  if (!observed.cluster) TRY(check_secret_is_free(document, desired));
  TRY(check_certificate(document, desired));
  const Signer signer = signer_for(document, desired);
  if (signer.pem.empty() && !document.is_signing) return {};
  CertificateRecord wanted{.name = name, .request = request_of(document), .credentials = {}};
  const auto known = state_.certificates().find(name);
  if (known != state_.certificates().end() && known->second.request == wanted.request) {
    const proxy::Credentials& credentials = known->second.credentials;
    const std::string& ca = document.is_signing ? credentials.certificate : signer.pem;
    if (is_good(known->second, ca, now)) {
      if (credentials.ca == ca) return {};
      wanted.credentials = credentials;
      wanted.credentials.ca = ca;  // the CA changes, and what it signed goes on
    }
  }
  if (!observed.acts_for_site) return {};
  if (wanted.credentials.certificate.empty()) {
    wanted.credentials =
        TRY(document.is_signing ? issue_ca(document, now) : issue(document, signer, now));
    LOG_INFO("certificate issued", "certificate", name, "subject", document.subject);
  }
  const auto stored = state_.put_certificate(wanted);
  if (stored) return {};
  has_failed_ = true;
  const auto info = inspect_certificate(wanted.credentials.certificate, name);
  if (info) TRY(state_.forget_issued(info->serial));  // nobody has it
  return stored;
}

// Of a document that check_certificate() has nothing against.
CertificateIssuer::Signer CertificateIssuer::signer_for(const CertificateDocument& document,
                                                        const Desired& desired) const {
  if (document.is_signing) return {};  // itself
  if (!desired.certificates.contains(document.ca)) {
    return {.ca = {}, .pem = state_.ca_certificates()};
  }
  const CertificateRecord* record = find_stored(document.ca);
  if (!record) return {};
  const proxy::Credentials& ca = record->credentials;
  return {.ca = {.certificate = ca.certificate, .private_key = ca.private_key},
          .pem = ca.certificate};
}

bool CertificateIssuer::is_good(const CertificateRecord& record, const std::string& ca,
                                WallTime now) {
  proxy::Credentials credentials = record.credentials;
  credentials.ca = ca;
  Good& good = good_[record.name];
  if (good.credentials == credentials && now < good.until) return true;
  good = {};
  if (needs_rotation(credentials.certificate, now) ||
      !check_credentials(credentials, record.name, now)) {
    return false;
  }
  good = {.credentials = credentials, .until = now + kGoodFor};
  return true;
}

// Those of clients may be carried to another site, where nobody renews them.
Result<proxy::Credentials> CertificateIssuer::issue(const CertificateDocument& document,
                                                    const Signer& signer, WallTime now) {
  CertificateRequest request{
      .common_name = document.subject, .hosts = document.hosts, .use = use_of(document)};
  if (request.use != CertificateUse::server) request.lifetime = kGivenLifetime;
  if (signer.ca.certificate.empty()) {
    return state_.issue_for(request, "certificate " + document.name(), now);
  }
  KeyPair pair = TRY(issue_certificate(signer.ca, request, now));
  return proxy::Credentials{.certificate = std::move(pair.certificate),
                            .private_key = std::move(pair.private_key),
                            .ca = signer.pem};
}

Result<proxy::Credentials> CertificateIssuer::issue_ca(const CertificateDocument& document,
                                                       WallTime now) {
  const auto known = state_.certificates().find(document.name());
  KeyPair pair;
  if (known != state_.certificates().end() && known->second.request == request_of(document)) {
    pair.private_key = known->second.credentials.private_key;
    pair.certificate = TRY(renew_ca(pair, document.subject, now));
  } else {
    pair = TRY(make_ca(document.subject, now));
  }
  proxy::Credentials credentials{
      .certificate = pair.certificate, .private_key = std::move(pair.private_key), .ca = {}};
  credentials.ca = std::move(pair.certificate);
  return credentials;
}

}  // namespace istmo::control
