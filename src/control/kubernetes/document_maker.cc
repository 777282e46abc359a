#include "control/kubernetes/document_maker.h"

#include <string>
#include <utility>

#include "base/log.h"
#include "control/kubernetes/document_objects.h"
#include "control/kubernetes/kube_kinds.h"

namespace istmo::control {

void DocumentMaker::make(const std::vector<Document>& documents, const ObjectOwner& owner) {
  for (const Document& document : documents) {
    const ObjectId id = id_of(document);
    if (!asked_.insert(id).second) continue;
    Value object = document_object(document);
    set_owner(object, owner);
    const std::string kind = text_at(object, "kind");
    calls_.call({.method = "POST",
                 .target = collection_path(*find_kube_kind(kind), calls_.namespace_name()),
                 .content_type = "application/json",
                 .body = std::move(object)},
                [this, id](const ApiReply& reply) { on_reply(id, reply); });
  }
}

// What failed stays in the state, and acts from there.
void DocumentMaker::on_reply(const ObjectId& id, const ApiReply& reply) {
  if (!timer_.is_armed()) loop_.timers().arm(timer_, loop_.now() + kTryAgain);
  if (reply.is_done()) {
    refused_.erase(id);
    LOG_INFO("document of a token made", "kind", id.kind, "name", id.name);
  } else if (refused_.insert(id).second) {
    LOG_WARNING("document of a token not made, trying again", "kind", id.kind, "name", id.name,
                "error", reply.message());
  }
}

void DocumentMaker::on_due() {
  if (calls_.is_waiting()) return loop_.timers().arm(timer_, loop_.now() + kTryAgain);
  asked_.clear();
  sink_.on_documents_due();
}

void DocumentMaker::stop() {
  loop_.timers().cancel(timer_);
  calls_.stop();
}

}  // namespace istmo::control
