#include "control/http_message.h"

#include <algorithm>
#include <charconv>

namespace istmo::control {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

// RFC 9110 5.6.2
bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.contains(c);
  });
}

bool is_visible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_field_value(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto octet = static_cast<uint8_t>(c);
    return octet == '\t' || (octet >= ' ' && octet != 0x7f);
  });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view take_line(std::string_view& rest) {
  const size_t end = std::min(rest.find(kLineEnd), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + kLineEnd.size(), rest.size()));
  return line;
}

// RFC 9112 5: no blank before the colon, no folded lines.
Result<std::map<std::string, std::string>> read_fields(std::string_view lines) {
  std::map<std::string, std::string> fields;
  while (!lines.empty()) {
    const std::string_view line = take_line(lines);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
      return Error::protocol("header line is malformed");
    }
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_field_value(value)) return Error::protocol("header value has a control character");
    const auto [at, is_new] = fields.emplace(lower_case(line.substr(0, colon)), value);
    if (!is_new) return Error::protocol("header " + at->first + " is doubled");
  }
  return fields;
}

Result<size_t> read_number(std::string_view text, int base) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return Error::protocol("'" + std::string(text) + "' is no length");
  }
  return number;
}

Result<RequestHead> read_request_head(std::string_view head) {
  const std::string_view line = take_line(head);
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return Error::protocol("request line is malformed");
  }
  RequestHead request{.method = std::string(line.substr(0, first)),
                      .target = std::string(line.substr(first + 1, last - first - 1)),
                      .fields = {}};
  const std::string_view version = line.substr(last + 1);
  if (!is_token(request.method) || !request.target.starts_with('/') ||
      !is_visible(request.target) || (version != "HTTP/1.1" && version != "HTTP/1.0")) {
    return Error::protocol("request line is malformed");
  }
  request.fields = TRY(read_fields(head));
  if (version == "HTTP/1.1" && !request.fields.contains("host")) {
    return Error::protocol("header host is missing");
  }
  return request;
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

struct ReplyHead {
  int status = 0;
  std::map<std::string, std::string> fields;
};

Result<ReplyHead> read_reply_head(std::string_view head) {
  const std::string_view line = take_line(head);
  if (!line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.0 ")) {
    return Error::protocol("the server does not speak HTTP/1.1");
  }
  const auto status = read_number(line.substr(9, 3), 10);
  if (!status || *status < 100 || *status > 599 || (line.size() > 12 && line[12] != ' ')) {
    return Error::protocol("status line is malformed");
  }
  return ReplyHead{.status = static_cast<int>(*status), .fields = TRY(read_fields(head))};
}

// RFC 9112 7.1. nullopt: more must come.
Result<std::optional<std::string>> read_chunked(std::string_view rest) {
  std::string body;
  while (true) {
    if (rest.find(kLineEnd) == std::string_view::npos) return std::nullopt;
    std::string_view line = take_line(rest);
    line = trimmed(line.substr(0, line.find(';')));
    const size_t size = TRY(read_number(line, 16));
    if (size > rest.size()) return std::nullopt;
    if (size == 0) {  // trailers, then an empty line
      if (rest.starts_with(kLineEnd) || rest.contains(kHeadEnd)) return body;
      return std::nullopt;
    }
    if (rest.size() < size + kLineEnd.size()) return std::nullopt;
    if (rest.substr(size, kLineEnd.size()) != kLineEnd) {
      return Error::protocol("chunk is malformed");
    }
    body.append(rest.substr(0, size));
    rest.remove_prefix(size + kLineEnd.size());
  }
}

Result<std::optional<std::string>> read_reply_body(const ReplyHead& head, std::string_view rest,
                                                   InputEnd end, size_t bytes_max) {
  const auto coding = head.fields.find("transfer-encoding");
  const auto length = head.fields.find("content-length");
  if (coding != head.fields.end()) {
    if (length != head.fields.end() || lower_case(coding->second) != "chunked") {
      return Error::protocol("reply has a transfer coding that is not understood");
    }
    return read_chunked(rest);
  }
  if (length != head.fields.end()) {
    const size_t size = TRY(read_number(length->second, 10));
    if (size > bytes_max) return Error::limit("reply is too long");
    if (rest.size() < size) return std::nullopt;
    return std::string(rest.substr(0, size));
  }
  if (end == InputEnd::open) return std::nullopt;
  return std::string(rest);
}

}  // namespace

std::variant<NeedMore, BadRequest, Request> read_request(std::string_view received) {
  const size_t head_size = received.find(kHeadEnd);
  if (std::min(head_size, received.size()) > kRequestHeadBytesMax) {
    return BadRequest{431, "request head is longer than 8 KiB"};
  }
  if (head_size == std::string_view::npos) return NeedMore{};
  auto head = read_request_head(received.substr(0, head_size));
  if (!head) return BadRequest{400, head.error().text()};
  // Whatever else is wrong with it: only POST means something here.
  if (head->method != "POST") return BadRequest{405, "only POST is supported"};
  if (head->fields.contains("transfer-encoding")) {
    return BadRequest{411, "transfer codings are not supported, send Content-Length"};
  }
  const auto length = head->fields.find("content-length");
  if (length == head->fields.end()) return BadRequest{411, "Content-Length is missing"};
  const auto size = read_number(length->second, 10);
  if (!size) return BadRequest{400, "Content-Length: " + size.error().text()};
  if (*size > kRequestBodyBytesMax) return BadRequest{413, "request body is longer than 1 KiB"};
  const std::string_view body = received.substr(head_size + kHeadEnd.size());
  if (body.size() < *size) return NeedMore{};
  if (body.size() > *size) return BadRequest{400, "octets after the request"};
  return Request{.head = std::move(*head), .body = std::string(body)};
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
  const size_t head_size = received.find(kHeadEnd);
  std::optional<Reply> reply;
  if (head_size != std::string_view::npos) {
    const ReplyHead head = TRY(read_reply_head(received.substr(0, head_size)));
    const std::string_view rest = received.substr(head_size + kHeadEnd.size());
    auto body = TRY(read_reply_body(head, rest, end, bytes_max));
    if (body) reply = Reply{.status = head.status, .body = std::move(*body)};
  }
  if (!reply && end == InputEnd::ended) return Error::protocol("the reply was cut off");
  return reply;
}

std::string write_reply(int status, std::string_view content_type, std::string_view body) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " ";
  text.append(reason_phrase(status)).append("\r\nContent-Type: ").append(content_type);
  if (status == 405) text += "\r\nAllow: POST";
  text.append("\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ");
  return text.append(std::to_string(body.size())).append(kHeadEnd).append(body);
}

}  // namespace istmo::control
