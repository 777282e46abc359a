// Errors as values: Result<T> is std::expected<T, Error>. No exceptions in src/dataplane.
//
// The class of an error selects the reaction, the text is for people. An Error is cheap to move
// and owns its text; the text says what failed, where, and (for the user) what to do.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace istmo {

enum class ErrorClass : uint8_t {
  closed,    // the other side ended normally or went away: clean up, nothing to report
  refused,   // nobody accepted: try another place
  taken,     // somebody else has the address: choose another
  reset,     // the connection was reset: pass the reset on
  timeout,   // a deadline passed
  protocol,  // input broke a protocol's rules: close the connection
  limit,     // a limit of ours was reached: refuse, count, go on
  config,    // a document or an option is wrong: report to its author
  internal,  // the kernel or a library failed in a way that we do not expect
};

std::string_view to_string(ErrorClass error_class);

class [[nodiscard]] Error {
 public:
  Error(ErrorClass error_class, std::string text) : class_(error_class), text_(std::move(text)) {}

  static Error closed(std::string text) { return {ErrorClass::closed, std::move(text)}; }
  static Error refused(std::string text) { return {ErrorClass::refused, std::move(text)}; }
  static Error taken(std::string text) { return {ErrorClass::taken, std::move(text)}; }
  static Error reset(std::string text) { return {ErrorClass::reset, std::move(text)}; }
  static Error timeout(std::string text) { return {ErrorClass::timeout, std::move(text)}; }
  static Error protocol(std::string text) { return {ErrorClass::protocol, std::move(text)}; }
  static Error limit(std::string text) { return {ErrorClass::limit, std::move(text)}; }
  static Error config(std::string text) { return {ErrorClass::config, std::move(text)}; }
  static Error internal(std::string text) { return {ErrorClass::internal, std::move(text)}; }

  // From a positive errno value. `doing` names the action: "bind 127.0.0.1:80".
  static Error from_errno(int error_number, std::string_view doing);

  ErrorClass error_class() const { return class_; }
  const std::string& text() const { return text_; }

  // Adds a place in front: Error{"bind: ..."}.at("listener backend") -> "listener backend: bind:
  // ..."
  Error at(std::string_view place) &&;

  // An Error returns from a function of any Result type.
  template <class T>
  operator std::expected<T, Error>() && {
    return std::unexpected<Error>(std::move(*this));
  }

 private:
  ErrorClass class_;
  std::string text_;
};

template <class T = void>
using Result = std::expected<T, Error>;

}  // namespace istmo

// Evaluates an expression of type Result<T>: returns its Error from the enclosing function, or is
// its value. A statement expression: gcc and clang only, on purpose.
#define TRY(...)                                                              \
  __extension__({                                                             \
    auto try_result_ = (__VA_ARGS__);                                         \
    if (!try_result_) return std::unexpected(std::move(try_result_).error()); \
    ::istmo::detail::unwrap(std::move(try_result_));                          \
  })

namespace istmo::detail {

template <class T>
T unwrap(std::expected<T, Error>&& result) {
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace istmo::detail
