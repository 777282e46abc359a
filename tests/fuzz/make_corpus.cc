// Writes the seed corpora of all targets but `documents` and `api_objects`, whose seeds are written
// by hand, most of it with our own encoders:
// make_corpus FOLDER.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "control/http_message.h"
#include "control/mesh.h"
#include "dataplane/codec/amqp_frame.h"
#include "dataplane/codec/amqp_message.h"
#include "dataplane/codec/link_mux.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

class Corpus {
 public:
  Corpus(const std::filesystem::path& folder, const char* target) : folder_(folder / target) {
    std::filesystem::create_directories(folder_);
  }
  void add(const std::string& name, const std::string& text) {
    add(name, std::vector<uint8_t>(text.begin(), text.end()));
  }
  void add(const std::string& name, const std::vector<uint8_t>& bytes) {
    std::ofstream out(folder_ / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
  }

 private:
  std::filesystem::path folder_;
};

template <class Performative>
std::vector<uint8_t> frame_of(const Performative& performative, std::string_view payload = {}) {
  std::vector<uint8_t> frame;
  begin_frame(frame);
  AmqpWriter out(frame);
  encode(performative, out);
  out.raw(bytes_of(payload));
  end_frame(frame, Performative::kCode >= 0x40 ? FrameType::sasl : FrameType::amqp);
  return frame;
}

std::string message(std::string_view reply_to, std::string_view body) {
  std::vector<uint8_t> bytes;
  AmqpWriter out(bytes);
  StreamHead head{.to = "key", .correlation_id = "1"};
  head.application_properties = {{"method", "GET"}};
  head.fields = {{"host", "example"}};
  encode_head(head, {.to = "key", .reply_to = reply_to}, out);
  encode_data_section(static_cast<uint32_t>(body.size()), out);
  out.raw(bytes_of(body));
  return std::string(text_of(bytes));
}

Attach attach_of(LinkEndRole role, uint32_t handle, std::string_view name) {
  Attach attach{.name = name, .handle = handle, .role = role};
  attach.source.kind = attach.target.kind = Terminus::Kind::node;
  if (role == LinkEndRole::sender) {
    attach.target.address = "key";
    attach.initial_delivery_count = 0;
  } else {
    attach.source.is_dynamic = true;
    attach.byte_limit = 100'000;
  }
  return attach;
}

void make_types(const std::filesystem::path& folder) {
  Corpus corpus(folder, "amqp_types");
  std::vector<uint8_t> all;
  AmqpWriter out(all);
  const std::array<uint8_t, 16> sixteen{1, 2, 3};
  const std::array<std::string_view, 2> symbols{"a", "bc"};
  const auto one = [&](const char* name, auto&& write) {
    std::vector<uint8_t> bytes;
    AmqpWriter writer(bytes);
    write(writer);
    write(out);
    corpus.add(name, bytes);
  };
  one("null", [](AmqpWriter& w) { w.null(); });
  one("boolean", [](AmqpWriter& w) { w.boolean(true); });
  one("unsigned", [](AmqpWriter& w) { w.u8(1), w.u16(2), w.u32(0), w.u32(3), w.u32(70'000); });
  one("ulong", [](AmqpWriter& w) { w.u64(0), w.u64(9), w.u64(UINT64_MAX); });
  one("signed", [](AmqpWriter& w) { w.i8(-1), w.i16(-2), w.i32(-3), w.i32(-300), w.i64(-4); });
  one("floats", [](AmqpWriter& w) { w.f32(1), w.f64(2), w.decimal32(1), w.decimal64(2); });
  one("sixteen", [&](AmqpWriter& w) { w.uuid(sixteen), w.decimal128(sixteen); });
  one("text", [](AmqpWriter& w) { w.string("s"), w.symbol("y"), w.binary({}); });
  one("long-text", [](AmqpWriter& w) { w.string(std::string(300, 'x')); });
  one("times", [](AmqpWriter& w) { w.timestamp(-1), w.character('c'); });
  one("array", [&](AmqpWriter& w) { w.symbol_array(symbols); });
  one("described", [](AmqpWriter& w) { w.descriptor(0x75), w.binary({}); });
  one("compounds", [](AmqpWriter& w) {
    const auto map = w.begin_compound();
    w.symbol("k");
    const auto list = w.begin_compound();
    w.u32(1), w.null();
    w.end_list(list, 2);
    w.end_map(map, 2);
  });
  corpus.add("all", all);
}

void make_frames(const std::filesystem::path& folder) {
  Corpus corpus(folder, "amqp_frame");
  Open open{.container_id = "c", .hostname = "h", .offered_capabilities = {"a", "b"}};
  open.properties = {{"product", std::string_view("p")}, {"n", uint64_t{1}}};
  corpus.add("open", frame_of(open));
  corpus.add("begin", frame_of(Begin{.remote_channel = 0, .handle_max = 9}));
  corpus.add("attach-sender", frame_of(attach_of(LinkEndRole::sender, 0, "s")));
  corpus.add("attach-receiver", frame_of(attach_of(LinkEndRole::receiver, 1, "r")));
  Flow flow{.next_incoming_id = 1, .handle = 2, .delivery_count = 3, .link_credit = 4};
  flow.drain = flow.echo = true;
  flow.byte_limit = 5;
  corpus.add("flow", frame_of(flow));
  Transfer transfer{.handle = 0, .delivery_id = 1, .delivery_tag = Bytes(), .message_format = 0};
  corpus.add("transfer", frame_of(transfer, message("istmo.reply.1.1", "body")));
  transfer.aborted = true;
  transfer.state = {.kind = DeliveryState::Kind::rejected, .error = {"c", "d"}};
  corpus.add("transfer-aborted", frame_of(transfer));
  corpus.add("disposition",
             frame_of(Disposition{.first = 1,
                                  .last = 2,
                                  .settled = true,
                                  .state = {.kind = DeliveryState::Kind::accepted}}));
  corpus.add("detach", frame_of(Detach{.handle = 1, .closed = true, .error = {"c", "d"}}));
  corpus.add("end", frame_of(End{}));
  corpus.add("close", frame_of(Close{.error = {"c", "d"}}));
  corpus.add("mechanisms", frame_of(SaslMechanisms{.mechanisms = {"EXTERNAL", "PLAIN"}}));
  corpus.add("init", frame_of(SaslInit{.mechanism = "EXTERNAL", .initial_response = Bytes()}));
  corpus.add("outcome", frame_of(SaslOutcome{.code = 1}));
  const std::string whole = message("r", "data");
  corpus.add("message", whole);
}

// Pieces as fuzz_link_mux reads them: an action and the octets in groups of 8, padded by splitting.
class Script {
 public:
  explicit Script(uint8_t choice) : bytes_{choice} {}
  Script& feed(const std::vector<uint8_t>& frame, uint8_t last_action = 1) {
    size_t at = 0;
    // A rest of less than a group cannot be said by its length: it goes with the next piece.
    std::ranges::copy(frame, std::back_inserter(waiting_));
    while (waiting_.size() - at >= 8) {
      const size_t groups = std::min<size_t>((waiting_.size() - at) / 8, 30);
      const bool is_last = waiting_.size() - at - groups * 8 < 8;
      bytes_.push_back(static_cast<uint8_t>(groups << 3 | (is_last ? last_action : 0)));
      std::copy_n(waiting_.begin() + static_cast<ptrdiff_t>(at), groups * 8,
                  std::back_inserter(bytes_));
      at += groups * 8;
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(at));
    return *this;
  }
  Script& act(uint8_t action) {
    bytes_.push_back(action);
    return *this;
  }
  std::vector<uint8_t> end() {
    bytes_.push_back(0xff);
    std::ranges::copy(waiting_, std::back_inserter(bytes_));
    return bytes_;
  }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<uint8_t> waiting_;
};

void make_link_mux(const std::filesystem::path& folder) {
  Corpus corpus(folder, "link_mux");
  const auto sender = frame_of(attach_of(LinkEndRole::sender, 0, "s"));
  const auto receiver = frame_of(attach_of(LinkEndRole::receiver, 1, "r"));
  Flow credit{.next_incoming_id = 0, .incoming_window = 50, .handle = 1, .delivery_count = 0};
  credit.link_credit = 5;
  credit.byte_limit = 200'000;
  const auto heartbeat = std::vector<uint8_t>{0, 0, 0, 8, 2, 0, 0, 0};
  // The receiver attaches first: it is link 0 of the slab, so its address is known.
  const std::string head = message("istmo.reply.0.1", "hello");
  Transfer first{.handle = 0, .delivery_id = 0, .delivery_tag = Bytes(), .message_format = 0};
  Transfer more = first;
  more.more = true;
  for (uint8_t choice : {0, 1, 2, 3, 4, 10}) {
    const auto name = [&](const char* what) { return std::string(what) + std::to_string(choice); };
    const auto begun = [&] {
      Script script(choice);
      script.feed(receiver).feed(sender).feed(frame_of(credit)).feed(heartbeat);
      return script;
    };
    corpus.add(name("message-"),
               begun().feed(frame_of(first, head)).feed(heartbeat).act(3).act(4).act(1).end());
    corpus.add(name("abort-"), begun()
                                   .feed(frame_of(more, head))
                                   .feed(heartbeat)
                                   .feed(frame_of(Transfer{.handle = 0, .aborted = true}))
                                   .end());
    corpus.add(name("detach-"), begun()
                                    .feed(frame_of(more, head))
                                    .feed(heartbeat)
                                    .act(2)
                                    .feed(frame_of(Detach{.handle = 0, .closed = true}))
                                    .end());
    corpus.add(name("reset-"),
               begun().feed(frame_of(more, head)).feed(heartbeat).act(3).act(5).act(7).end());
    // Streams of the site under test, answered.
    Attach taken = attach_of(LinkEndRole::receiver, 0, choice & 1 ? "istmo.d.0.1" : "istmo.a.0.1");
    taken.source.is_dynamic = false;
    taken.target.address = "key";
    Attach reply = attach_of(LinkEndRole::sender, 1, choice & 1 ? "istmo.d.1.1" : "istmo.a.1.1");
    reply.source.address = "dynamic";
    reply.source.is_dynamic = true;
    credit.handle = 0;
    Transfer answer = first;
    answer.handle = 1;
    corpus.add(name("open-"), Script(choice)
                                  .act(1)
                                  .act(3)
                                  .feed(frame_of(taken))
                                  .feed(frame_of(reply))
                                  .feed(frame_of(credit))
                                  .feed(heartbeat)
                                  .act(1)
                                  .act(4)
                                  .feed(frame_of(answer, message("", "world")))
                                  .feed(heartbeat)
                                  .act(1)
                                  .end());
    credit.handle = 1;
  }
}

// The whole conversation, from the first protocol header.
void make_handshakes(const std::filesystem::path& folder) {
  Corpus corpus(folder, "link_mux");
  Script whole(0x80);
  const auto octets = [](std::string_view text) {
    return std::vector<uint8_t>(text.begin(), text.end());
  };
  whole.feed(octets(kSaslProtocolHeader)).feed(frame_of(SaslInit{.mechanism = "EXTERNAL"}));
  whole.feed(octets(kAmqpProtocolHeader)).feed(frame_of(Open{.container_id = "c"}));
  whole.feed(frame_of(Begin{.incoming_window = 5, .outgoing_window = 5}));
  corpus.add("handshake-acceptor", whole.feed(frame_of(Close{})).end());
  Script dialer(0x81);
  dialer.feed(octets(kSaslProtocolHeader));
  dialer.feed(frame_of(SaslMechanisms{.mechanisms = {"EXTERNAL"}})).feed(frame_of(SaslOutcome{}));
  dialer.feed(octets(kAmqpProtocolHeader)).feed(frame_of(Open{.container_id = "c"}));
  corpus.add("handshake-dialer", dialer.feed(frame_of(Begin{.remote_channel = 0})).end());
}

// --- TLS -------------------------------------------------------------------------------------

std::string number(size_t value, int octets) {
  std::string text;
  while (octets-- > 0) text += static_cast<char>(value >> 8 * octets);
  return text;
}

// A vector behind its length (RFC 8446 3.4).
std::string vector_of(const std::string& content, int octets) {
  return number(content.size(), octets) + content;
}

std::string hello_body(const std::string& extensions) {
  std::string body = number(0x0303, 2) + std::string(32, 'r') + vector_of("session", 1);
  body += vector_of(number(0x1301, 2), 2) + vector_of(number(0, 1), 1);
  return body + extensions;
}

void make_client_hello(const std::filesystem::path& folder) {
  Corpus corpus(folder, "client_hello");
  const std::string server_name = vector_of(number(0, 1) + vector_of("east.example", 2), 2);
  const std::string alpn = vector_of(vector_of("amqp", 1) + vector_of("istmo-3", 1), 2);
  const std::string whole =
      hello_body(vector_of(number(10, 2) + vector_of("groups", 2) + number(0, 2) +
                               vector_of(server_name, 2) + number(16, 2) + vector_of(alpn, 2),
                           2));
  const auto add = [&](const char* name, size_t cut, size_t record_bytes, const std::string& text) {
    corpus.add(name, number(cut, 2) + number(record_bytes, 1) + text);
  };
  const std::string message = number(1, 1) + vector_of(whole, 3);
  add("on-the-wire", 40, 0, number(0x160301, 3) + vector_of(message, 2) + "what follows");
  add("in-one-record", 40, 255, whole);
  add("in-records-of-20", 61, 20, whole);
  add("in-records-of-1", 700, 1, whole);
  add("without-extensions", 30, 255, hello_body(""));
  add("other-protocol", 3, 0, "GET / HTTP/1.1\r\n");
  add("alert", 3, 0, number(0x150301, 3) + vector_of(number(0x0228, 2), 2));
}

// Steps as fuzz_tls_records reads them.
class Records {
 public:
  enum Choice : uint8_t {
    raw = 1,
    inner = 2,
    stretched = 4,
    padded = 8,
    key_change = 16,
    data = 0 << 5,
    alert = 1 << 5,
    handshake = 2 << 5,
    unknown = 3 << 5,
  };
  explicit Records(uint8_t options) : text_(number(options, 1)) {}
  Records& add(int choice, const std::string& content, size_t cut = 100) {
    text_ += number(static_cast<size_t>(choice), 1) + vector_of(content, 2);
    text_.insert(text_.size() - content.size(), number(cut, 1));
    return *this;
  }
  Records& stretch(int choice, size_t size, size_t cut = 100) {
    text_ += number(static_cast<size_t>(choice | stretched), 1) + number(size, 2);
    text_ += number(cut, 1) + "x";
    return *this;
  }
  operator std::string() const { return text_; }

 private:
  std::string text_;
};

void make_tls_records(const std::filesystem::path& folder) {
  Corpus corpus(folder, "tls_records");
  const std::string key_update = number(24, 1) + vector_of(number(0, 1), 3);
  const std::string key_update_request = number(24, 1) + vector_of(number(1, 1), 3);
  const std::string ticket = number(4, 1) + vector_of(std::string(70, 't'), 3);
  for (size_t options = 0; options < 8; ++options) {
    const auto begun = [&] {
      Records records(static_cast<uint8_t>(options));
      records.add(Records::data, "first").add(Records::data | Records::padded, "padded", 4);
      return records.add(Records::data, "", 255);
    };
    const auto name = [&](const char* what) { return what + std::to_string(options); };
    corpus.add(name("end-"), begun()
                                 .add(Records::alert, number(0x015a, 2))
                                 .add(Records::alert, number(0x0100, 2))
                                 .add(Records::raw, "what follows"));
    corpus.add(name("keys-"),
               begun()
                   .add(Records::handshake | Records::key_change, key_update)
                   .add(Records::handshake, key_update_request.substr(0, 3))
                   .add(Records::handshake | Records::key_change, key_update_request.substr(3))
                   .add(Records::data, "under the third key"));
    corpus.add(name("tickets-"), begun()
                                     .add(Records::handshake, ticket + ticket.substr(0, 30))
                                     .add(Records::handshake, ticket.substr(30))
                                     .add(Records::data, "data"));
  }
  Records updates(0), one_key(0);
  for (int i = 0; i < 40; ++i) {
    updates.add(Records::handshake | Records::key_change, key_update).add(Records::data, "x");
  }
  corpus.add("key-updates-too-many", updates);
  for (int i = 0; i < 30; ++i) one_key.add(Records::data, "x");
  corpus.add("one-key", one_key);
  corpus.add("one-key-then-alert", Records(one_key).add(Records::alert, number(0x0228, 2)));
  for (int i = 0; i < 20; ++i) one_key.add(Records::data, "x");
  corpus.add("one-key-too-long", one_key);
  corpus.add("padded-too-long", Records(0).stretch(Records::data | Records::padded, 16'200));
  corpus.add("large", Records(0)
                          .stretch(Records::data, 16'384, 1)
                          .stretch(Records::data | Records::padded, 2'000, 200)
                          .stretch(Records::data, 9'000));
  corpus.add("too-large", Records(0).stretch(Records::data, 16'385));
  corpus.add("much-too-large", Records(0).stretch(Records::data, 65'535));
  corpus.add("no-type", Records(0).add(Records::inner, std::string(40, '\0')));
  corpus.add("nothing", Records(0).add(Records::inner, ""));
  corpus.add("unknown-type", Records(0).add(Records::unknown, "x"));
  corpus.add("fatal-alert", Records(0).add(Records::alert, number(0x0228, 2)));
  corpus.add("not-protected", Records(0).add(Records::raw, number(0x1403030001, 5) + number(1, 1)));
  corpus.add("forged", Records(0).add(Records::raw, number(0x170303, 3) + vector_of(ticket, 2)));
  corpus.add("unfinished", Records(0).add(Records::data, "x").add(Records::raw, number(23, 1)));
}

// --- texts -----------------------------------------------------------------------------------

void make_http_message(const std::filesystem::path& folder) {
  using namespace istmo::control;
  Corpus corpus(folder, "http_message");
  const auto add = [&](const char* name, char what, size_t cut, const std::string& text) {
    corpus.add(name, std::string(1, what) + number(cut, 2) + text);
  };
  constexpr char kRequest = 0, kReply = 1, kUrl = 2, kPage = 3;
  const std::string request = write_request(
      {.head = {"POST", "/uid", {{"host", "a:9090"}, {"name", "t"}}}, .body = "code"});
  add("request", kRequest, 50, request);
  add("request-and-more", kRequest, static_cast<uint16_t>(request.size()), request + "x");
  add("request-get", kRequest, 9, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  add("request-chunked", kRequest, 60,
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  add("reply", kReply, 90, write_reply(200, "application/yaml", "kind: Link\n"));
  add("reply-chunked", kReply, 55,
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n"
      "0\r\nTrailer: x\r\n\r\n");
  add("reply-until-end", kReply, 30, "HTTP/1.0 404 Not Found\r\n\r\nNo such claim");
  add("url", kUrl, 0, "https://east.example:9090/5a1c");
  add("url-ipv6", kUrl, 0, "https://[2001:db8::1]:9090/5a1c");
  add("url-plain", kUrl, 0, "https://east.example");
  add("page", kPage, 20, "GET /healthz HTTP/1.1\r\nHost: a:9901\r\nUser-Agent: kube-probe\r\n\r\n");
  add("page-body", kPage, 30, "HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
}

void make_mesh(const std::filesystem::path& folder) {
  using namespace istmo::control;
  Corpus corpus(folder, "mesh");
  MeshSiteState state;
  state.site = {"00000000-0000-4000-8000-000000000002", "east", "leste", "linux", "0.1.0"};
  const std::string bare = write_mesh_message(state, {}, 1);
  state.services = {{"a", "tcp", {8080, 9090}, {"c1", "c2"}, {}}, {"b", "tcp", {}, {}, {"l"}}};
  state.links = {{"l1", "00000000-0000-4000-8000-000000000001", "west", true}};
  const std::string whole = write_mesh_message(state, {}, 2);
  corpus.add("bare", bare);
  corpus.add("whole", whole);
  const std::string zero(1, '\0');
  corpus.add("grows", bare + zero + whole);
  corpus.add("old-one-again", whole + zero + bare + zero + whole);
  const MeshTrust trust{.ca = "ca\n",
                        .request = "request",
                        .certificate = "certificate",
                        .certificate_request = "00ff"};
  corpus.add("trust", write_mesh_message(state, trust, 4));
  const auto further = [&](const char* name, std::vector<std::string> path, bool is_cut) {
    return MeshRoute{.site = {std::string("00000000-0000-4000-8000-00000000000") + name, name, "",
                              "linux", "0.1.0"},
                     .services = state.services,
                     .links = state.links,
                     .path = std::move(path),
                     .cost = 3,
                     .is_cut = is_cut};
  };
  MeshSiteState hub = state;
  hub.routes = {further("3", {}, false), further("4", {further("3", {}, false).site.id}, true),
                further("1", {}, false), further("5", {state.site.id}, false)};
  corpus.add("routes", write_mesh_message(hub, {}, 5));
  corpus.add("routes-go", write_mesh_message(hub, {}, 5) + zero + write_mesh_message(state, {}, 6));
  std::ranges::reverse(state.services);
  corpus.add("out-of-order", write_mesh_message(state, {}, 1));
  state.services.push_back(state.services.front());
  corpus.add("key-twice", write_mesh_message(state, {}, 1));
  corpus.add("later-version", "{\"later\":[null]," + bare.substr(1));
  state.site.id = "00000000-0000-4000-8000-000000000001";
  corpus.add("of-another-site", write_mesh_message(state, {}, 3));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: make_corpus FOLDER\n", stderr);
    return 2;
  }
  make_types(argv[1]);
  make_frames(argv[1]);
  make_link_mux(argv[1]);
  make_handshakes(argv[1]);
  make_client_hello(argv[1]);
  make_tls_records(argv[1]);
  make_http_message(argv[1]);
  make_mesh(argv[1]);
  return 0;
}
