// HTTP/1.0 and 1.1 messages (RFC 9112): llhttp behind a guard that is stricter than it.
//
// Sans-I/O: octets in, calls to a sink out, on whichever thread feeds it. The head is collected
// whole, bounded, and checked before llhttp sees it; bodies are passed on as they come, without
// their chunks. What is unusual is refused, never guessed (RFC 9112 2.2, 5.2, 6.1, 6.3, 11.2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct llhttp__internal_s;
struct llhttp_settings_s;

namespace istmo::codec {

struct Http1Field {
  std::string name;  // as it was written
  std::string value;
};

struct Http1Head {
  std::string method;  // requests
  std::string target;
  int status = 0;  // replies: 100 to 599
  uint8_t minor = 1;
  std::vector<Http1Field> fields;  // in order, doubled ones too

  // The first field of that name, in any case; nullptr: none.
  const std::string* find(std::string_view name) const;
};

// What is wrong with a message. `status`: what to answer, if it was a request.
struct Http1Error {
  int status = 400;
  std::string text;
};

// Calls come from inside feed() and end(). The parser must outlive them.
class Http1Sink {
 public:
  virtual void on_http_head(Http1Head&& head) = 0;
  virtual void on_http_body(std::string_view octets) = 0;
  virtual void on_http_end(std::vector<Http1Field>&& trailers) = 0;

 protected:
  ~Http1Sink() = default;
};

struct Http1Limits {
  size_t head_bytes_max = 64 * 1024;  // and of all trailers
  size_t fields_max = 128;            // and of trailers
  // Octets around those of a chunked body: so many, and a quarter of the body, and 32 a chunk.
  size_t chunk_overhead_max = 16 * 1024;
};

class Http1Parser {
 public:
  enum class Role : uint8_t { request, reply };

  Http1Parser(Role role, Http1Sink& sink, const Http1Limits& limits = {});
  ~Http1Parser();
  Http1Parser(const Http1Parser&) = delete;
  Http1Parser& operator=(const Http1Parser&) = delete;

  // How many octets were used: all, or those up to the end of a message. After an error nothing
  // more may be fed.
  std::expected<size_t, Http1Error> feed(std::string_view octets);
  // The other side has ended. An error, unless a message ends here or nothing began.
  std::expected<void, Http1Error> end();
  // The message is whole; the next feed() begins another one.
  bool is_whole() const { return state_ == State::whole; }

 private:
  enum class State : uint8_t { head, body, whole };

  std::expected<size_t, Http1Error> collect_head(std::string_view octets);
  std::expected<void, Http1Error> check_head_octets(size_t from) const;
  std::expected<size_t, Http1Error> execute(std::string_view octets);
  int refuse(int status, std::string_view text);
  int add_field();
  int finish_head();
  int finish_message();
  int add_to_field(std::string& part, std::string_view octets);
  int check_request();
  int check_framing();

  static Http1Parser& self(llhttp__internal_s* parser);
  static const llhttp_settings_s& settings();

  Http1Sink& sink_;
  const Http1Limits limits_;
  const Role role_;
  State state_ = State::head;
  bool is_chunked_ = false;
  bool has_head_ = false;  // of this message; what follows are trailers
  const std::unique_ptr<llhttp__internal_s> parser_;
  std::string collected_;  // of the head
  Http1Head head_;
  Http1Field field_;
  std::vector<Http1Field> trailers_;
  size_t field_bytes_ = 0;  // of the head, then of the trailers
  uint64_t chunks_ = 0;
  uint64_t body_bytes_ = 0;
  uint64_t coded_bytes_ = 0;  // of the body as it came
  Http1Error error_;
};

}  // namespace istmo::codec
