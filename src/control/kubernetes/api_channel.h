// A connection to the API server for one request after the other, kept while both sides like.
//
// Owned by who asks, on its loop's thread; borrows loop, server and sink. One request at a time:
// a watch has a channel of its own. Ends with cancel(), then is_closed() on the loop.
//
//   idle -> connecting -> handshaking -> asking -> idle (kept) ...
//                 any failure: -> closing -> idle, and the sink is told
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/kubernetes/api_server.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

struct ApiRequest {
  std::string method = "GET";
  std::string target;        // path and query, as the API has it
  std::string content_type;  // of `body`; empty: there is none
  std::string body;
  bool is_watch = false;  // 200 is told line by line
};

// Calls come from the loop, none from inside a call to the channel. Each may ask again.
class ApiChannelSink {
 public:
  // A line of a watch.
  virtual void on_api_line(std::string_view line) = 0;
  // The whole reply; of a watch that was told in lines, its end: the body is empty.
  virtual void on_api_reply(int status, std::string body) = 0;
  // No reply, or a part of one.
  virtual void on_api_failed(const Error& error) = 0;

 protected:
  ~ApiChannelSink() = default;
};

class ApiChannel {
 public:
  static constexpr Duration kConnectTime = Duration::seconds(5);  // per address, with its handshake
  static constexpr Duration kReplyTime = Duration::seconds(30);   // for a whole reply
  // Between two octets of a watch: the server sends a bookmark about every minute.
  static constexpr Duration kWatchSilence = Duration::seconds(180);
  static constexpr Duration kKeptTime = Duration::seconds(20);  // without a request
  static constexpr size_t kBodyBytesMax = 32 * 1024 * 1024;
  static constexpr size_t kLineBytesMax = 4 * 1024 * 1024;  // etcd's objects are smaller

  ApiChannel(io::Loop& loop, ApiServer& server, ApiChannelSink& sink);
  ~ApiChannel();

  // is_free().
  void ask(ApiRequest request);
  // Drops the request and the connection; the sink hears nothing more.
  void cancel();
  bool is_free() const;    // no request is under way
  bool is_closed() const;  // nothing is left in the loop: may be destroyed

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace istmo::control
