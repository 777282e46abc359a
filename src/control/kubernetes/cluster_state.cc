#include "control/kubernetes/cluster_state.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "base/log.h"
#include "control/base64.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/object_keeper.h"
#include "control/pki.h"

namespace istmo::control {
namespace {

constexpr const char* kGone = "gone";  // instead of a version, none of which is called so

const std::string& metadata_text(const Value& object, std::string_view key) {
  return text_at(object, "metadata", key);
}

std::optional<std::string> decoded(const Value& secret, std::string_view key) {
  auto text = decode_base64(text_at(secret, "data", key));
  return text ? std::optional(std::move(*text)) : std::nullopt;
}

// RFC 1123 subdomain, as the API server wants it; '_' is the only other sign that is expected.
bool is_name_part(const std::string& text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && is_letter(text.front()) && is_letter(text.back()) &&
         !text.contains("..") &&
         std::ranges::all_of(text, [&](char c) { return is_letter(c) || c == '-' || c == '.'; });
}

}  // namespace

// What cannot stand there as it is gets a digest of its own.
std::string state_secret_name(const std::string& record) {
  constexpr size_t kCharactersMax = 200;
  constexpr size_t kDigestCharacters = 32;
  const size_t slash = record.find('/');
  const std::string folder = slash == std::string::npos ? "" : record.substr(0, slash) + "-";
  std::string name = record.substr(slash == std::string::npos ? 0 : slash + 1);
  name = name.substr(0, name.rfind('.'));
  if (!is_name_part(name) || name.size() > kCharactersMax) {
    name = sha256_hex(record).substr(0, kDigestCharacters);
  }
  return "istmo-state-" + folder + name;
}

// --- StateStore --------------------------------------------------------------------------------

Result<std::vector<std::string>> ClusterState::list(const std::string& folder) const {
  std::vector<std::string> names;
  for (auto at = records_.lower_bound(folder + "/"); at != records_.end(); ++at) {
    if (!at->first.starts_with(folder + "/")) break;
    if (at->second.local) names.push_back(at->first);
  }
  return names;
}

Result<std::string> ClusterState::read(const std::string& name) const {
  const auto found = records_.find(name);
  if (found == records_.end() || !found->second.local) {
    return Error::closed(place_of(name) + ": there is none");
  }
  return *found->second.local;
}

Result<> ClusterState::write(const std::string& name, std::string_view text) {
  if (text.size() > kRecordBytesMax) {
    return Error::limit(place_of(name) + ": longer than " + std::to_string(kRecordBytesMax) +
                        " octets");
  }
  change(name, std::string(text));
  return {};
}

Result<> ClusterState::remove(const std::string& name) {
  if (records_.contains(name)) change(name, std::nullopt);
  return {};
}

void ClusterState::change(const std::string& name, Text text) {
  Record& record = records_[name];
  if (text && record.local == text) return;
  record_of_[state_secret_name(name)] = name;
  record.local = std::move(text);
  record.refusals = 0;
  record.retry_at = {};
  ++changes_;
  if (!is_dirty(record) && record.asked == Step::none && !record.is_in_doubt) {
    record.changed_number = 0;
    unsettled_.erase(name);
  } else {
    if (record.changed_number == 0) record.changed_number = changes_;
    unsettled_.insert(name);
    // What was sent last may be there, or not.
    record.must_look |= !is_dirty(record) && record.is_in_doubt;
  }
  reconsider(name, record);
  work_.on_work();
}

std::string ClusterState::place_of(const std::string& name) const {
  return "Secret " + state_secret_name(name);
}

void ClusterState::when_durable(DurableWait& wait) {
  if (!owner_ || unsettled_.empty()) return wait.on_durable({});
  if (!refusal_.empty()) return wait.on_durable(Error::refused(refusal_));
  wait.number = changes_;
  waits_.push_back(wait);
}

bool ClusterState::is_stored(const std::string& name) const {
  const auto found = records_.find(name);
  return !owner_ || (found != records_.end() && found->second.base);
}

Result<> ClusterState::reserve(const std::string& name) {
  if (problem().empty()) return {};
  return Error::refused(place_of(name) + ": " + problem());
}

// --- whose it is -------------------------------------------------------------------------------

void ClusterState::set_owner(const ObjectOwner& owner) {
  if (owner_) return;
  owner_ = owner;
  for (auto& [secret, found] : std::exchange(unclaimed_, {})) {
    if (found.owner.uid != owner.uid) continue;
    Record& record = seen(found);
    settle(found.record, record, std::move(found.stored));
  }
  if (!sink_) changed_.clear();  // nobody has read them yet
  reconsider_all();
}

void ClusterState::set_held(bool is_held) {
  if (std::exchange(is_held_, is_held) != is_held) reconsider_all();
}

std::optional<ObjectOwner> ClusterState::owner_of_records() const {
  std::optional<ObjectOwner> owner;
  for (const auto& [secret, found] : unclaimed_) {
    if (owner && owner->uid != found.owner.uid) return std::nullopt;
    owner = found.owner;
  }
  return owner;
}

// --- what is there -----------------------------------------------------------------------------

// Nothing: it is no record of ours, whatever its label says.
std::optional<ClusterState::Found> ClusterState::read_secret(const Value& secret) {
  if (text_at(secret, "metadata", "labels", kStateLabel) != "true") return std::nullopt;
  const Value* owners = secret.find("metadata")->find("ownerReferences");
  if (!owners || owners->items().size() != 1) return std::nullopt;
  const Value& owner = owners->items().front();
  auto record = decoded(secret, "record");
  auto text = decoded(secret, "content");
  if (!record || !text || text->size() > kRecordBytesMax ||
      state_secret_name(*record) != metadata_text(secret, "name")) {
    return std::nullopt;
  }
  return Found{.record = std::move(*record),
               .owner = {text_at(owner, "apiVersion"), text_at(owner, "kind"),
                         text_at(owner, "name"), text_at(owner, "uid")},
               .stored = {.text = std::move(*text),
                          .version = metadata_text(secret, "resourceVersion"),
                          .uid = metadata_text(secret, "uid")}};
}

ClusterState::Text ClusterState::text_of(const std::optional<Stored>& stored) {
  return stored ? Text(stored->text) : std::nullopt;
}

ClusterState::Record& ClusterState::seen(Found& found) {
  record_of_[state_secret_name(found.record)] = found.record;
  return records_[found.record];
}

void ClusterState::on_object(const Value& secret) {
  auto found = read_secret(secret);
  if (!found) {
    LOG_WARNING("a Secret is no record of a site, whatever its label says", "name",
                metadata_text(secret, "name"));
    return;
  }
  const bool is_known = records_.contains(found->record);
  if (!is_known && records_.size() + unclaimed_.size() >= kRecordsMax) {
    if (std::exchange(has_told_full_, true)) return;
    LOG_ERROR("the namespace has too many Secrets of the site's state: the rest is not read");
    return;
  }
  if (!owner_) {
    unclaimed_.insert_or_assign(metadata_text(secret, "name"), std::move(*found));
    return;
  }
  const bool is_ours = found->owner.uid == owner_->uid;
  if (!is_known && !is_ours) return;
  Record& record = seen(*found);
  const std::string name = found->record;
  if (!is_synced_) {  // a list, while nothing is asked
    if (is_ours) settle(name, record, std::move(found->stored));
  } else if (record.asked != Step::none) {
    record.told_version = found->stored.version;
  } else if (!record.base || record.base->version != found->stored.version) {
    record.must_look = true;
  }
  reconsider(name, record);
  work_.on_work();
}

void ClusterState::on_gone(const std::string& secret_name) {
  unclaimed_.erase(secret_name);
  const auto name = record_of_.find(secret_name);
  if (name == record_of_.end()) return;
  const std::string record_name = name->second;  // reconsider() may forget it
  Record& record = records_.at(record_name);
  if (record.asked != Step::none) record.told_version = kGone;
  else if (record.base) record.must_look = true;
  reconsider(record_name, record);
  work_.on_work();
}

void ClusterState::on_synced() {
  refusal_.clear();
  if (!std::exchange(is_synced_, true)) reconsider_all();
}

void ClusterState::on_refused(const std::string& text) {
  refusal_ = "Secrets cannot be watched: " + text;
  if (first_change() != std::numeric_limits<uint64_t>::max()) {
    lost_.push_back({first_change(), Error::refused(refusal_)});
  }
  work_.on_work();
}

// Somebody else's change counts, and ours is lost. (Where that is the same one, or ours whose
// answer was lost, it is ours.)
void ClusterState::settle(const std::string& name, Record& record, std::optional<Stored> found) {
  record.must_look = false;
  const Text text = text_of(found);
  if (text == record.local) return set_base(name, record, std::move(found), changes_);
  if (record.is_in_doubt && text == record.sent) {
    return set_base(name, record, std::move(found), record.sent_number);
  }
  const bool is_as_before =
      found ? record.base && record.base->version == found->version : !record.base;
  if (is_as_before) return;
  if (record.changed_number != 0) {
    lost_.push_back({record.changed_number,
                     Error::taken(place_of(name) + ": somebody else changed it at the same time")});
  }
  record.local = text;
  set_base(name, record, std::move(found), changes_);
  changed_.push_back(name);
}

// All changes up to `number` are there.
void ClusterState::set_base(const std::string& name, Record& record, std::optional<Stored> stored,
                            uint64_t number) {
  is_any_stored_ |= stored && !record.base;
  record.base = std::move(stored);
  record.is_in_doubt = false;
  record.refusals = 0;
  if (!is_dirty(record)) record.changed_number = 0;
  else record.changed_number = std::max(record.changed_number, number + 1);
  if (record.changed_number == 0) unsettled_.erase(name);
  else unsettled_.insert(name);
}

// --- asking ------------------------------------------------------------------------------------

std::optional<ClusterState::Request> ClusterState::next(Instant now) {
  tell();
  const auto name = queue_.take(now);
  if (!name) return std::nullopt;
  Record& record = records_.at(*name);
  const Step step = step_of(record);
  ASSERT(step != Step::none);
  record.asked = step;
  if (step != Step::look) {
    record.sent = record.local;
    record.sent_number = changes_;
    record.is_in_doubt = false;
  }
  return request_for(*name, record, step);
}

Instant ClusterState::wake_at(Instant now) const {
  if (!changed_.empty() || !lost_.empty()) return now;
  return queue_.wake_at(now);
}

ClusterState::Step ClusterState::step_of(const Record& record) const {
  if (!owner_ || !is_synced_) return Step::none;
  if (record.must_look) return Step::look;
  if (is_held_ || !is_dirty(record)) return Step::none;
  if (!record.base) return Step::make;
  return record.local ? Step::replace : Step::remove;
}

Value ClusterState::secret_of(const std::string& name, const Record& record) const {
  Value metadata = Value::map();
  metadata.set("name", state_secret_name(name));
  Value& labels = metadata.set("labels", Value::map());
  labels.set(kManagedByLabel, kManagedBy);
  labels.set(kStateLabel, "true");
  if (record.base) {
    metadata.set("uid", record.base->uid);
    metadata.set("resourceVersion", record.base->version);
  }
  Value secret = Value::map();
  secret.set("apiVersion", "v1");
  secret.set("kind", "Secret");
  secret.set("metadata", std::move(metadata));
  istmo::control::set_owner(secret, *owner_);
  Value& data = secret.set("data", Value::map());
  data.set("record", encode_base64(name));
  data.set("content", encode_base64(*record.local));
  return secret;
}

ClusterState::Request ClusterState::request_for(const std::string& name, const Record& record,
                                                Step step) const {
  const std::string path = object_path({"Secret", state_secret_name(name)}, namespace_name_);
  const std::string manager = std::string("?fieldManager=") + kManagedBy;
  switch (step) {
    case Step::none:
    case Step::look: return {name, "GET", path, {}};
    case Step::make:
      return {name, "POST", collection_path(*find_kube_kind("Secret"), namespace_name_) + manager,
              secret_of(name, record)};
    case Step::replace: return {name, "PUT", path + manager, secret_of(name, record)};
    case Step::remove: break;
  }
  Value options = Value::map();
  options.set("apiVersion", "v1");
  options.set("kind", "DeleteOptions");
  Value& preconditions = options.set("preconditions", Value::map());
  preconditions.set("uid", record.base->uid);
  preconditions.set("resourceVersion", record.base->version);
  return {name, "DELETE", path, std::move(options)};
}

ClusterState::Step ClusterState::answered(Record& record) {
  ASSERT(record.asked != Step::none);
  queue_.on_answer();
  return std::exchange(record.asked, Step::none);
}

void ClusterState::on_reply(const std::string& name, int status, const Value& body, Instant now) {
  Record& record = records_.at(name);
  const Step step = answered(record);
  const bool is_gone = status == 404 && (step == Step::look || step == Step::remove);
  if (!is_transient(status)) queue_.on_server_well();
  if (status >= 200 && status < 300) {
    on_done(name, record, step, body, now);
  } else if (is_gone) {
    settle(name, record, std::nullopt);
  } else if (status == 409 || (status == 404 && step == Step::replace)) {
    record.must_look = true;
    pause(record, now);
  } else if (is_transient(status)) {
    record.is_in_doubt |= step != Step::look && status >= 500;
    record.must_look |= record.is_in_doubt;
    queue_.hold_back(now, status == 429 ? Duration::seconds(1) : Duration());
  } else {
    const std::string& message = text_at(body, "message");
    on_refused(record, step,
               "the API server refuses " + place_of(name) + " (" + std::to_string(status) +
                   "): " + message,
               status, now);
  }
  const std::string there = record.base ? record.base->version : kGone;
  const std::string told = std::exchange(record.told_version, {});
  record.must_look |= !told.empty() && told != there;
  reconsider(name, record);
  tell();  // last: those who are told may write
}

void ClusterState::on_failure(const std::string& name, Instant now) {
  Record& record = records_.at(name);
  if (answered(record) != Step::look) record.is_in_doubt = true;
  record.must_look = true;
  record.told_version.clear();
  queue_.hold_back(now, {});
  reconsider(name, record);
}

void ClusterState::on_done(const std::string& name, Record& record, Step step, const Value& body,
                           Instant now) {
  if (step == Step::remove) {
    return set_base(name, record, std::nullopt, record.sent_number);
  }
  auto found = read_secret(body);
  const bool is_ours = found && found->record == name && found->owner.uid == owner_->uid;
  if (!is_ours) return on_foreign(name, record, now);
  problem_.clear();
  if (step == Step::look) return settle(name, record, std::move(found->stored));
  found->stored.text = *record.sent;
  set_base(name, record, std::move(found->stored), record.sent_number);
}

void ClusterState::on_refused(Record& record, Step step, const std::string& text, int status,
                              Instant now) {
  pause(record, now);
  record.must_look |= step == Step::look;
  if (status == 403 && record.refusals <= kRefusalsPassedOver) return;
  if (problem_ != text) LOG_ERROR("what the site must remember is not written", "error", text);
  problem_ = text;
  if (record.changed_number != 0) {
    lost_.push_back({record.changed_number, Error::refused(text)});
  }
}

// A few come second one after the other without being refused.
void ClusterState::pause(Record& record, Instant now) {
  constexpr int kAtOnce = 2;
  constexpr int kDoublingsMax = 10;
  if (record.refusals < kAtOnce + kDoublingsMax) ++record.refusals;
  const int doublings = record.refusals - kAtOnce;
  if (doublings > 0) record.retry_at = now + std::min(kRefusedMin * (1 << doublings), kRefusedMax);
}

// Another site's from before, which goes with its owner; or somebody's. It is looked for again.
void ClusterState::on_foreign(const std::string& name, Record& record, Instant now) {
  record.base.reset();
  if (!record.local) {
    record.must_look = false;
    return set_base(name, record, std::nullopt, changes_);
  }
  if (record.changed_number == 0) record.changed_number = ++changes_;
  unsettled_.insert(name);
  on_refused(record, Step::look, place_of(name) + " is there and is not this site's", 0, now);
}

// --- telling -----------------------------------------------------------------------------------

uint64_t ClusterState::first_change() const {
  uint64_t first = std::numeric_limits<uint64_t>::max();
  for (const std::string& name : unsettled_) {
    first = std::min(first, records_.at(name).changed_number);
  }
  return first;
}

// Who is told may write, wait, and end its waiting.
void ClusterState::tell() {
  for (const std::string& name : std::exchange(changed_, {})) {
    if (sink_) sink_->on_record_changed(name);
  }
  if (std::exchange(is_any_stored_, false) && sink_) sink_->on_record_stored();
  const auto end_waits = [&](uint64_t from, uint64_t to, const Result<>& result) {
    List<DurableWait> ended;
    for (DurableWait* wait = waits_.first(); wait;) {
      DurableWait* next = waits_.next_of(*wait);
      if (wait->number >= from && wait->number < to) {
        wait->unlink();
        ended.push_back(*wait);
      }
      wait = next;
    }
    while (!ended.empty()) ended.pop_front().on_durable(result);
  };
  constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();
  for (const Lost& lost : std::exchange(lost_, {})) {
    end_waits(lost.from, kEnd, std::unexpected(lost.error));
  }
  end_waits(0, first_change(), {});
}

// Puts it where next() finds it, if there is something to ask; drops what nothing is known of.
void ClusterState::reconsider(const std::string& name, Record& record) {
  queue_.drop(name);
  if (record.asked != Step::none) return;
  if (step_of(record) != Step::none) {
    queue_.put(name, record.retry_at);
  } else if (!record.local && !record.base && record.changed_number == 0 && !record.must_look) {
    record_of_.erase(state_secret_name(name));
    records_.erase(name);
  }
}

void ClusterState::reconsider_all() {
  for (auto at = records_.begin(); at != records_.end();) {
    auto& [name, record] = *at++;
    reconsider(name, record);
  }
  work_.on_work();
}

}  // namespace istmo::control
