// Makes the objects of documents that the site itself got (what a token gave), once: from then on
// they are the user's, to be changed and deleted as any other.
//
// Owned by the platform, on its loop's thread; borrows loop and server. Ends with stop(), then
// is_idle() on the loop.
#pragma once

#include <map>
#include <vector>

#include "control/desired.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/object_owner.h"

namespace istmo::control {

class DocumentMaker {
 public:
  static constexpr Duration kTryAgain = Duration::seconds(10);

  DocumentMaker(io::Loop& loop, ApiServer& server) : loop_(loop), calls_(loop, server, 1) {}

  // Those that are not being made already, in this order. Asked again and again until the watch of
  // documents has them.
  void make(const std::vector<Document>& documents, const ObjectOwner& owner);
  void stop() { calls_.stop(); }
  bool is_idle() const { return calls_.is_idle(); }

 private:
  void on_reply(const ObjectId& id, const ApiReply& reply);

  io::Loop& loop_;
  ApiCalls calls_;
  std::map<ObjectId, Instant> asked_;  // by document; not again before
};

}  // namespace istmo::control
