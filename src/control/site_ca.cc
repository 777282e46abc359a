#include "control/site_ca.h"

#include "base/log.h"

namespace istmo::control {

namespace {

constexpr std::string_view kCertificateBegin = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kKeyBegin = "-----BEGIN PRIVATE KEY-----";
constexpr int kSuccessorIsMade = 3;  // in the last third
constexpr int kSuccessorSigns = 6;

bool has_expired(const KeyPair& ca, WallTime now) {
  const auto info = inspect_certificate(ca.certificate, "site CA");
  return info && info->not_after <= now;
}

// Nothing: there is no such record.
Result<std::optional<KeyPair>> find_key_pair(const StateStore& store, const char* record) {
  const auto text = store.read(record);
  if (text) return TRY(read_key_pair(*text, store.place_of(record)));
  if (text.error().error_class() != ErrorClass::closed) return std::unexpected(text.error());
  return std::nullopt;
}

}  // namespace

Result<KeyPair> read_key_pair(std::string_view text, const std::string& place) {
  const size_t certificate = text.find(kCertificateBegin);
  const size_t key = text.find(kKeyBegin);
  if (certificate == std::string::npos || key == std::string::npos || key < certificate) {
    return Error::config(place + ": damaged: a certificate and its private key belong here");
  }
  return KeyPair{.certificate = std::string(text.substr(certificate, key - certificate)),
                 .private_key = std::string(text.substr(key))};
}

std::string to_text(const KeyPair& pair) { return pair.certificate + pair.private_key; }

Result<SiteCa> SiteCa::open(StateStore& store, const std::string& site_name, Missing missing,
                            WallTime now) {
  SiteCa ca(store, site_name);
  TRY(ca.read(missing, now));
  TRY(ca.rotate(now));
  ca.join();
  TRY(ca.check(ca.current_, kRecord, now));
  return ca;
}

Result<> SiteCa::read(Missing missing, WallTime now) {
  next_ = TRY(find_key_pair(*store_, kNextRecord));
  auto current = TRY(find_key_pair(*store_, kRecord));
  if (current) {
    current_ = std::move(*current);
    // What rotate() leaves, so that at no moment both could be lost.
    if (!next_ || next_->certificate != current_.certificate) return {};
    next_.reset();
    return store_->remove(kNextRecord);
  }
  // Something was signed once: a fresh CA would silently cut those sites off.
  if (missing == Missing::is_an_error || next_) {
    return Error::config(store_->place_of(kRecord) +
                         ": lost, but certificates were issued with it; restore it from a copy, or "
                         "delete the site and make it anew");
  }
  current_ = TRY(make_ca(common_name_, now));
  return store_->write(kRecord, to_text(current_));
}

Result<> SiteCa::reload() {
  auto next = TRY(find_key_pair(*store_, kNextRecord));
  auto current = TRY(find_key_pair(*store_, kRecord));
  if (!current) return store_->write(kRecord, to_text(current_));
  if (next && next->certificate == current->certificate) next.reset();
  current_ = std::move(*current);
  next_ = std::move(next);
  join();
  return {};
}

Result<> SiteCa::check(const KeyPair& ca, const char* record, WallTime now) const {
  return check_credentials(
      {.certificate = ca.certificate, .private_key = ca.private_key, .ca = ca.certificate},
      store_->place_of(record), now);
}

const KeyPair& SiteCa::signer(WallTime now) const {
  return next_ && is_in_last(kSuccessorSigns, current_.certificate, now) ? *next_ : current_;
}

Result<> SiteCa::rotate(WallTime now) {
  if (!next_ && is_in_last(kSuccessorIsMade, current_.certificate, now) &&
      !has_expired(current_, now)) {
    KeyPair successor = TRY(make_ca(common_name_, now));
    TRY(store_->write(kNextRecord, to_text(successor)));
    next_ = std::move(successor);
    LOG_INFO("the site's CA has a successor", "record", store_->place_of(kNextRecord));
    join();
  }
  if (next_ && has_expired(current_, now)) {
    TRY(check(*next_, kNextRecord, now));
    TRY(store_->write(kRecord, to_text(*next_)));
    current_ = std::move(*next_);
    next_.reset();
    LOG_INFO("the site's CA was succeeded", "record", store_->place_of(kRecord));
    join();
  }
  return {};
}

void SiteCa::join() {
  bundle_ = current_.certificate;
  if (next_) bundle_ += next_->certificate;
}

}  // namespace istmo::control
