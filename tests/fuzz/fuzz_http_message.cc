// Any octets as what the two sides of a redemption may say: the client its request, the server its
// reply, and whoever made the token its URL; and as what somebody asks the health server.
//
// The input: an octet that chooses one of the four, two octets that say where the text is cut,
// then the text. Checked: no crash, what is cut is read like what is not, limits hold, and what
// was read can be written and is read alike: nobody smuggles a line into what we write.
#include <algorithm>
#include <string>
#include <string_view>
#include <variant>

#include "base/assert.h"
#include "base/bytes.h"
#include "control/access_documents.h"
#include "control/http_message.h"

using namespace istmo;
using namespace istmo::control;

namespace {

bool is_same(const Request& one, const Request& other) {
  return one.head.method == other.head.method && one.head.target == other.head.target &&
         one.head.fields == other.head.fields && one.body == other.body;
}

RequestVerdict read_request(std::string_view text) { return RequestReader().feed(text); }

// Read and written, and read again.
void check_written(const Request& request) {
  Request copy = request;
  copy.head.fields.erase("content-length");
  copy.head.fields.emplace("host", "west");  // HTTP/1.0 needs none, what we write does
  const std::string text = write_request(copy);
  if (text.size() > kRequestHeadBytesMax) return;
  copy.head.fields["content-length"] = std::to_string(copy.body.size());
  const auto again = read_request(text);
  ASSERT(std::holds_alternative<Request>(again) && is_same(std::get<Request>(again), copy));
}

void check_request(std::string_view text, size_t cut) {
  const auto whole = read_request(text);
  RequestReader reader;
  auto verdict = reader.feed(text.substr(0, cut));
  const bool is_early = !std::holds_alternative<NeedMore>(verdict);
  if (!is_early) verdict = reader.feed(text.substr(cut));
  if (const auto* bad = std::get_if<BadRequest>(&verdict)) {
    ASSERT(bad->status >= 400 && bad->status < 600 && std::holds_alternative<BadRequest>(whole));
    ASSERT(bad->status == std::get<BadRequest>(whole).status);
  }
  const auto* request = std::get_if<Request>(&verdict);
  if (!request) return;
  // What follows a request is an error, as there is one a connection.
  if (is_early && cut < text.size()) ASSERT(std::holds_alternative<BadRequest>(whole));
  else ASSERT(is_same(*request, std::get<Request>(whole)));
  ASSERT(request->head.method == "POST" && request->head.target.starts_with('/'));
  ASSERT(std::ranges::all_of(request->head.target, [](char c) { return c > ' ' && c < 0x7f; }));
  ASSERT(request->body.size() <= kRequestBodyBytesMax);
  check_written(*request);
}

void check_page(std::string_view text, size_t cut) {
  const auto whole = RequestReader(RequestKind::page).feed(text);
  RequestReader reader(RequestKind::page);
  auto verdict = reader.feed(text.substr(0, cut));
  if (std::holds_alternative<NeedMore>(verdict)) {
    verdict = reader.feed(text.substr(cut));
    ASSERT(verdict.index() == whole.index());
  }
  const auto* request = std::get_if<Request>(&verdict);
  if (!request) return;
  ASSERT(request->head.method == "GET" || request->head.method == "HEAD");
  ASSERT(request->head.target.starts_with('/') && request->body.empty());
}

// All that a parser says of a text, and whether it takes it.
class Replies final : public codec::Http1Sink {
 public:
  Replies(std::string_view text, size_t cut) {
    codec::Http1Parser parser(codec::Http1Parser::Role::reply, *this);
    is_good = feed(parser, text.substr(0, cut)) && feed(parser, text.substr(cut));
    if (is_good) is_good = parser.end().has_value();
  }
  std::string told;
  size_t body_bytes = 0;
  bool is_good = false;

 private:
  static bool feed(codec::Http1Parser& parser, std::string_view text) {
    while (!text.empty()) {
      const auto used = parser.feed(text);
      if (!used) return false;
      ASSERT(*used > 0 && *used <= text.size());
      text.remove_prefix(*used);
    }
    return true;
  }
  void tell(const std::vector<codec::Http1Field>& fields) {
    ASSERT(fields.size() <= codec::Http1Limits().fields_max);
    for (const auto& field : fields) told += "[" + field.name + "=" + field.value + "]";
  }
  void on_http_head(codec::Http1Head&& head) override {
    ASSERT(head.status >= 100 && head.status <= 599);
    told += std::to_string(head.status);
    tell(head.fields);
  }
  void on_http_body(std::string_view octets) override {
    body_bytes += octets.size();
    told += octets;
  }
  void on_http_end(std::vector<codec::Http1Field>&& trailers) override {
    tell(trailers);
    told += "|";
  }
};

void check_reply(std::string_view text, size_t cut) {
  const Replies whole(text, 0);
  const Replies parts(text, cut);
  ASSERT(whole.is_good == parts.is_good && whole.body_bytes <= text.size());
  if (whole.is_good) ASSERT(whole.told == parts.told);
}

void check_url(std::string_view text) {
  const auto url = parse_https_url(text);
  if (!url) return;
  ASSERT(!url->host.empty() && url->port != 0);
  const auto request = read_request(
      write_request({.head = {"POST", url->path, {{"host", url->host}}}, .body = "code"}));
  if (const auto* bad = std::get_if<BadRequest>(&request)) return ASSERT(bad->status == 431);
  const Request& same = std::get<Request>(request);
  ASSERT(same.head.target == url->path && same.head.fields.at("host") == url->host);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kChoiceBytes = 3;
  if (size < kChoiceBytes) return 0;
  const std::string_view text = text_of(Bytes(data, size).subspan(kChoiceBytes));
  const size_t cut = load_big_endian<uint16_t>(data + 1) % (text.size() + 1);
  switch (data[0] % 4) {
    case 0: check_request(text, cut); break;
    case 1: check_reply(text, cut); break;
    case 2: check_url(text); break;
    case 3: check_page(text, cut); break;
  }
  return 0;
}
