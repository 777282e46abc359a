#include "control/json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <set>

namespace istmo::control {
namespace {

// Where the lexer is in the text; the iterators that it moves over the text share one.
struct Cursor {
  const char* at;
};

// An input iterator that tells how far the lexer has read.
class TrackedIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator(const char* at, Cursor* cursor) : at_(at), cursor_(cursor) {}
  reference operator*() const { return *at_; }
  TrackedIterator& operator++() {
    ++at_;
    cursor_->at = at_;
    return *this;
  }
  friend bool operator==(const TrackedIterator& a, const TrackedIterator& b) {
    return a.at_ == b.at_;
  }

 private:
  const char* at_;
  Cursor* cursor_;
};

// nlohmann's events to a tree. A method that returns false ends the parse.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(std::string_view text, const Cursor& cursor, const TextLimits& limits)
      : text_(text), cursor_(cursor), limits_(limits), counted_(text.data()) {}

  Value root;
  std::optional<TextError> error;

  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(Value(value)); }
  bool number_integer(number_integer_t value) override { return add(Value(int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override { return add(Value(uint64_t{value})); }
  bool number_float(number_float_t, const string_t& text) override {
    return add(Value::scalar(Value::Kind::real, text));
  }
  bool string(string_t& text) override { return add(Value(std::move(text))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Value::map()); }
  bool start_array(size_t) override { return open(Value::list()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& text) override {
    Open& parent = open_.back();
    if (!charge(text.size())) return false;
    if (!parent.keys.insert(text).second) {
      return stop("the key " + text.substr(0, 64) + " is there twice");
    }
    parent.key = std::move(text);
    parent.key_position = position();
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& failure) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: what": only the last.
    const std::string_view what = failure.what();
    const size_t colon = what.find(": ");
    return stop(std::string(colon == std::string_view::npos ? what : what.substr(colon + 2)));
  }

 private:
  struct Open {
    Value value;
    std::string key;
    Position key_position;
    std::set<std::string> keys;
  };

  // The lexer has read the token and, behind a number, one octet more: that one does not count.
  Position position() {
    const char* end = std::max(text_.data(), cursor_.at - 1);
    for (; counted_ < end; ++counted_) {
      if (*counted_ != '\n') continue;
      ++line_;
      line_start_ = counted_ + 1;
    }
    return {line_, static_cast<int>(end - line_start_) + 1};
  }
  bool stop(std::string text, bool is_limit = false) {
    if (!error) error = TextError{position(), std::move(text), is_limit};
    return false;
  }
  bool charge(size_t scalar_bytes) {
    scalar_bytes_ += scalar_bytes;
    if (++nodes_ > limits_.nodes_max) return stop("the text has too many nodes", true);
    if (scalar_bytes_ > limits_.scalar_bytes_max) return stop("the text has too long values");
    return true;
  }
  bool add(Value value) {
    if (!charge(value.text().size())) return false;
    value.set_position(position());
    place(std::move(value));
    return true;
  }
  bool open(Value value) {
    if (!charge(0)) return false;
    if (open_.size() >= limits_.depth_max) return stop("the text is nested too deeply");
    value.set_position(position());
    open_.push_back({std::move(value), {}, {}, {}});
    return true;
  }
  bool close() {
    Value done = std::move(open_.back().value);
    open_.pop_back();
    place(std::move(done));
    return true;
  }
  void place(Value value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (Open& parent = open_.back(); parent.value.is_list()) {
      parent.value.add(std::move(value));
    } else {
      parent.value.append(parent.key_position, std::move(parent.key), std::move(value));
    }
  }

  std::string_view text_;
  const Cursor& cursor_;
  const TextLimits limits_;
  size_t nodes_ = 0;
  size_t scalar_bytes_ = 0;
  const char* counted_;  // newlines before it are counted
  const char* line_start_ = text_.data();
  int line_ = 1;
  std::vector<Open> open_;
};

nlohmann::ordered_json number_of(const Value& value) {
  const std::string& text = value.text();
  const char* end = text.data() + text.size();
  if (value.kind() == Value::Kind::integer) {
    uint64_t positive = 0;
    if (const auto [at, failure] = std::from_chars(text.data(), end, positive);
        failure == std::errc() && at == end) {
      return positive;
    }
    int64_t negative = 0;
    if (const auto [at, failure] = std::from_chars(text.data(), end, negative);
        failure == std::errc() && at == end) {
      return negative;
    }
  }
  double real = 0;
  if (const auto [at, failure] = std::from_chars(text.data(), end, real);
      failure == std::errc() && at == end) {
    return real;
  }
  return text;  // 0x1f and .inf have no JSON form
}

nlohmann::ordered_json json_of(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::null: return nullptr;
    case Value::Kind::boolean:
      return value.text() == "true" || value.text() == "True" || value.text() == "TRUE";
    case Value::Kind::integer:
    case Value::Kind::real: return number_of(value);
    case Value::Kind::string: return value.text();
    case Value::Kind::list: {
      auto list = nlohmann::ordered_json::array();
      for (const Value& item : value.items()) list.push_back(json_of(item));
      return list;
    }
    case Value::Kind::map: {
      // ordered_json looks every key up in line: keys are unique here, so put them directly.
      nlohmann::ordered_json map = nlohmann::ordered_json::object();
      auto& entries = map.get_ref<nlohmann::ordered_json::object_t&>();
      for (const Value::Entry& entry : value.entries()) {
        entries.push_back({entry.key, json_of(entry.value)});
      }
      return map;
    }
  }
  return nullptr;
}

}  // namespace

ParsedText parse_json(std::string_view text, const TextLimits& limits) {
  ParsedText parsed;
  if (text.size() > limits.bytes_max) {
    parsed.error = {{1, 1},
                    "the text is longer than " + std::to_string(limits.bytes_max) + " bytes"};
    return parsed;
  }
  try {
    Cursor cursor{text.data()};
    TreeBuilder builder(text, cursor, limits);
    const bool is_whole =
        nlohmann::json::sax_parse(TrackedIterator(text.data(), &cursor),
                                  TrackedIterator(text.data() + text.size(), &cursor), &builder);
    if (is_whole) parsed.documents.push_back(std::move(builder.root));
    else parsed.error = builder.error.value_or(TextError{{1, 1}, "cannot be read as JSON"});
  } catch (const std::exception& failure) {
    parsed.error = {{1, 1}, std::string("cannot be read: ") + failure.what()};
  }
  return parsed;
}

std::string write_json(const Value& value, JsonStyle style) {
  // With the `replace` handler dump() has nothing left to throw but bad_alloc.
  return json_of(value).dump(style == JsonStyle::indented ? 2 : -1, ' ', false,
                             nlohmann::json::error_handler_t::replace);
}

}  // namespace istmo::control
