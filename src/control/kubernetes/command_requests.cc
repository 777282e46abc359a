#include "control/kubernetes/command_requests.h"

#include <utility>

#include "base/log.h"
#include "control/json.h"
#include "control/kubernetes/api_json.h"
#include "control/kubernetes/kube_kinds.h"

namespace istmo::control {
namespace {

constexpr size_t kRequestBytesMax = 4096;

std::string answer_text(const AdminAnswer& answer) {
  Value text = Value::map();
  Value items = Value::list();
  size_t bytes = 0;
  uint64_t left_out = 0;
  for (const Value& item : answer.items) {
    bytes += write_json(item, JsonStyle::compact).size();
    if (bytes > kRequestAnswerBytesMax) ++left_out;
    else items.add(item);
  }
  text.set("items", std::move(items));
  text.set("leftOut", left_out);
  text.set("error", answer.error);
  return write_json(text, JsonStyle::compact);
}

}  // namespace

std::optional<Value> CommandRequests::take(const std::string& name, const Value& config_map) {
  if (text_at(config_map, "metadata", "labels", kRequestLabel) != "true") return std::nullopt;
  if (calls_.waiting() >= kRequestAnswersMax) return std::nullopt;
  const std::string& text = text_at(config_map, "data", kRequestKey);
  if (text.size() > kRequestBytesMax || !taken_.insert(name).second) return std::nullopt;
  auto request = read_api_json(text);
  if (!request || !request->is_map()) return std::nullopt;
  return request;
}

void CommandRequests::answer(const std::string& name, const std::string& replica,
                             const AdminAnswer& answer) {
  Value data = Value::map();
  data.set(kAnswerKeyPrefix + replica, answer_text(answer));
  Value patch = Value::map();
  patch.set("data", std::move(data));
  calls_.call({.method = "PATCH",
               .target = object_path({"ConfigMap", name}, calls_.namespace_name()),
               .content_type = "application/merge-patch+json",
               .body = std::move(patch)},
              [name](const ApiReply& reply) {
                if (reply.is_done()) return;
                LOG_WARNING("a command is not answered", "object", name, "error", reply.message());
              });
}

std::map<std::string, Value> answers_in(const Value& config_map) {
  std::map<std::string, Value> answers;
  for (const Value::Entry& entry : value_at(config_map, {"data"}).entries()) {
    if (!entry.key.starts_with(kAnswerKeyPrefix)) continue;
    auto answer = read_api_json(entry.value.text());
    if (answer && answer->is_map()) {
      answers.emplace(entry.key.substr(std::string_view(kAnswerKeyPrefix).size()),
                      std::move(*answer));
    }
  }
  return answers;
}

}  // namespace istmo::control
