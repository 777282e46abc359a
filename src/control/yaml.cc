#include "control/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

namespace istmo::control {
namespace {

constexpr size_t kErrorsMax = 100;

// What an error takes with it.
enum class Reach : uint8_t { document, text };

// Leaves yaml-cpp's parser when a bound is passed. Caught in read_stream().
struct Stop {
  TextError error;
  Reach reach = Reach::document;
};

// In the text, of a mark in a part of it that begins at `first_line`.
Position position_of(const YAML::Mark& mark, int first_line) {
  return {std::max(mark.line, 0) + first_line, std::max(mark.column, 0) + 1};
}

// Builds one tree per document out of yaml-cpp's events, counting everything.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const TextLimits& limits) : limits_(limits) {}

  Value take_document() { return std::exchange(root_, Value()); }
  // What comes next begins at this line of the text.
  void begin_at(int first_line) { first_line_ = first_line; }
  int first_line() const { return first_line_; }

  void OnDocumentStart(const YAML::Mark&) override {
    root_ = Value();
    open_.clear();
    anchors_.clear();
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add_scalar(mark, anchor, Value());
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    // "?" is a plain scalar without a tag, "!" a quoted one.
    const auto kind = tag == "?" ? plain_scalar_kind(text) : Value::Kind::string;
    add_scalar(mark, anchor, Value::scalar(kind, text));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) stop(mark, "an alias stands for a node that contains it");
    charge(mark, found->second);
    place(mark, Value(found->second));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, Value::list());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, Value::map());
  }
  void OnMapEnd() override { close(); }

 private:
  // A list or map that is not complete yet.
  struct Open {
    Value value;
    YAML::Mark mark;
    YAML::anchor_t anchor;
    bool has_key = false;
    std::string key;
    Position key_position;
    std::set<std::string> keys;
  };

  [[noreturn]] void stop(const YAML::Mark& mark, std::string text,
                         Reach reach = Reach::document) const {
    throw Stop{{position_of(mark, first_line_), std::move(text)}, reach};
  }

  void charge_one(const YAML::Mark& mark, size_t scalar_bytes) {
    if (++nodes_ > limits_.nodes_max) stop(mark, "the text has too many nodes", Reach::text);
    scalar_bytes_ += scalar_bytes;
    if (scalar_bytes_ > limits_.scalar_bytes_max) {
      stop(mark, "the text has too long values", Reach::text);
    }
  }
  void charge(const YAML::Mark& mark, const Value& tree) {
    charge_one(mark, tree.text().size());
    for (const Value& item : tree.items()) charge(mark, item);
    for (const Value::Entry& entry : tree.entries()) {
      charge_one(mark, entry.key.size());
      charge(mark, entry.value);
    }
  }

  void add_scalar(const YAML::Mark& mark, YAML::anchor_t anchor, Value value) {
    charge_one(mark, value.text().size());
    value.set_position(position_of(mark, first_line_));
    remember(mark, anchor, value);
    place(mark, std::move(value));
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, Value value) {
    charge_one(mark, 0);
    if (open_.size() >= limits_.depth_max) stop(mark, "the text is nested too deeply");
    if (!open_.empty() && open_.back().value.is_map() && !open_.back().has_key) {
      stop(mark, "a key of a map must be a string");
    }
    value.set_position(position_of(mark, first_line_));
    open_.push_back({std::move(value), mark, anchor, false, {}, {}, {}});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    remember(done.mark, done.anchor, done.value);
    place(done.mark, std::move(done.value));
  }

  void remember(const YAML::Mark& mark, YAML::anchor_t anchor, const Value& value) {
    if (anchor == 0) return;
    charge(mark, value);
    anchors_[anchor] = value;
  }

  void place(const YAML::Mark& mark, Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& parent = open_.back();
    if (parent.value.is_list()) {
      parent.value.add(std::move(value));
    } else if (parent.has_key) {
      parent.value.append(parent.key_position, std::move(parent.key), std::move(value));
      parent.has_key = false;
    } else {
      if (!value.is_scalar()) stop(mark, "a key of a map must be a string");
      if (!parent.keys.insert(value.text()).second) {
        stop(mark, "the key " + value.text().substr(0, 64) + " is there twice");
      }
      parent.key = value.text();
      parent.key_position = position_of(mark, first_line_);
      parent.has_key = true;
    }
  }

  const TextLimits limits_;
  int first_line_ = 1;
  size_t nodes_ = 0;
  size_t scalar_bytes_ = 0;
  Value root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Value> anchors_;
};

// Adds the documents of `text` up to an error.
std::optional<Stop> read_stream(std::string_view text, TreeBuilder& builder,
                                std::vector<Value>& documents) {
  try {
    // With the marker behind it an open quote is an error: yaml-cpp closes it at the end of input.
    std::istringstream input(std::string(text) + (text.ends_with('\n') ? "---\n" : ""));
    YAML::Parser parser(input);
    while (parser.HandleNextDocument(builder)) {
      Value document = builder.take_document();
      if (!document.is_null()) documents.push_back(std::move(document));
    }
  } catch (const Stop& stop) {
    return stop;
  } catch (const YAML::Exception& failure) {
    return Stop{{position_of(failure.mark, builder.first_line()), failure.msg}};
  } catch (const std::exception& failure) {
    return Stop{{{builder.first_line(), 1}, std::string("cannot be read: ") + failure.what()}};
  }
  return std::nullopt;
}

// Cut before each line that begins with `---`. YAML 1.2, 9.1.2: such a line begins a document
// wherever it stands, and inside of a scalar it is forbidden.
std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  size_t start = 0;
  for (size_t at = text.find("\n---"); at != std::string_view::npos; at = text.find("\n---", at)) {
    ++at;
    const size_t behind = at + 3;
    if (behind < text.size() && !std::string_view(" \t\r\n").contains(text[behind])) continue;
    parts.push_back(text.substr(start, at - start));
    start = at;
  }
  parts.push_back(text.substr(start));
  return parts;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// [-+]? ( [0-9]+ | 0x[0-9a-fA-F]+ | 0o[0-7]+ )
bool is_integer(std::string_view text) {
  if (text.starts_with("0x")) {
    return text.size() > 2 &&
           text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string_view::npos;
  }
  if (text.starts_with("0o")) {
    return text.size() > 2 && text.find_first_not_of("01234567", 2) == std::string_view::npos;
  }
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

// [-+]? ( [0-9]* . [0-9]* | [0-9]+ ) ( [eE] [-+]? [0-9]+ )?, with at least one digit; .inf, .nan
bool is_real(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (text == ".inf" || text == ".Inf" || text == ".INF") return true;
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return true;
  const size_t exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos) {
    std::string_view power = text.substr(exponent + 1);
    if (power.starts_with('-') || power.starts_with('+')) power.remove_prefix(1);
    if (power.empty() || !std::all_of(power.begin(), power.end(), is_digit)) return false;
    text = text.substr(0, exponent);
  }
  const auto points = std::count(text.begin(), text.end(), '.');
  const auto digits = std::count_if(text.begin(), text.end(), is_digit);
  return points <= 1 && digits > 0 && size_t(points + digits) == text.size();
}

// Writing: strings that need no quotes are those that no reader, of YAML 1.1 either, takes for
// anything else.
bool is_safe_plain(std::string_view text) {
  if (text.empty() || plain_scalar_kind(text) != Value::Kind::string) return false;
  static const std::set<std::string_view> kYaml11 = {"y",   "Y",   "n",   "N",   "yes", "Yes",
                                                     "YES", "no",  "No",  "NO",  "on",  "On",
                                                     "ON",  "off", "Off", "OFF", "=",   "<<"};
  if (kYaml11.contains(text)) return false;
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  // Digits first could be a date or a sexagesimal number of YAML 1.1.
  if (!is_letter(text.front()) && text.front() != '/' && text.front() != '_') return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) {
                       return is_letter(c) || is_digit(c) ||
                              std::string_view("-_./:, ()").contains(c);
                     }) &&
         !text.contains(": ") && text.back() != ':' && text.back() != ' ';
}

void write_quoted(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto octet = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (octet < 0x20 || octet == 0x7f) {
      out += "\\x";
      out += kHex[octet >> 4];
      out += kHex[octet & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

// A literal block reads back as the same text: one newline at the end, no blank at the start, and
// printable ASCII only.
bool fits_literal(std::string_view text) {
  if (text.size() < 2 || !text.ends_with('\n') || text.ends_with("\n\n")) return false;
  if (text.front() == ' ' || text.front() == '\n') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); });
}

void write_literal(std::string_view text, size_t indent, std::string& out) {
  out += "|\n";
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end > 0) out.append(indent, ' ').append(text.substr(0, end));
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

void write_key(std::string_view key, std::string& out) {
  if (is_safe_plain(key)) out += key;
  else write_quoted(key, out);
  out += ':';
}

void write_block(const Value& value, size_t indent, std::string& out);

// What stands behind `key:` or `-`, up to and with the newline.
void write_behind(const Value& value, size_t indent, std::string& out) {
  const bool is_empty = value.items().empty() && value.entries().empty();
  if (!value.is_list() && !value.is_map()) {
    out += ' ';
    if (value.is_null()) out += "null";
    else if (value.kind() != Value::Kind::string || is_safe_plain(value.text()))
      out += value.text();
    else if (fits_literal(value.text())) return write_literal(value.text(), indent, out);
    else write_quoted(value.text(), out);
    out += '\n';
  } else if (is_empty) {
    out += value.is_list() ? " []\n" : " {}\n";
  } else {
    out += '\n';
    write_block(value, indent, out);
  }
}

void write_block(const Value& value, size_t indent, std::string& out) {
  for (const Value& item : value.items()) {
    out.append(indent, ' ').append("-");
    if (!item.is_map() || item.entries().empty()) {
      write_behind(item, indent + 2, out);
      continue;
    }
    // The first entry of a map stands on the line of the dash.
    std::string block;
    write_block(item, indent + 2, block);
    out += ' ';
    out.append(block, indent + 2);
  }
  for (const Value::Entry& entry : value.entries()) {
    out.append(indent, ' ');
    write_key(entry.key, out);
    write_behind(entry.value, indent + 2, out);
  }
}

}  // namespace

ParsedText parse_yaml(std::string_view text, const TextLimits& limits) {
  ParsedText parsed;
  if (text.size() > limits.bytes_max) {
    parsed.error = {{1, 1},
                    "the text is longer than " + std::to_string(limits.bytes_max) + " bytes"};
    return parsed;
  }
  TreeBuilder builder(limits);
  const std::optional<Stop> first = read_stream(text, builder, parsed.documents);
  if (!first) return parsed;
  // Again, each document by itself: what stands before the error counts the same.
  parsed.documents.clear();
  TreeBuilder again(limits);
  int line = 1;
  for (const std::string_view part : parts_of(text)) {
    again.begin_at(line);
    line += static_cast<int>(std::ranges::count(part, '\n'));
    const std::optional<Stop> stopped = read_stream(part, again, parsed.documents);
    if (!stopped) continue;
    if (!parsed.error) parsed.error = stopped->error;
    else parsed.more_errors.push_back(stopped->error);
    if (stopped->reach == Reach::text || parsed.more_errors.size() == kErrorsMax) break;
  }
  if (!parsed.error) parsed.error = first->error;
  return parsed;
}

std::string write_yaml(const Value& value) {
  std::string out;
  const bool is_block = !value.items().empty() || !value.entries().empty();
  if (is_block) {
    write_block(value, 0, out);
  } else {
    write_behind(value, 2, out);
    out.erase(0, 1);
  }
  return out;
}

Value::Kind plain_scalar_kind(std::string_view text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return Value::Kind::null;
  }
  if (text == "true" || text == "True" || text == "TRUE" || text == "false" || text == "False" ||
      text == "FALSE") {
    return Value::Kind::boolean;
  }
  if (is_integer(text)) return Value::Kind::integer;
  if (is_real(text)) return Value::Kind::real;
  return Value::Kind::string;
}

}  // namespace istmo::control
