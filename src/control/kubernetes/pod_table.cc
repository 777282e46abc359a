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
  at->second = std::move(known);
  return true;
}

bool PodTable::remove(const std::string& name) { return pods_.erase(name) > 0; }

std::vector<PodSelection::Pod> PodTable::select(const LabelSelector& selector,
                                                NotReadyPods not_ready) const {
  std::vector<PodSelection::Pod> selected;
  for (const auto& [name, pod] : pods_) {
    if (!pod.is_ready && not_ready == NotReadyPods::left_out) continue;
    if (selector.selects(pod.labels)) selected.push_back({name, pod.ip});
  }
  return selected;
}

}  // namespace istmo::control
