// Makes the objects of documents that the site itself got (what a token gave), once: from then on
// they are the user's, to be changed and deleted as any other.
//
// Owned by the platform, on its loop's thread; borrows loop, server and sink. Ends with stop(),
// then is_idle() on the loop.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "control/desired.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/object_owner.h"

namespace istmo::control {

class DocumentMakerSink {
 public:
  virtual void on_documents_due() = 0;  // what was not made may be asked for again

 protected:
  ~DocumentMakerSink() = default;
};

class DocumentMaker {
 public:
  static constexpr Duration kTryAgain = Duration::seconds(10);

  DocumentMaker(io::Loop& loop, ApiServer& server, DocumentMakerSink& sink)
      : loop_(loop), calls_(loop, server, 1), sink_(sink) {}

  // Of documents that are not there. Those that are being made, or failed a moment ago, are passed
  // over.
  void make(const std::vector<Document>& documents, const ObjectOwner& owner);
  void stop();
  bool is_idle() const { return calls_.is_idle() && !timer_.is_armed(); }

 private:
  void on_reply(const ObjectId& id, const ApiReply& reply);
  void on_due();

  io::Loop& loop_;
  ApiCalls calls_;
  DocumentMakerSink& sink_;
  std::set<ObjectId> asked_;    // until the timer: made and not seen yet, or failed
  std::set<ObjectId> refused_;  // told
  io::TimerOf<DocumentMaker, &DocumentMaker::on_due> timer_{*this};
};

}  // namespace istmo::control
