#include "dataplane/codec/http1_parser.h"

#include <llhttp.h>

#include <algorithm>
#include <utility>

namespace istmo::codec {
namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr uint64_t kOverheadPerChunk = 32;  // a length of 16 digits, a short extension, line ends

std::unexpected<Http1Error> refusal(int status, std::string_view text) {
  return std::unexpected(Http1Error{.status = status, .text = std::string(text)});
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_in_any_case(std::string_view one, std::string_view other) {
  return std::ranges::equal(one, other, {}, lower, lower);
}

}  // namespace

const std::string* Http1Head::find(std::string_view name) const {
  const auto found = std::ranges::find_if(
      fields, [&](const Http1Field& field) { return equals_in_any_case(field.name, name); });
  return found == fields.end() ? nullptr : &found->value;
}

Http1Parser::Http1Parser(Role role, Http1Sink& sink, const Http1Limits& limits)
    : sink_(sink), limits_(limits), role_(role), parser_(std::make_unique<llhttp_t>()) {
  llhttp_init(parser_.get(), role == Role::request ? HTTP_REQUEST : HTTP_RESPONSE, &settings());
  parser_->data = this;
}

Http1Parser::~Http1Parser() = default;

Http1Parser& Http1Parser::self(llhttp_t* parser) {
  return *static_cast<Http1Parser*>(parser->data);
}

std::expected<size_t, Http1Error> Http1Parser::feed(std::string_view octets) {
  if (state_ == State::whole) state_ = State::head;
  size_t used = 0;
  while (used < octets.size() && state_ != State::whole) {
    const std::string_view rest = octets.substr(used);
    auto count = state_ == State::head ? collect_head(rest) : execute(rest);
    if (!count) return count;
    used += *count;
  }
  return used;
}

std::expected<void, Http1Error> Http1Parser::end() {
  if (state_ == State::whole || (state_ == State::head && collected_.empty())) return {};
  if (state_ == State::head) return refusal(400, "the message was cut off in its head");
  const llhttp_errno_t result = llhttp_finish(parser_.get());
  if (result != HPE_OK && result != HPE_PAUSED) {
    return refusal(400, "the message was cut off in its body");
  }
  return {};
}

// --- head ----------------------------------------------------------------------------------------

std::expected<size_t, Http1Error> Http1Parser::collect_head(std::string_view octets) {
  const size_t before = collected_.size();
  collected_.append(octets.substr(0, limits_.head_bytes_max + 1 - before));
  const size_t end = collected_.find(kHeadEnd, before < 3 ? 0 : before - 3);
  if (end != std::string::npos) collected_.resize(end + kHeadEnd.size());
  if (auto checked = check_head_octets(before); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (collected_.size() > limits_.head_bytes_max) {
    return refusal(431, "the head of the message is longer than " +
                            std::to_string(limits_.head_bytes_max) + " octets");
  }
  const size_t used = collected_.size() - before;
  if (end == std::string::npos) return used;
  state_ = State::body;
  const std::string head = std::move(collected_);
  collected_.clear();
  auto executed = execute(head);
  if (!executed) return executed;
  return used;
}

// What llhttp would let pass: line ends that are not CR LF, folded lines, fields without a name.
std::expected<void, Http1Error> Http1Parser::check_head_octets(size_t from) const {
  if (collected_.front() == '\r' || collected_.front() == '\n') {
    return refusal(400, "the message begins with an empty line");
  }
  for (size_t i = from; i < collected_.size(); ++i) {
    const char c = collected_[i];
    const char previous = i > 0 ? collected_[i - 1] : '\0';
    if ((c == '\n') != (previous == '\r')) return refusal(400, "a line does not end in CR LF");
    if (previous != '\n') continue;
    if (c == ' ' || c == '\t') return refusal(400, "a header line is folded");
    if (c == ':') return refusal(400, "a header line has no name");
  }
  return {};
}

int Http1Parser::refuse(int status, std::string_view text) {
  error_ = {.status = status, .text = std::string(text)};
  return HPE_USER;
}

int Http1Parser::add_to_field(std::string& part, std::string_view octets) {
  field_bytes_ += octets.size();
  if (field_bytes_ > limits_.head_bytes_max) return refuse(431, "the trailers are too long");
  part.append(octets);
  return 0;
}

int Http1Parser::add_field() {
  std::vector<Http1Field>& fields = has_head_ ? trailers_ : head_.fields;
  if (fields.size() == limits_.fields_max) {
    return refuse(431, "more than " + std::to_string(limits_.fields_max) + " header lines");
  }
  fields.push_back(std::exchange(field_, {}));
  return 0;
}

int Http1Parser::finish_head() {
  head_.minor = parser_->http_minor;
  if (parser_->http_major != 1 || parser_->http_minor > 1) {
    return refuse(role_ == Role::request ? 505 : 400, "the version of HTTP is not 1.0 or 1.1");
  }
  head_.status = parser_->status_code;
  if (role_ == Role::reply && (head_.status < 100 || head_.status > 599)) {
    return refuse(400, "the status is not from 100 to 599");
  }
  if (role_ == Role::request) {
    head_.method = llhttp_method_name(static_cast<llhttp_method_t>(parser_->method));
    if (const int refused = check_request()) return refused;
  }
  if (const int refused = check_framing()) return refused;
  has_head_ = true;
  chunks_ = body_bytes_ = coded_bytes_ = field_bytes_ = 0;
  sink_.on_http_head(std::exchange(head_, {}));
  return 0;
}

// RFC 9112 3.2.
int Http1Parser::check_request() {
  const bool is_visible =
      std::ranges::all_of(head_.target, [](char c) { return c > ' ' && c < 0x7f && c != '#'; });
  if (!is_visible) return refuse(400, "the target of the request is malformed");
  const auto hosts = std::ranges::count_if(
      head_.fields, [](const Http1Field& field) { return equals_in_any_case(field.name, "host"); });
  if (hosts > 1) return refuse(400, "header host is doubled");
  if (hosts == 0 && head_.minor == 1) return refuse(400, "header host is missing");
  return 0;
}

// RFC 9112 6.1: a coding of an HTTP/1.0 message, another coding than chunked, or both a coding and
// a length are how requests are smuggled.
int Http1Parser::check_framing() {
  const std::string* coding = head_.find("transfer-encoding");
  is_chunked_ = coding != nullptr;
  if (!coding) return 0;
  if (head_.minor == 0) return refuse(400, "a transfer coding in HTTP/1.0");
  if (!equals_in_any_case(*coding, "chunked")) return refuse(501, "the only coding is chunked");
  if (head_.find("content-length")) return refuse(400, "both a transfer coding and a length");
  return 0;
}

int Http1Parser::finish_message() {
  state_ = State::whole;
  has_head_ = false;
  field_bytes_ = 0;
  sink_.on_http_end(std::exchange(trailers_, {}));
  return HPE_PAUSED;
}

// --- llhttp --------------------------------------------------------------------------------------

std::expected<size_t, Http1Error> Http1Parser::execute(std::string_view octets) {
  const bool was_body = has_head_;
  const llhttp_errno_t result = llhttp_execute(parser_.get(), octets.data(), octets.size());
  if (result == HPE_OK || (result == HPE_PAUSED && state_ == State::whole)) {
    size_t used = octets.size();
    if (result == HPE_PAUSED) {
      used = static_cast<size_t>(llhttp_get_error_pos(parser_.get()) - octets.data());
      llhttp_resume(parser_.get());
    }
    if (was_body && is_chunked_) coded_bytes_ += used;
    const uint64_t around = limits_.chunk_overhead_max + chunks_ * kOverheadPerChunk;
    if (coded_bytes_ > body_bytes_ + body_bytes_ / 4 + around) {
      return refusal(400, "too many octets around the chunks of the body");
    }
    return used;
  }
  if (!error_.text.empty()) return std::unexpected(error_);
  const char* reason = llhttp_get_error_reason(parser_.get());
  return refusal(result == HPE_INVALID_METHOD ? 501 : 400, reason ? reason : "malformed");
}

const llhttp_settings_t& Http1Parser::settings() {
  static const llhttp_settings_t shared = [] {
    llhttp_settings_t made;
    llhttp_settings_init(&made);
    made.on_url = [](llhttp_t* parser, const char* at, size_t size) {
      self(parser).head_.target.append(at, size);
      return 0;
    };
    made.on_header_field = [](llhttp_t* parser, const char* at, size_t size) {
      return self(parser).add_to_field(self(parser).field_.name, {at, size});
    };
    made.on_header_value = [](llhttp_t* parser, const char* at, size_t size) {
      return self(parser).add_to_field(self(parser).field_.value, {at, size});
    };
    made.on_header_value_complete = [](llhttp_t* parser) { return self(parser).add_field(); };
    made.on_headers_complete = [](llhttp_t* parser) { return self(parser).finish_head(); };
    made.on_chunk_header = [](llhttp_t* parser) {
      ++self(parser).chunks_;
      return 0;
    };
    made.on_body = [](llhttp_t* parser, const char* at, size_t size) {
      Http1Parser& parsed = self(parser);
      parsed.body_bytes_ += size;
      parsed.sink_.on_http_body({at, size});
      return 0;
    };
    made.on_message_complete = [](llhttp_t* parser) { return self(parser).finish_message(); };
    return made;
  }();
  return shared;
}

}  // namespace istmo::codec
