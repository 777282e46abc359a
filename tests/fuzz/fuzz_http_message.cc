// Any octets as what the two sides of a redemption may say: the client its request, the server its
// reply, and whoever made the token its URL.
//
// The input: an octet that chooses one of the three, two octets that say where the text is cut,
// then the text. Checked: no crash, no verdict is taken back as more comes, limits hold, and what
// was read can be written and is read alike: nobody smuggles a line into what we write.
#include <algorithm>
#include <optional>
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

constexpr size_t kReplyBytesMax = 16 * 1024;

bool is_same(const Request& one, const Request& other) {
  return one.head.method == other.head.method && one.head.target == other.head.target &&
         one.head.fields == other.head.fields && one.body == other.body;
}

// The request, with the fields that write_request makes itself, is read back.
void check_written(const Request& request) {
  auto fields = request.head.fields;
  for (const char* own : {"host", "connection", "content-length"}) fields.erase(own);
  const std::string text = write_request("host", request.head.target, fields, request.body);
  if (text.size() > kRequestHeadBytesMax || fields.size() > 100) return;
  const auto again = read_request(text);
  ASSERT(std::holds_alternative<Request>(again));
  Request same = std::get<Request>(again);
  for (const char* own : {"host", "connection", "content-length"}) same.head.fields.erase(own);
  ASSERT(is_same(same, {.head = {"POST", request.head.target, fields}, .body = request.body}));
}

void check_request(std::string_view text, size_t cut) {
  const auto early = read_request(text.substr(0, cut));
  const auto late = read_request(text);
  if (const auto* bad = std::get_if<BadRequest>(&early)) {
    ASSERT(bad->status >= 400 && bad->status < 500 && std::holds_alternative<BadRequest>(late));
    ASSERT(bad->status == std::get<BadRequest>(late).status);
  }
  if (const auto* request = std::get_if<Request>(&early)) {
    // What follows a request is an error, as there is one a connection.
    if (cut == text.size()) ASSERT(is_same(*request, std::get<Request>(late)));
    else ASSERT(std::holds_alternative<BadRequest>(late));
  }
  const auto* request = std::get_if<Request>(&late);
  if (!request) return;
  ASSERT(request->head.method == "POST" && request->head.target.starts_with('/'));
  ASSERT(std::ranges::all_of(request->head.target, [](char c) { return c > ' ' && c < 0x7f; }));
  ASSERT(request->body.size() <= kRequestBodyBytesMax);
  check_written(*request);
}

void check_reply(std::string_view text, size_t cut) {
  const auto early = read_reply(text.substr(0, cut), InputEnd::open, kReplyBytesMax);
  const auto late = read_reply(text, InputEnd::open, kReplyBytesMax);
  const auto ended = read_reply(text, InputEnd::ended, kReplyBytesMax);
  if (!early) ASSERT(!late);
  if (!late) return ASSERT(!ended);
  if (early && *early) ASSERT(*late && (*late)->body == (*early)->body);
  if (*late) ASSERT(ended && *ended && (*ended)->body == (*late)->body);
  if (!ended) return;
  const Reply& reply = ended->value();  // what has ended waits for nothing
  ASSERT(reply.status >= 100 && reply.status <= 599 && reply.body.size() < text.size());
  const std::string written = write_reply(reply.status, "text/plain", reply.body);
  const auto again = read_reply(written, InputEnd::open, written.size());
  ASSERT(again && *again && (*again)->status == reply.status && (*again)->body == reply.body);
}

void check_url(std::string_view text) {
  const auto url = parse_https_url(text);
  if (!url) return;
  ASSERT(!url->host.empty() && url->port != 0);
  const auto request = read_request(write_request(url->host, url->path, {}, "code"));
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
  switch (data[0] % 3) {
    case 0: check_request(text, cut); break;
    case 1: check_reply(text, cut); break;
    case 2: check_url(text); break;
  }
  return 0;
}
