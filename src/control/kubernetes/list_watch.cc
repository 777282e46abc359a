#include "control/kubernetes/list_watch.h"

#include <algorithm>
#include <utility>

#include "control/plain_text.h"

namespace istmo::control {
namespace {

constexpr int kGone = 410;
constexpr int kTooManyRequests = 429;

std::string key_of(const Value& object) {
  const std::string& place = text_at(object, "metadata", "namespace");
  const std::string& name = text_at(object, "metadata", "name");
  return place.empty() || name.empty() ? name : place + "/" + name;
}

const std::string& version_of(const Value& object) {
  return text_at(object, "metadata", "resourceVersion");
}

}  // namespace

std::string name_in_key(const std::string& key) { return key.substr(key.find('/') + 1); }

ListWatch::ListWatch(KubeCollection collection, CollectionSink& sink, Rng& rng)
    : collection_(std::move(collection)), sink_(sink), rng_(rng) {}

std::optional<ListWatch::Ask> ListWatch::next(Instant now) {
  if (is_asked_ || now < wake_at_) return std::nullopt;
  is_asked_ = true;
  asked_at_ = now;
  std::string query;
  const auto add = [&](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    query.append(query.empty() ? "?" : "&")
        .append(name)
        .append("=")
        .append(escaped_for_query(value));
  };
  add("labelSelector", collection_.label_selector);
  add("fieldSelector", collection_.field_selector);
  if (step_ == Step::list) {
    if (page_.empty()) ++round_;
    add("limit", std::to_string(page_objects_));
    add("continue", page_);
    return Ask{.kind = Ask::Kind::list, .target = collection_.path + query};
  }
  has_brought_ = false;
  add("watch", "true");
  add("allowWatchBookmarks", "true");
  add("resourceVersion", version_);
  add("timeoutSeconds", std::to_string(rng_.between(kWatchSecondsMin, kWatchSecondsMax)));
  return Ask{.kind = Ask::Kind::watch, .target = collection_.path + query};
}

Instant ListWatch::wake_at() const { return is_asked_ ? Instant::never() : wake_at_; }

void ListWatch::on_list(const Value& list, Instant now) {
  const std::string& version = version_of(list);
  if (version.empty()) return fail("the list has no resourceVersion", now);
  on_answered();
  if (const Value* items = list.find("items")) {
    for (const Value& item : items->items()) take(item);
  }
  page_ = text_at(list, "metadata", "continue");
  wait(now);
  if (!page_.empty()) return;
  for (auto at = known_.begin(); at != known_.end();) {
    if (at->second.round == round_) {
      ++at;
      continue;
    }
    const std::string key = at->first;
    at = known_.erase(at);
    sink_.on_object_gone(key);
  }
  version_ = version;
  step_ = Step::watch;
  is_synced_ = true;
  sink_.on_synced();
}

void ListWatch::on_event(const Value& event, Instant now) {
  const std::string& type = text_at(event, "type");
  const Value* object = event.find("object");
  if (type.empty() || !object) return fail("a watch sent what is no event", now);
  if (type == "ERROR") {
    const std::string& code = text_at(*object, "code");
    if (code == std::to_string(kGone)) return list_again(now);
    return fail("the watch failed: " + text_at(*object, "message"), now);
  }
  const std::string& version = version_of(*object);
  if (version.empty()) return fail("a watch sent an object without resourceVersion", now);
  on_answered();
  has_brought_ = true;
  if (type == "ADDED" || type == "MODIFIED") {
    take(*object);
  } else if (type == "DELETED") {
    const std::string key = key_of(*object);
    if (known_.erase(key) > 0) sink_.on_object_gone(key);
  }  // BOOKMARK, and what may come to be: the version alone
  version_ = version;
}

void ListWatch::on_watch_end(Instant now) {
  if (!is_asked_ || step_ != Step::watch) return;  // it ended us before
  if (!has_brought_ && now - asked_at_ < kWatchMin) return back_off(now);
  on_answered();
  wait(now);
}

void ListWatch::on_status(int status, const std::string& text, Instant now) {
  if (status == kGone) return list_again(now);
  if (status == 403 || status == 404) {
    wait(now + by_chance(refused_backoff_.next(), rng_));
    step_ = Step::list;
    page_.clear();
    if (is_synced_ && ++refusals_ <= kRefusalsPassedOver) return;
    if (!std::exchange(has_told_refusal_, true)) sink_.on_refused(status, text);
    return;
  }
  const Duration pause = status == kTooManyRequests ? Duration::seconds(1) : Duration{};
  back_off(now, pause);
  if (!std::exchange(has_told_trouble_, true)) {
    sink_.on_trouble("the API server answered " + std::to_string(status) +
                     (text.empty() ? "" : ": " + text));
  }
}

void ListWatch::on_failure(const std::string& text, Instant now) { fail(text, now); }

void ListWatch::on_too_large(const std::string& text, Instant now) {
  if (step_ == Step::watch) {
    fail(text, now);
    step_ = Step::list;
    page_.clear();
  } else if (page_objects_ > 1) {
    page_objects_ /= 2;
    wait(now);
  } else {
    fail(text, now);
  }
}

void ListWatch::fail(const std::string& text, Instant now) {
  back_off(now);
  if (!std::exchange(has_told_trouble_, true)) sink_.on_trouble(text);
}

void ListWatch::take(const Value& object) {
  const std::string key = key_of(object);
  const std::string& version = version_of(object);
  if (key.empty() || version.empty()) return;  // no object
  Known& known = known_[key];
  known.round = round_;
  if (known.version == version) return;
  known.version = version;
  sink_.on_object(key, object);
}

// The server does not know any more what changed since: everything is told anew, and who is not in
// it is gone.
void ListWatch::list_again(Instant now) {
  const bool was_listing = step_ == Step::list;
  step_ = Step::list;
  page_.clear();
  if (was_listing) back_off(now);  // the pages took too long
  else wait(now);
}

void ListWatch::wait(Instant until) {
  is_asked_ = false;
  wake_at_ = until;
}

void ListWatch::back_off(Instant now, Duration at_least) {
  wait(now + std::max(by_chance(backoff_.next(), rng_), at_least));
}

void ListWatch::on_answered() {
  backoff_.reset();
  refused_backoff_.reset();
  refusals_ = 0;
  has_told_refusal_ = false;
  has_told_trouble_ = false;
}

}  // namespace istmo::control
