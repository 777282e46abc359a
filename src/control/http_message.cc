#include "control/http_message.h"

#include <charconv>

#include "base/result.h"

namespace istmo::control {
namespace {

using codec::Http1Head;

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// No value: it is no number, or too large a one.
std::optional<size_t> read_length(std::string_view text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Why a request cannot be served that HTTP allows.
std::optional<BadRequest> page_refusal(const Http1Head& head) {
  if (head.method != "GET" && head.method != "HEAD") {
    return BadRequest{405, "only GET and HEAD are supported"};
  }
  if (!head.target.starts_with('/')) return BadRequest{400, "the target is no path"};
  const std::string* length = head.find("content-length");
  if (head.find("transfer-encoding") || (length && *length != "0")) {
    return BadRequest{400, "a request for a page has no body"};
  }
  return std::nullopt;
}

std::optional<BadRequest> redemption_refusal(const Http1Head& head) {
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
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

}  // namespace

RequestVerdict RequestReader::feed(std::string_view octets) {
  const auto used = parser_.feed(octets);
  if (head_) {
    auto refusal = kind_ == RequestKind::page ? page_refusal(*head_) : redemption_refusal(*head_);
    if (refusal) return std::move(*refusal);
  }
  if (!used) return BadRequest{used.error().status, used.error().text};
  if (!parser_.is_whole()) return NeedMore{};
  if (*used < octets.size()) return BadRequest{400, "octets after the request"};
  auto fields = single_fields(*head_);
  if (!fields) return BadRequest{400, fields.error().text()};
  return Request{
      .head = {.method = head_->method, .target = head_->target, .fields = std::move(*fields)},
      .body = std::move(body_)};
}

std::string write_request(const Request& request) {
  const RequestHead& head = request.head;
  std::string text = head.method + " " + head.target + " HTTP/1.1" + std::string(kLineEnd);
  for (const auto& [name, value] : head.fields) {
    text.append(name).append(": ").append(value).append(kLineEnd);
  }
  if (head.method != "GET" || !request.body.empty()) {
    text.append("content-length: ").append(std::to_string(request.body.size())).append(kLineEnd);
  }
  return text.append(kLineEnd).append(request.body);
}

std::string write_reply(int status, std::string_view content_type, std::string_view body,
                        std::string_view allow) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " ";
  text.append(reason_phrase(status)).append("\r\nContent-Type: ").append(content_type);
  if (status == 405) text.append("\r\nAllow: ").append(allow);
  text.append("\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ");
  return text.append(std::to_string(body.size())).append(kHeadEnd).append(body);
}

}  // namespace istmo::control
