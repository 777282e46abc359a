#include "control/value.h"

#include "base/assert.h"

namespace istmo::control {

// Here, not in the class: an Entry has to be complete where a vector of it is made or destroyed.
Value::Value() = default;
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

Value::Value(bool value) : kind_(Kind::boolean), text_(value ? "true" : "false") {}
Value::Value(int value) : Value(int64_t{value}) {}
Value::Value(uint16_t value) : Value(int64_t{value}) {}
Value::Value(uint32_t value) : Value(int64_t{value}) {}
Value::Value(int64_t value) : kind_(Kind::integer), text_(std::to_string(value)) {}
Value::Value(uint64_t value) : kind_(Kind::integer), text_(std::to_string(value)) {}
Value::Value(const char* text) : kind_(Kind::string), text_(text) {}
Value::Value(std::string text) : kind_(Kind::string), text_(std::move(text)) {}
Value::Value(std::string_view text) : kind_(Kind::string), text_(text) {}

Value Value::list() {
  Value value;
  value.kind_ = Kind::list;
  return value;
}

Value Value::map() {
  Value value;
  value.kind_ = Kind::map;
  return value;
}

Value Value::scalar(Kind kind, std::string text) {
  ASSERT(kind != Kind::list && kind != Kind::map);
  Value value;
  value.kind_ = kind;
  if (kind != Kind::null) value.text_ = std::move(text);
  return value;
}

const Value* Value::find(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

Value& Value::set(std::string key, Value value) {
  if (const Value* found = find(key)) {
    Value& place = const_cast<Value&>(*found);
    place = std::move(value);
    return place;
  }
  return append({}, std::move(key), std::move(value));
}

Value& Value::append(Position position, std::string key, Value value) {
  if (kind_ == Kind::null) kind_ = Kind::map;
  ASSERT(kind_ == Kind::map);
  entries_.push_back({std::move(key), position, std::move(value)});
  return entries_.back().value;
}

Value& Value::add(Value value) {
  if (kind_ == Kind::null) kind_ = Kind::list;
  ASSERT(kind_ == Kind::list);
  items_.push_back(std::move(value));
  return items_.back();
}

bool operator==(const Value& a, const Value& b) {
  if (a.kind_ != b.kind_ || a.text_ != b.text_ || a.items_ != b.items_) return false;
  if (a.entries_.size() != b.entries_.size()) return false;
  for (size_t i = 0; i < a.entries_.size(); ++i) {
    if (a.entries_[i].key != b.entries_[i].key) return false;
    if (!(a.entries_[i].value == b.entries_[i].value)) return false;
  }
  return true;
}

const Value& value_at(const Value& value, std::initializer_list<std::string_view> keys) {
  static const Value kNothing;
  const Value* found = &value;
  for (const std::string_view key : keys) {
    found = found->find(key);
    if (found == nullptr) return kNothing;
  }
  return *found;
}

const std::string& text_at(const Value& value, std::string_view key) {
  static const std::string kNothing;
  const Value* found = value.find(key);
  return found == nullptr ? kNothing : found->text();
}

std::string_view to_string(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::null: return "nothing";
    case Value::Kind::boolean: return "true or false";
    case Value::Kind::integer: return "a whole number";
    case Value::Kind::real: return "a number";
    case Value::Kind::string: return "a string";
    case Value::Kind::list: return "a list";
    case Value::Kind::map: return "a map";
  }
  return "?";
}

}  // namespace istmo::control
