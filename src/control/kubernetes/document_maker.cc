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
    const auto asked = asked_.find(id);
    if (asked != asked_.end() && asked->second > loop_.now()) continue;
    asked_[id] = loop_.now() + kTryAgain;
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
  constexpr int kConflict = 409;
  if (reply.is_done()) {
    LOG_INFO("document of a token made", "kind", id.kind, "name", id.name);
  } else if (reply.status != kConflict) {  // else an earlier try made it
    LOG_WARNING("document of a token not made, trying again", "kind", id.kind, "name", id.name,
                "error", reply.message());
  }
}

}  // namespace istmo::control
