// An ObjectKeeper on connections of its own: asks when it is time and tells what came.
//
// Owned by the Kubernetes platform, on its loop's thread; borrows loop, server and keeper. Whoever
// tells the keeper something calls go_on() after it. Ends with stop(), then is_idle() on the loop.
#pragma once

#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/object_keeper.h"

namespace istmo::control {

// Called on the loop's thread, never from inside go_on().
class ObjectWriterSink {
 public:
  // The keeper's problems are others than before.
  virtual void on_problems_changed() = 0;

 protected:
  ~ObjectWriterSink() = default;
};

class ObjectWriter {
 public:
  ObjectWriter(io::Loop& loop, ApiServer& server, ObjectKeeper& keeper, ObjectWriterSink& sink)
      : loop_(loop),
        keeper_(keeper),
        sink_(sink),
        calls_(loop, server, ObjectKeeper::kInFlightMax) {}

  // At the end of this turn.
  void go_on() { loop_.defer(ask_); }
  // Nothing is asked for before resume(): what the keeper wants is not up to date.
  void pause() { is_paused_ = true; }
  void resume() {
    is_paused_ = false;
    go_on();
  }
  void stop();
  bool is_idle() const { return calls_.is_idle() && !timer_.is_armed(); }

 private:
  void ask();
  void on_reply(const ObjectId& id, const ApiReply& reply);

  io::Loop& loop_;
  ObjectKeeper& keeper_;
  ObjectWriterSink& sink_;
  bool is_paused_ = false;
  bool has_told_trouble_ = false;  // until it is over
  ApiCalls calls_;
  io::DeferredOf<ObjectWriter, &ObjectWriter::ask> ask_{*this};
  io::TimerOf<ObjectWriter, &ObjectWriter::go_on> timer_{*this};
};

}  // namespace istmo::control
