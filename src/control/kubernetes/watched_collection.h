// A ListWatch on a channel of its own: asks when it is time, and reads what comes as JSON. Whoever
// watches derives from it beside being its sink, or owns one.
//
// On its loop's thread; borrows loop, server, sink and generator.
// Ends with stop(), then is_idle() on the loop.
#pragma once

#include <string>

#include "base/rng.h"
#include "control/kubernetes/api_server.h"
#include "control/kubernetes/list_watch.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

class WatchedCollection : private HttpsSink {
 public:
  WatchedCollection(io::Loop& loop, ApiServer& server, KubeCollection collection,
                    CollectionSink& sink, Rng& rng);
  virtual ~WatchedCollection() = default;

  void start() { go_on(); }
  void stop();
  bool is_idle() const { return channel_.is_closed() && !timer_.is_armed(); }
  bool is_synced() const { return machine_.is_synced(); }

 private:
  void on_https_line(std::string_view line) override;
  void on_https_reply(int status, std::string body) override;
  void on_https_failed(HttpsFailure failure, const Error& error) override;
  void go_on();
  void tell_missing_right(const std::string& text);

  io::Loop& loop_;
  ApiServer& server_;
  const std::string path_;
  ListWatch machine_;
  HttpsChannel channel_;
  ListWatch::Ask::Kind asked_ = ListWatch::Ask::Kind::list;
  bool is_stopped_ = false;
  io::TimerOf<WatchedCollection, &WatchedCollection::go_on> timer_{*this};
};

}  // namespace istmo::control
