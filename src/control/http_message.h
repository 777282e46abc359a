// The texts of HTTP/1.1 (RFC 9112) that the small servers of a site need: reading requests as the
// grant server and the health server allow them, writing requests and replies. What is unusual is
// refused, never guessed.
//
// Sans-I/O, on whichever thread asks: the control thread, and that of a command that redeems.
// https_channel.h reads replies.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "dataplane/codec/http1_parser.h"

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
using RequestVerdict = std::variant<NeedMore, BadRequest, Request>;

enum class RequestKind : uint8_t {
  redemption,  // POST with Content-Length
  page,        // GET or HEAD without a body
};

// One request, as it comes.
class RequestReader final : private codec::Http1Sink {
 public:
  explicit RequestReader(RequestKind kind = RequestKind::redemption) : kind_(kind) {}
  // The octets that came since the last call. Not called any more after a verdict.
  RequestVerdict feed(std::string_view octets);

 private:
  void on_http_head(codec::Http1Head&& head) override { head_ = std::move(head); }
  void on_http_body(std::string_view octets) override { body_.append(octets); }
  void on_http_end(std::vector<codec::Http1Field>&&) override {}

  const RequestKind kind_;
  std::optional<codec::Http1Head> head_;
  std::string body_;
  codec::Http1Parser parser_{
      codec::Http1Parser::Role::request, *this, {.head_bytes_max = kRequestHeadBytesMax}};
};

// With the fields as they are, and Content-Length where there is a body or the method has one.
std::string write_request(const Request& request);

// `allow`: the methods that a reply 405 names.
std::string write_reply(int status, std::string_view content_type, std::string_view body,
                        std::string_view allow = "POST");

}  // namespace istmo::control
