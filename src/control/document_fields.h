// Reads the fields of one map of a document and reports what is wrong with them.
//
// The fields that a reading function asks for are the known ones: finish() warns about the rest.
// Lives for one reading, on the stack.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/desired.h"
#include "control/value.h"

namespace istmo::control {

// Collects the problems of one document.
class DocumentReading {
 public:
  DocumentReading(std::string file, std::vector<Problem>& problems)
      : file_(std::move(file)), problems_(problems) {}

  void set_object(ObjectId object) { object_ = std::move(object); }
  const ObjectId& object() const { return object_; }
  Origin origin_at(Position position) const { return {file_, position.line, position.column}; }
  void error(Position position, std::string text);
  void warning(Position position, std::string text);
  bool has_error() const { return has_error_; }

 private:
  const std::string file_;
  std::vector<Problem>& problems_;
  ObjectId object_;
  bool has_error_ = false;
};

enum class Need : uint8_t { optional, required };

// What finish() says of fields that nobody asked for.
enum class Strangers : uint8_t { warned_about, ignored };

class Fields {
 public:
  // `value` may be nullptr (no such field: then every required field is missing). `path` is for
  // messages: "spec", "spec.endpoints[0]"; empty for the document itself. `fallback` is the place
  // of messages about fields that are not there.
  Fields(const Value* value, std::string path, Position fallback, DocumentReading& reading);

  void text(std::string_view key, std::string& into, Need need = Need::optional);
  void boolean(std::string_view key, bool& into);
  // A number, or a string that is one.
  template <class Number>
  bool number(std::string_view key, Number& into, uint32_t low, uint32_t high,
              Need need = Need::optional) {
    uint32_t wide = 0;
    if (!read_number(key, wide, low, high, need)) return false;
    into = static_cast<Number>(wide);
    return true;
  }
  void port(std::string_view key, uint16_t& into, Need need = Need::optional) {
    number(key, into, 1, 65535, need);
  }
  // One of `allowed`; "" is always allowed when not required.
  void choice(std::string_view key, std::string& into, const std::vector<std::string_view>& allowed,
              Need need = Need::optional);
  void duration(std::string_view key, std::optional<Duration>& into);
  void text_list(std::string_view key, std::vector<std::string>& into);
  void text_map(std::string_view key, std::map<std::string, std::string>& into);
  // nullptr when missing or of the wrong kind.
  const Value* list(std::string_view key, Need need = Need::optional);
  const Value* map(std::string_view key, Need need = Need::optional);
  // Known, but nothing is read from it.
  void skip(std::string_view key) { known_.push_back(key); }

  bool has(std::string_view key) const;
  Position position_of(std::string_view key) const;  // of its value, or the fallback
  Position position() const { return fallback_; }
  std::string path_of(std::string_view key) const;
  void error(std::string_view key, const std::string& text);
  void finish(Strangers strangers = Strangers::warned_about);

 private:
  const Value* take(std::string_view key, Need need);
  bool read_number(std::string_view key, uint32_t& into, uint32_t low, uint32_t high, Need need);

  const Value* map_ = nullptr;
  std::string path_;
  Position fallback_;
  DocumentReading& reading_;
  std::vector<std::string_view> known_;
};

}  // namespace istmo::control
