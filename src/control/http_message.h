// The little of HTTP/1.1 (RFC 9112) that redeeming a token needs: one request, one reply, bodies
// with Content-Length. What is unusual is refused, never guessed.
//
// Sans-I/O: text in, result out, on whichever thread asks: the control thread, and that of a
// command that redeems. Both readers are given all that has arrived so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace istmo::control {

inline constexpr size_t kRequestHeadBytesMax = 8 * 1024;
inline constexpr size_t kRequestBodyBytesMax = 1024;

struct RequestHead {
  std::string method;
  std::string target;
  std::map<std::string, std::string> fields;  // names in lower case; a doubled name is refused
};

struct Request {
  RequestHead head;
  std::string body;
};

struct NeedMore {};
// The request cannot be served; `status` is what to answer.
struct BadRequest {
  int status = 400;
  std::string text;
};

std::variant<NeedMore, BadRequest, Request> read_request(std::string_view received);

std::string write_request(std::string_view host, std::string_view target,
                          const std::map<std::string, std::string>& fields, std::string_view body);

struct Reply {
  int status = 0;
  std::string body;
};

enum class InputEnd : uint8_t { open, ended };  // may more come?

// nullopt: more must come. A reply without Content-Length, or a chunked one (Skupper's server
// sends both), is complete at its own end. Interim replies (1xx) are passed over.
Result<std::optional<Reply>> read_reply(std::string_view received, InputEnd end, size_t bytes_max);

std::string write_reply(int status, std::string_view content_type, std::string_view body);

}  // namespace istmo::control
