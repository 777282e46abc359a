// Requests to an API server that have one answer: made at once, a few at a time, each on a
// connection that is kept for the next one.
//
// Owned by who asks, on its loop's thread; borrows loop and server. An answer is told once, from
// the loop, never from inside call(). Ends with stop(), then is_idle() on the loop; what waits then
// is dropped.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/https_channel.h"
#include "control/kubernetes/api_server.h"
#include "control/value.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

struct ApiRequest {
  std::string method;
  std::string target;  // path and query
  std::string content_type;
  Value body;  // null: none
};

struct ApiReply {
  int status = 0;     // 0: there is no answer; it may have been done
  Value body;         // null: it is no JSON
  std::string plain;  // then what it is
  std::string error;  // why there is no answer
  bool is_done() const { return status >= 200 && status < 300; }
  // For people: what the server says, or why it says nothing.
  std::string message() const;
};

class ApiCalls {
 public:
  static constexpr size_t kChannels = 4;
  using Done = std::move_only_function<void(ApiReply)>;

  ApiCalls(io::Loop& loop, ApiServer& server, size_t channels = kChannels);
  ~ApiCalls();

  void call(ApiRequest request, Done done);
  const std::string& namespace_name() const { return server_.access().namespace_name; }
  bool is_waiting() const;  // for an answer
  size_t waiting() const { return waiting_.size(); }
  void stop();
  bool is_idle() const;

 private:
  class Channel;
  struct Call {
    ApiRequest request;
    Done done;
  };
  void go_on();

  io::Loop& loop_;
  ApiServer& server_;
  std::deque<Call> waiting_;
  std::vector<std::unique_ptr<Channel>> channels_;
  io::DeferredOf<ApiCalls, &ApiCalls::go_on> go_on_{*this};
};

}  // namespace istmo::control
