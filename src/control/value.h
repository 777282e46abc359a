// A tree of plain values: what YAML and JSON texts are read into and written from.
//
// Value type, any thread. Scalars keep the text as written, so `port: "55671"` and `port: 55671`
// can both be understood by a reader who wants to. Maps keep the order of the text.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace istmo::control {

// Where in a text something was written; counted from 1, 0 = made by us.
struct Position {
  int line = 0;
  int column = 0;
};

class Value {
 public:
  enum class Kind : uint8_t { null, boolean, integer, real, string, list, map };
  struct Entry;

  Value();
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();
  Value(bool value);
  Value(int value);
  Value(uint16_t value);
  Value(uint32_t value);
  Value(int64_t value);
  Value(uint64_t value);
  Value(const char* text);
  Value(std::string text);
  Value(std::string_view text);
  static Value list();
  static Value map();
  // A scalar of `kind` with its text: "1e3" as real.
  static Value scalar(Kind kind, std::string text);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_map() const { return kind_ == Kind::map; }
  bool is_list() const { return kind_ == Kind::list; }
  bool is_scalar() const { return !is_null() && !is_map() && !is_list(); }

  // Text of a scalar; empty otherwise.
  const std::string& text() const { return text_; }

  // Map: the value of `key`, or nullptr (also when this is no map).
  const Value* find(std::string_view key) const;
  // Map (null becomes one): sets or replaces. Returns the stored value.
  Value& set(std::string key, Value value);
  const std::vector<Entry>& entries() const { return entries_; }
  // Reading side: appends without looking for `key`; the reader has checked for duplicates.
  Value& append(Position position, std::string key, Value value);

  // List (null becomes one).
  Value& add(Value value);
  const std::vector<Value>& items() const { return items_; }

  Position position() const { return position_; }
  void set_position(Position position) { position_ = position; }

  // Same kinds, texts and children in the same order; positions do not count.
  friend bool operator==(const Value& a, const Value& b);

 private:
  Kind kind_ = Kind::null;
  Position position_;
  std::string text_;
  std::vector<Value> items_;
  std::vector<Entry> entries_;
};

struct Value::Entry {
  std::string key;
  Position position;  // of the key
  Value value;
};

// Walks maps: value_at(object, {"spec", "ports"}). Null when something is missing.
const Value& value_at(const Value& value, std::initializer_list<std::string_view> keys);
// Walks maps: text_at(document, "status", "message"). Empty when something is missing, or no
// scalar.
const std::string& text_at(const Value& value, std::string_view key);
template <class... Keys>
const std::string& text_at(const Value& value, std::string_view key, std::string_view next,
                           Keys... keys) {
  static const Value kNothing;
  const Value* below = value.find(key);
  return text_at(below == nullptr ? kNothing : *below, next, keys...);
}

std::string_view to_string(Value::Kind kind);  // "a string", "a list", ... for messages

}  // namespace istmo::control
