#include "control/http_message.h"

#include <charconv>
#include <vector>

#include "dataplane/codec/http1_parser.h"

namespace istmo::control {
namespace {

using codec::Http1Field;
using codec::Http1Head;
using codec::Http1Parser;
using codec::Http1Sink;

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// All of one message.
struct Collected final : Http1Sink {
  void on_http_head(Http1Head&& its_head) override { head = std::move(its_head); }
  void on_http_body(std::string_view octets) override { body.append(octets); }
  void on_http_end(std::vector<Http1Field>&&) override {}

  std::optional<Http1Head> head;
  std::string body;
};

// No value: it is no number, or too large a one.
std::optional<size_t> read_length(std::string_view text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Why a request cannot be served that HTTP allows.
std::optional<BadRequest> refusal_of(const Http1Head& head) {
  // Whatever else is wrong with it: only POST means something here.
  if (head.method != "POST") return BadRequest{405, "only POST is supported"};
  if (!head.target.starts_with('/')) return BadRequest{400, "the target is no path"};
  if (head.find("transfer-encoding")) {
    return BadRequest{411, "transfer codings are not supported, send Content-Length"};
  }
  const std::string* length = head.find("content-length");
  if (!length) return BadRequest{411, "Content-Length is missing"};
  const auto size = read_length(*length);
  if (!size) return BadRequest{400, "Content-Length: '" + *length + "' is no length"};
  if (*size > kRequestBodyBytesMax) return BadRequest{413, "request body is longer than 1 KiB"};
  return std::nullopt;
}

Result<std::map<std::string, std::string>> single_fields(const Http1Head& head) {
  std::map<std::string, std::string> fields;
  for (const auto& [name, value] : head.fields) {
    const auto [at, is_new] = fields.emplace(lower_case(name), value);
    if (!is_new) return Error::protocol("header " + at->first + " is doubled");
  }
  return fields;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

}  // namespace

std::variant<NeedMore, BadRequest, Request> read_request(std::string_view received) {
  Collected message;
  Http1Parser parser(Http1Parser::Role::request, message, {.head_bytes_max = kRequestHeadBytesMax});
  const auto used = parser.feed(received);
  if (message.head) {
    if (auto refusal = refusal_of(*message.head)) return std::move(*refusal);
  }
  if (!used) return BadRequest{used.error().status, used.error().text};
  if (!parser.is_whole()) return NeedMore{};
  if (*used < received.size()) return BadRequest{400, "octets after the request"};
  auto fields = single_fields(*message.head);
  if (!fields) return BadRequest{400, fields.error().text()};
  return Request{.head = {.method = message.head->method,
                          .target = message.head->target,
                          .fields = std::move(*fields)},
                 .body = std::move(message.body)};
}

std::string write_request(std::string_view host, std::string_view target,
                          const std::map<std::string, std::string>& fields, std::string_view body) {
  std::string text = "POST ";
  text.append(target).append(" HTTP/1.1\r\nHost: ").append(host).append(kLineEnd);
  for (const auto& [name, value] : fields) {
    text.append(name).append(": ").append(value).append(kLineEnd);
  }
  text.append("Connection: close\r\nContent-Length: ").append(std::to_string(body.size()));
  return text.append(kHeadEnd).append(body);
}

Result<std::optional<Reply>> read_reply(std::string_view received, InputEnd end, size_t bytes_max) {
  if (received.size() > bytes_max) {
    return Error::limit("reply is longer than " + std::to_string(bytes_max) + " octets");
  }
  Collected message;
  Http1Parser parser(Http1Parser::Role::reply, message, {.head_bytes_max = bytes_max});
  const auto is_interim = [&] { return message.head && message.head->status < 200; };
  do {
    message = {};
    const auto used = parser.feed(received);
    if (!used) return Error::protocol("the reply is malformed: " + used.error().text);
    received.remove_prefix(*used);
  } while (parser.is_whole() && is_interim() && !received.empty());
  if (message.head) {
    const std::string* length = message.head->find("content-length");
    if (length && read_length(*length).value_or(SIZE_MAX) > bytes_max) {
      return Error::limit("reply is too long");
    }
  }
  if (end == InputEnd::ended && !parser.end()) return Error::protocol("the reply was cut off");
  if (parser.is_whole() && message.head && !is_interim()) {
    return Reply{.status = message.head->status, .body = std::move(message.body)};
  }
  if (end == InputEnd::ended) return Error::protocol("the reply was cut off");
  return std::nullopt;
}

std::string write_reply(int status, std::string_view content_type, std::string_view body) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " ";
  text.append(reason_phrase(status)).append("\r\nContent-Type: ").append(content_type);
  if (status == 405) text += "\r\nAllow: POST";
  text.append("\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ");
  return text.append(std::to_string(body.size())).append(kHeadEnd).append(body);
}

}  // namespace istmo::control
