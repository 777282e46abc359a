#include "control/site_ca.h"

#include "base/log.h"
#include "control/private_file.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kCertificateBegin = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kKeyBegin = "-----BEGIN PRIVATE KEY-----";
constexpr int kSuccessorIsMade = 3;  // in the last third
constexpr int kSuccessorSigns = 6;

bool has_expired(const KeyPair& ca, WallTime now) {
  const auto info = inspect_certificate(ca.certificate, "site CA");
  return info && info->not_after <= now;
}

Result<> check_ca(const KeyPair& ca, const fs::path& path, WallTime now) {
  return check_credentials(
      {.certificate = ca.certificate, .private_key = ca.private_key, .ca = ca.certificate},
      path.string(), now);
}

}  // namespace

Result<KeyPair> read_key_pair(const fs::path& path) {
  const std::string text = TRY(read_private_file(path));
  const size_t certificate = text.find(kCertificateBegin);
  const size_t key = text.find(kKeyBegin);
  if (certificate == std::string::npos || key == std::string::npos || key < certificate) {
    return Error::config(path.string() +
                         ": damaged: a certificate and its private key belong here");
  }
  return KeyPair{.certificate = text.substr(certificate, key - certificate),
                 .private_key = text.substr(key)};
}

Result<> write_key_pair(const fs::path& path, const KeyPair& pair) {
  return write_private_file(path, pair.certificate + pair.private_key);
}

SiteCa::SiteCa(const fs::path& issuers, const std::string& site_name)
    : file_(issuers / "istmo-site-ca.pem"),
      next_file_(issuers / "istmo-site-ca-next.pem"),
      common_name_("istmo-site-ca " + site_name) {}

Result<SiteCa> SiteCa::open(const fs::path& issuers, const std::string& site_name, Missing missing,
                            WallTime now) {
  SiteCa ca(issuers, site_name);
  TRY(ca.read(missing, now));
  TRY(ca.rotate(now));
  ca.join();
  TRY(check_ca(ca.current_, ca.file_, now));
  return ca;
}

Result<> SiteCa::read(Missing missing, WallTime now) {
  auto next = read_key_pair(next_file_);
  if (next) next_ = std::move(*next);
  else if (next.error().error_class() != ErrorClass::closed) return std::unexpected(next.error());
  auto current = read_key_pair(file_);
  if (current) {
    current_ = std::move(*current);
    return {};
  }
  if (current.error().error_class() != ErrorClass::closed) return std::unexpected(current.error());
  // Something was signed once: a fresh CA would silently cut those sites off.
  if (missing == Missing::is_an_error || next_) {
    return Error::config(file_.string() +
                         ": lost, but certificates were issued with it; restore it from a copy, or "
                         "delete the site and make it anew");
  }
  current_ = TRY(make_ca(common_name_, now));
  return write_key_pair(file_, current_);
}

const KeyPair& SiteCa::signer(WallTime now) const {
  return next_ && is_in_last(kSuccessorSigns, current_.certificate, now) ? *next_ : current_;
}

Result<> SiteCa::rotate(WallTime now) {
  if (!next_ && is_in_last(kSuccessorIsMade, current_.certificate, now) &&
      !has_expired(current_, now)) {
    KeyPair successor = TRY(make_ca(common_name_, now));
    TRY(write_key_pair(next_file_, successor));
    next_ = std::move(successor);
    LOG_INFO("the site's CA has a successor", "file", next_file_.string());
    join();
  }
  if (next_ && has_expired(current_, now)) {
    TRY(check_ca(*next_, next_file_, now));
    std::error_code failure;
    fs::rename(next_file_, file_, failure);
    if (failure) return Error::config("rename " + next_file_.string() + ": " + failure.message());
    current_ = std::move(*next_);
    next_.reset();
    LOG_INFO("the site's CA was succeeded", "file", file_.string());
    join();
  }
  return {};
}

void SiteCa::join() {
  bundle_ = current_.certificate;
  if (next_) bundle_ += next_->certificate;
}

}  // namespace istmo::control
