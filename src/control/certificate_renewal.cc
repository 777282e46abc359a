#include "control/certificate_renewal.h"

#include <algorithm>

#include "base/log.h"

namespace istmo::control {

namespace {

proxy::Credentials credentials_of(const SecretDocument& secret) {
  const auto part = [&](const char* key) {
    const auto found = secret.data.find(key);
    return found == secret.data.end() ? std::string() : found->second;
  };
  return {part("tls.crt"), part("tls.key"), part("ca.crt")};
}

// The new CAs are taken only if the certificate that opened this link is among theirs.
bool take_ca(proxy::Credentials& credentials, const std::string& ca, WallTime now) {
  if (ca.empty() || ca == credentials.ca || !count_cas(ca, "CA of a neighbour")) return false;
  proxy::Credentials changed = credentials;
  changed.ca = ca;
  if (!check_credentials(changed, "CA of a neighbour", now)) return false;
  credentials = std::move(changed);
  return true;
}

bool take_certificate(Renewal& renewal, const MeshTrust& told, WallTime now) {
  SigningRequest& pending = renewal.pending;
  if (pending.request.empty() || told.certificate_request != sha256_hex(pending.request)) {
    return false;
  }
  const proxy::Credentials fresh{told.certificate, pending.private_key, renewal.credentials.ca};
  if (const auto checked = check_credentials(fresh, "renewed certificate", now); !checked) {
    LOG_WARNING("certificate not renewed", "secret", renewal.secret, "error",
                checked.error().text());
    return false;
  }
  renewal.credentials = fresh;
  pending = {};
  LOG_INFO("certificate renewed", "secret", renewal.secret);
  return true;
}

bool is_referred_to(const Desired& desired, const std::string& secret) {
  return std::ranges::any_of(
      desired.links, [&](const auto& entry) { return entry.second.tls_credentials == secret; });
}

}  // namespace

void CertificateRenewal::update(Desired& desired, const std::vector<RemoteSite>& sites,
                                const std::vector<LinkState>& links, WallTime now) {
  trust_.clear();
  std::erase_if(answers_, [&](const auto& entry) { return entry.second.time + kBetween <= now; });
  for (const RemoteSite& site : sites) {
    const std::string& id = site.state.site.id;
    if (!site.is_reachable || !is_uuid(id)) continue;
    for (const LinkState& link : links) {
      if (link.site_id != id || !link.is_up()) continue;
      if (link.is_incoming) {
        answer(id, site.trust, now);
        continue;
      }
      const auto document = desired.links.find(link.link);
      if (document == desired.links.end()) continue;
      const auto secret = desired.secrets.find(document->second.tls_credentials);
      if (secret != desired.secrets.end()) renew(secret->second, site.trust, trust_[id], now);
    }
  }
  apply(desired);
}

MeshTrust CertificateRenewal::trust_for(const std::string& site_id) const {
  const auto found = trust_.find(site_id);
  return found == trust_.end() ? MeshTrust() : found->second;
}

void CertificateRenewal::answer(const std::string& site_id, const MeshTrust& asked, WallTime now) {
  MeshTrust& ours = trust_[site_id];
  ours.ca = state_.ca_certificates();
  if (asked.request.empty()) return;
  const std::string request = sha256_hex(asked.request);
  if (!answers_.contains(site_id)) {
    const auto certificate = state_.issue_for_key(asked.request,
                                                  {.common_name = site_id,
                                                   .hosts = {},
                                                   .site_id = site_id,
                                                   .use = CertificateUse::client,
                                                   .lifetime = kGivenLifetime},
                                                  "renewal", now);
    answers_[site_id] = {request, certificate.value_or(std::string()), now};
    if (certificate) LOG_INFO("certificate renewed for a neighbour", "site", site_id);
    else LOG_WARNING("no certificate", "site", site_id, "error", certificate.error().text());
  }
  const Answer& answer = answers_[site_id];
  if (answer.request != request || answer.certificate.empty()) return;
  ours.certificate = answer.certificate;
  ours.certificate_request = request;
}

void CertificateRenewal::renew(const SecretDocument& secret, const MeshTrust& told, MeshTrust& ours,
                               WallTime now) {
  const proxy::Credentials written = credentials_of(secret);
  Renewal renewal{.secret = secret.name(),
                  .replaces_sha256 = sha256_hex(written.certificate),
                  .credentials = written,
                  .pending = {}};
  if (const auto known = state_.renewals().find(secret.name());
      known != state_.renewals().end() &&
      known->second.replaces_sha256 == renewal.replaces_sha256) {
    renewal = known->second;
  }
  bool is_changed = take_ca(renewal.credentials, told.ca, now);
  is_changed |= take_certificate(renewal, told, now);
  if (renewal.pending.request.empty() && needs_rotation(renewal.credentials.certificate, now)) {
    auto made = make_signing_request();
    if (!made) return LOG_ERROR("certificate not renewed", "error", made.error().text());
    renewal.pending = std::move(*made);
    is_changed = true;
  }
  if (is_changed) {
    if (const auto stored = state_.put_renewal(renewal); !stored) {
      return LOG_ERROR("renewed certificate not stored", "secret", secret.name(), "error",
                       stored.error().text());
    }
  }
  ours.request = renewal.pending.request;
}

// A document that is gone, or was replaced by its author, ends what was renewed for it. One that a
// link refers to may only not have been read yet.
void CertificateRenewal::apply(Desired& desired) {
  std::vector<std::string> stale;
  for (const auto& [name, renewal] : state_.renewals()) {
    const auto secret = desired.secrets.find(name);
    if (secret == desired.secrets.end()) {
      if (!is_referred_to(desired, name)) stale.push_back(name);
      continue;
    }
    if (sha256_hex(credentials_of(secret->second).certificate) != renewal.replaces_sha256) {
      stale.push_back(name);
      continue;
    }
    secret->second.data["ca.crt"] = renewal.credentials.ca;
    secret->second.data["tls.crt"] = renewal.credentials.certificate;
    secret->second.data["tls.key"] = renewal.credentials.private_key;
  }
  for (const std::string& name : stale) {
    if (const auto removed = state_.remove_renewal(name); !removed) {
      LOG_WARNING("old certificate not removed", "secret", name, "error", removed.error().text());
    }
  }
}

}  // namespace istmo::control
