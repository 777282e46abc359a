#include "control/kubernetes/event_writer.h"

#include <string>
#include <utility>

#include "base/log.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/kubernetes/object_keeper.h"
#include "control/kubernetes/site_manifest.h"
#include "control/pki.h"

namespace istmo::control {
namespace {

constexpr size_t kMessageBytesMax = 1000;  // the server takes 1,024

// Cut between characters of UTF-8.
std::string cut(std::string text) {
  if (text.size() <= kMessageBytesMax) return text;
  size_t end = kMessageBytesMax;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text + "...";
}

}  // namespace

Value event_object(const ObjectOwner& about, const SiteNews& news,
                   const std::string& namespace_name, const std::string& now) {
  Value event = Value::map();
  event.set("apiVersion", "v1");
  event.set("kind", "Event");
  Value& metadata = event.set("metadata", Value::map());
  metadata.set("generateName", std::string(kGatewayName) + "-");
  metadata.set("namespace", namespace_name);
  metadata.set("labels", Value::map()).set(kManagedByLabel, kManagedBy);
  Value& object = event.set("involvedObject", Value::map());
  object.set("apiVersion", about.api_version);
  object.set("kind", about.kind);
  object.set("name", about.name);
  object.set("namespace", namespace_name);
  object.set("uid", about.uid);
  event.set("type", news.is_warning ? "Warning" : "Normal");
  event.set("reason", news.reason);
  event.set("message", cut(news.text));
  event.set("source", Value::map()).set("component", kGatewayName);
  event.set("firstTimestamp", now);
  event.set("lastTimestamp", now);
  event.set("count", 1);
  return event;
}

void EventWriter::write(const ObjectOwner& about, const SiteNews& news) {
  const Instant now = loop_.now();
  if (rate_.due() > now || calls_.waiting() >= kEventsAtOnce) return;
  rate_.on_done(now);
  const std::string& namespace_name = calls_.namespace_name();
  calls_.call({.method = "POST",
               .target = collection_path(*find_kube_kind("Event"), namespace_name),
               .content_type = "application/json",
               .body = event_object(about, news, namespace_name, to_rfc3339(wall_now()))},
              [this](const ApiReply& reply) {
                if (reply.is_done() || reply.status == 0) return;
                if (std::exchange(is_refused_, true)) return;
                LOG_WARNING("Events are not written", "error", reply.message());
              });
}

}  // namespace istmo::control
