#include "control/kubernetes/pod_table.h"

#include <algorithm>

namespace istmo::control {
namespace {

bool is_ready(const Value* status) {
  const Value* conditions = status ? status->find("conditions") : nullptr;
  return conditions && std::ranges::any_of(conditions->items(), [](const Value& condition) {
           return text_at(condition, "type") == "Ready" && text_at(condition, "status") == "True";
         });
}

}  // namespace

PodTable::Known PodTable::read(const Value& pod) {
  const Value* metadata = pod.find("metadata");
  const Value* status = pod.find("status");
  const std::string& phase = text_at(pod, "status", "phase");
  const bool is_there = text_at(pod, "metadata", "deletionTimestamp").empty() &&
                        phase != "Succeeded" && phase != "Failed";
  Known known;
  if (!is_there) return known;
  known.ip = text_at(pod, "status", "podIP");
  known.is_ready = control::is_ready(status);
  if (const Value* labels = metadata ? metadata->find("labels") : nullptr) {
    for (const Value::Entry& label : labels->entries()) {
      known.labels[label.key] = label.value.text();
    }
  }
  return known;
}

bool PodTable::put(const Value& pod) {
  const std::string& name = text_at(pod, "metadata", "name");
  Known known = read(pod);
  if (known.ip.empty()) return remove(name);
  const auto [at, is_new] = pods_.try_emplace(name);
  if (!is_new && at->second == known) return false;
  set_indexed(at->first, at->second.labels, false);
  at->second = std::move(known);
  set_indexed(at->first, at->second.labels, true);
  return true;
}

bool PodTable::remove(const std::string& name) {
  const auto at = pods_.find(name);
  if (at == pods_.end()) return false;
  set_indexed(at->first, at->second.labels, false);
  pods_.erase(at);
  return true;
}

void PodTable::set_indexed(const std::string& name, const Labels& labels, bool is_indexed) {
  for (const auto& [key, value] : labels) {
    const auto at = by_label_.try_emplace(key + "=" + value).first;
    if (is_indexed) at->second.insert(name);
    else at->second.erase(name);
    if (at->second.empty()) by_label_.erase(at);
  }
}

PodTable::Names PodTable::candidates(const LabelSelector& selector) const {
  Names names;
  const std::vector<std::string> wanted = selector.labels_wanted();
  for (const std::string& label : wanted) {
    const auto found = by_label_.find(label);
    if (found != by_label_.end()) names.insert(found->second.begin(), found->second.end());
  }
  if (!wanted.empty()) return names;
  for (const auto& [name, pod] : pods_) names.insert(names.end(), name);
  return names;
}

std::vector<PodSelection::Pod> PodTable::select(const LabelSelector& selector,
                                                NotReadyPods not_ready) const {
  std::vector<PodSelection::Pod> selected;
  for (const std::string_view name : candidates(selector)) {
    const auto& [key, pod] = *pods_.find(std::string(name));
    if (!pod.is_ready && not_ready == NotReadyPods::left_out) continue;
    if (selector.selects(pod.labels)) selected.push_back({key, pod.ip});
  }
  return selected;
}

}  // namespace istmo::control
