// A connection to an HTTPS server (HTTP/1.1) for one request after the other.
//
// Owned by who asks, on its loop's thread; borrows loop and sink. One request at a time: what is
// told in lines has a channel of its own. The places of a request are tried in turn until one
// completes a TLS handshake; then it is sent once. Ends with cancel(), then is_closed() on the
// loop.
//
//   idle -> connecting -> handshaking -> asking -> kept (or closing -> idle)
//             ^------------- next place                any failure: -> closing -> idle
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/http_message.h"
#include "dataplane/io/loop.h"
#include "dataplane/transport/tls_context.h"

namespace istmo::control {

struct HttpsPlace {
  io::Address address;
  std::string host;  // of the URL, without brackets; with the port it is the header Host
  std::string certificate_name;  // that the server's certificate must carry; empty: any
  std::string path;              // in front of the request's target, without '/' at the end
};

struct HttpsRequest {
  Request request;           // Host and Content-Length are added
  bool is_in_lines = false;  // a reply 200 is told line by line, as it comes
};

// Whether the server may have got the request.
enum class HttpsFailure : uint8_t { unsent, unanswered };

// Calls come from the loop, none from inside a call to the channel. Each may ask again.
class HttpsSink {
 public:
  virtual void on_https_line(std::string_view line) = 0;
  // The whole reply; of one that was told in lines, its end: the body is empty. Interim ones (1xx)
  // are passed over, redirects are replies like others.
  virtual void on_https_reply(int status, std::string body) = 0;
  // Unsent: the class is refused if at a place nobody listens, and the text tells of each place.
  virtual void on_https_failed(HttpsFailure failure, const Error& error) = 0;

 protected:
  ~HttpsSink() = default;
};

struct HttpsLimits {
  Duration connect_time = Duration::seconds(5);       // for a place, with its handshake
  Duration last_connect_time = Duration::seconds(5);  // for the last one
  Duration reply_time = Duration::seconds(30);        // for a whole reply, not told in lines
  Duration silence_time = Duration::seconds(180);     // between octets of one that is
  Duration kept_time = Duration::seconds(20);  // a connection without a request; zero: none is kept
  size_t body_bytes_max = 32 * 1024 * 1024;
  size_t line_bytes_max = 16 * 1024 * 1024;
};

class HttpsChannel {
 public:
  HttpsChannel(io::Loop& loop, HttpsSink& sink, const HttpsLimits& limits = {});
  ~HttpsChannel();

  // is_free(). A connection that was kept is used, wherever it leads. `tls` is that of a client,
  // and must live until the channel is free again.
  void ask(std::vector<HttpsPlace> places, const transport::TlsContext& tls, HttpsRequest request);
  // Drops the request and the connection; the sink hears nothing more.
  void cancel();
  bool is_free() const;    // no request is under way
  bool is_closed() const;  // nothing is left in the loop: may be destroyed

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace istmo::control
