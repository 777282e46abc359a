#include "control/document_fields.h"

#include <algorithm>
#include <charconv>

#include "control/durations.h"

namespace istmo::control {
namespace {

// Names and texts of a message are foreign: short, and without control characters.
std::string shown(std::string_view text) {
  std::string safe(text.substr(0, 64));
  for (char& c : safe) {
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return safe;
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string text;
  for (const auto word : words) {
    if (!text.empty()) text += ", ";
    text += word;
  }
  return text;
}

}  // namespace

void DocumentReading::error(Position position, std::string text) {
  has_error_ = true;
  problems_.push_back({Severity::error, origin_at(position), object_, std::move(text)});
}

void DocumentReading::warning(Position position, std::string text) {
  problems_.push_back({Severity::warning, origin_at(position), object_, std::move(text)});
}

Fields::Fields(const Value* value, std::string path, Position fallback, DocumentReading& reading)
    : path_(std::move(path)), fallback_(fallback), reading_(reading) {
  if (!value || value->is_null()) return;
  fallback_ = value->position();
  if (value->is_map()) {
    map_ = value;
  } else {
    reading_.error(fallback_, (path_.empty() ? "the document" : path_) + " must be a map, not " +
                                  std::string(to_string(value->kind())));
  }
}

std::string Fields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

bool Fields::has(std::string_view key) const {
  const Value* value = map_ ? map_->find(key) : nullptr;
  return value && !value->is_null();
}

Position Fields::position_of(std::string_view key) const {
  const Value* value = map_ ? map_->find(key) : nullptr;
  return value ? value->position() : fallback_;
}

void Fields::error(std::string_view key, const std::string& text) {
  reading_.error(position_of(key), path_of(key) + " " + text);
}

const Value* Fields::take(std::string_view key, Need need) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  if (has(key)) return map_->find(key);
  if (need == Need::required) error(key, "is missing");
  return nullptr;
}

void Fields::text(std::string_view key, std::string& into, Need need) {
  const Value* value = take(key, need);
  if (!value) return;
  if (value->kind() != Value::Kind::string) {
    return error(key, "must be a string, not " + std::string(to_string(value->kind())) +
                          (value->is_scalar() ? "; write it in quotes" : ""));
  }
  if (value->text().empty() && need == Need::required) return error(key, "must not be empty");
  into = value->text();
}

void Fields::boolean(std::string_view key, bool& into) {
  const Value* value = take(key, Need::optional);
  if (!value) return;
  if (value->kind() != Value::Kind::boolean) {
    return error(key, "must be true or false, not " + std::string(to_string(value->kind())));
  }
  into = value->text().front() == 't' || value->text().front() == 'T';
}

bool Fields::read_number(std::string_view key, uint32_t& into, uint32_t low, uint32_t high,
                         Need need) {
  const Value* value = take(key, need);
  if (!value) return false;
  uint32_t number = 0;
  const std::string& text = value->text();
  const char* end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data(), end, number);
  if (!value->is_scalar() || failure != std::errc() || at != end || number < low || number > high) {
    const std::string found =
        value->is_scalar() ? shown(text) : std::string(to_string(value->kind()));
    error(key, "must be a whole number from " + std::to_string(low) + " to " +
                   std::to_string(high) + ", not " + found);
    return false;
  }
  into = number;
  return true;
}

void Fields::choice(std::string_view key, std::string& into,
                    const std::vector<std::string_view>& allowed, Need need) {
  std::string chosen;
  text(key, chosen, need);
  if (!chosen.empty() && std::find(allowed.begin(), allowed.end(), chosen) == allowed.end()) {
    return error(key, "must be one of " + joined(allowed) + ", not " + shown(chosen));
  }
  into = std::move(chosen);
}

void Fields::duration(std::string_view key, std::optional<Duration>& into) {
  std::string written;
  text(key, written);
  if (written.empty()) return;
  const auto duration = parse_duration(written);
  if (!duration) return error(key, ": " + duration.error().text());
  into = *duration;
}

void Fields::text_list(std::string_view key, std::vector<std::string>& into) {
  const Value* found = list(key);
  if (!found) return;
  for (const Value& item : found->items()) {
    if (item.kind() == Value::Kind::string) {
      into.push_back(item.text());
    } else {
      reading_.error(item.position(), path_of(key) + " must be a list of strings");
    }
  }
}

void Fields::text_map(std::string_view key, std::map<std::string, std::string>& into) {
  const Value* found = map(key);
  if (!found) return;
  for (const Value::Entry& entry : found->entries()) {
    // Kubernetes insists on quotes around "5" and "true"; in a file the meaning is plain enough.
    if (entry.value.is_scalar() || entry.value.is_null()) {
      into[entry.key] = entry.value.text();
    } else {
      reading_.error(entry.value.position(), path_of(key) + "." + shown(entry.key) +
                                                 " must be a string, not " +
                                                 std::string(to_string(entry.value.kind())));
    }
  }
}

const Value* Fields::list(std::string_view key, Need need) {
  const Value* value = take(key, need);
  if (!value || value->is_list()) return value;
  error(key, "must be a list, not " + std::string(to_string(value->kind())));
  return nullptr;
}

const Value* Fields::map(std::string_view key, Need need) {
  const Value* value = take(key, need);
  if (!value || value->is_map()) return value;
  error(key, "must be a map, not " + std::string(to_string(value->kind())));
  return nullptr;
}

void Fields::finish(Strangers strangers) {
  if (!map_ || strangers == Strangers::ignored) return;
  for (const Value::Entry& entry : map_->entries()) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    reading_.warning(entry.position,
                     "unknown field " + path_of(shown(entry.key)) + "; known: " + joined(known_));
  }
}

}  // namespace istmo::control
