#include "control/state_records.h"

#include <charconv>
#include <utility>

#include "control/json.h"
#include "control/private_file.h"

namespace istmo::control {

namespace {

constexpr int64_t kVersion = 1;

// A map of text and numbers, with its place in every error.
class Record {
 public:
  static Result<Record> of(const RecordText& record) {
    ParsedText parsed = parse_json(record.text, {.bytes_max = kPrivateFileBytesMax});
    if (parsed.error) return damaged(record.place, parsed.error->text);
    if (parsed.documents.size() != 1 || !parsed.documents[0].is_map()) {
      return damaged(record.place, "a map belongs here");
    }
    Record read(record.place, std::move(parsed.documents[0]));
    if (const auto version = TRY(read.number("version")); version != kVersion) {
      return Error::config(record.place + ": written by another version of Istmo (" +
                           std::to_string(version) + ")");
    }
    return read;
  }
  Record(std::string place, Value value) : place_(std::move(place)), value_(std::move(value)) {}

  const std::string& place() const { return place_; }
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
    if (!parsed) return damaged(place_, parsed.error().text());
    return parsed;
  }
  const Value* find(std::string_view key) const { return value_.find(key); }
  Error missing(std::string_view key) const {
    return damaged(place_, "'" + std::string(key) + "' is missing or wrong");
  }

 private:
  static Error damaged(const std::string& place, std::string_view why) {
    return Error::config(place + ": damaged: " + std::string(why) +
                         "; restore it from a copy, or delete the site and make it anew");
  }
  std::string place_;
  Value value_;
};

Value new_record() {
  Value value = Value::map();
  value.set("version", kVersion);
  return value;
}

std::string text_of(const Value& value) { return write_json(value, JsonStyle::indented) + "\n"; }

}  // namespace

std::string Grant::why_closed(WallTime now) const {
  if (redemptions() >= redemptions_allowed) {
    return "used up: " + std::to_string(redemptions()) + " of " +
           std::to_string(redemptions_allowed) + " redemptions";
  }
  return is_open(now) ? std::string() : "expired at " + to_rfc3339(expires);
}

std::string to_record(const Grant& grant) {
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
  return text_of(value);
}

Result<Grant> read_grant(const RecordText& text) {
  const Record record = TRY(Record::of(text));
  Grant grant{.uid = TRY(record.text("uid")),
              .name = TRY(record.text("name")),
              .code = TRY(record.text("code")),
              .redemptions_allowed = TRY(record.count("redemptionsAllowed")),
              .created = {},
              .expires = TRY(record.time("expires")),
              .claims = {}};
  // Not there in what an earlier version wrote.
  const Value* is_given = record.find("isCodeGiven");
  grant.is_code_given = is_given != nullptr && is_given->text() == "true";
  if (record.find("created")) grant.created = TRY(record.time("created"));
  const Value* claims = record.find("claims");
  if (!claims || !claims->is_list()) return record.missing("claims");
  for (const Value& item : claims->items()) {
    const Record claim(record.place(), item);
    grant.claims.push_back({.name = TRY(claim.text("name")),
                            .subject = TRY(claim.text("subject")),
                            .serial = TRY(claim.text("serial")),
                            .time = TRY(claim.time("time"))});
  }
  return grant;
}

std::string to_record(const IssuedCertificate& issued) {
  Value value = new_record();
  value.set("serial", issued.serial);
  value.set("subject", issued.subject);
  value.set("reason", issued.reason);
  value.set("sha256", issued.fingerprint_sha256);
  value.set("issued", to_rfc3339(issued.issued));
  value.set("expires", to_rfc3339(issued.expires));
  return text_of(value);
}

Result<IssuedCertificate> read_issued(const RecordText& text) {
  const Record record = TRY(Record::of(text));
  return IssuedCertificate{.serial = TRY(record.text("serial")),
                           .subject = TRY(record.text("subject")),
                           .reason = TRY(record.text("reason")),
                           .fingerprint_sha256 = TRY(record.text("sha256")),
                           .issued = TRY(record.time("issued")),
                           .expires = TRY(record.time("expires"))};
}

std::string to_record(const RedeemedToken& token) {
  Value value = new_record();
  value.set("name", token.name);
  value.set("url", token.url);
  value.set("codeSha256", token.code_sha256);
  value.set("documents", token.documents);
  value.set("time", to_rfc3339(token.time));
  return text_of(value);
}

Result<RedeemedToken> read_redeemed(const RecordText& text) {
  const Record record = TRY(Record::of(text));
  return RedeemedToken{.name = TRY(record.text("name")),
                       .url = TRY(record.text("url")),
                       .code_sha256 = TRY(record.text("codeSha256")),
                       .documents = TRY(record.text("documents")),
                       .time = TRY(record.time("time"))};
}

std::string to_record(const CertificateRecord& certificate) {
  Value value = new_record();
  value.set("name", certificate.name);
  value.set("request", certificate.request);
  value.set("ca", certificate.credentials.ca);
  value.set("certificate", certificate.credentials.certificate);
  value.set("privateKey", certificate.credentials.private_key);
  return text_of(value);
}

Result<CertificateRecord> read_certificate_record(const RecordText& text) {
  const Record record = TRY(Record::of(text));
  return CertificateRecord{.name = TRY(record.text("name")),
                           .request = TRY(record.text("request")),
                           .credentials = {.certificate = TRY(record.text("certificate")),
                                           .private_key = TRY(record.text("privateKey")),
                                           .ca = TRY(record.text("ca"))}};
}

std::string to_record(const Renewal& renewal) {
  Value value = new_record();
  value.set("secret", renewal.secret);
  value.set("replaces", renewal.replaces_sha256);
  value.set("ca", renewal.credentials.ca);
  value.set("certificate", renewal.credentials.certificate);
  value.set("privateKey", renewal.credentials.private_key);
  value.set("pendingKey", renewal.pending.private_key);
  value.set("pendingRequest", renewal.pending.request);
  return text_of(value);
}

Result<Renewal> read_renewal(const RecordText& text) {
  const Record record = TRY(Record::of(text));
  return Renewal{.secret = TRY(record.text("secret")),
                 .replaces_sha256 = TRY(record.text("replaces")),
                 .credentials = {.certificate = TRY(record.text("certificate")),
                                 .private_key = TRY(record.text("privateKey")),
                                 .ca = TRY(record.text("ca"))},
                 .pending = {.private_key = TRY(record.text("pendingKey")),
                             .request = TRY(record.text("pendingRequest"))}};
}

std::string to_record(const SiteRecord& site) {
  Value value = new_record();
  value.set("id", site.id);
  Value hosts = Value::list();
  for (const std::string& host : site.ingress_hosts) hosts.add(host);
  value.set("ingressHosts", std::move(hosts));
  return text_of(value);
}

Result<SiteRecord> read_site(const RecordText& text) {
  const Record record = TRY(Record::of(text));
  SiteRecord site{.id = TRY(record.text("id")), .ingress_hosts = {}};
  if (!is_uuid(site.id)) return record.missing("id");
  // Not there in what an earlier version wrote.
  const Value* hosts = record.find("ingressHosts");
  if (!hosts) return site;
  if (!hosts->is_list()) return record.missing("ingressHosts");
  for (const Value& host : hosts->items()) {
    if (host.kind() != Value::Kind::string) return record.missing("ingressHosts");
    site.ingress_hosts.push_back(host.text());
  }
  return site;
}

std::string to_record(const PortsRecord& ports) {
  Value value = new_record();
  Value& map = value.set("ports", Value::map());
  for (const auto& [purpose, port] : ports) map.set(purpose, port);
  return text_of(value);
}

Result<PortsRecord> read_ports(const RecordText& text) {
  const Record record = TRY(Record::of(text));
  PortsRecord ports;
  const Value* map = record.find("ports");
  if (!map) return ports;
  if (!map->is_map()) return record.missing("ports");
  const Record chosen(record.place(), *map);
  for (const auto& entry : map->entries()) {
    const uint32_t port = TRY(chosen.count(entry.key));
    if (port == 0 || port > UINT16_MAX) return chosen.missing(entry.key);
    ports[entry.key] = static_cast<uint16_t>(port);
  }
  return ports;
}

}  // namespace istmo::control
