#include "control/kubernetes/pod_table.h"

#include <algorithm>

namespace istmo::control {
namespace {

constexpr size_t kLeftMax = 10;

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
  const auto before = pods_.find(name);
  if (before != pods_.end() && before->second == known) return false;
  const bool was_there = remove(name);
  const size_t bytes = bytes_of(name, known);
  if (bytes > kBytesMax - bytes_) {
    if (left_.size() < kLeftMax) left_.insert(name);
    return was_there;
  }
  bytes_ += bytes;
  const auto at = pods_.emplace(name, std::move(known)).first;
  set_indexed(at->first, at->second.labels, true);
  return true;
}

// The index has each label once more.
size_t PodTable::bytes_of(const std::string& name, const Known& pod) {
  constexpr size_t kNodeBytes = 100;
  size_t bytes = kNodeBytes + name.size();
  for (const auto& [key, value] : pod.labels) bytes += 2 * (kNodeBytes + key.size() + value.size());
  return bytes;
}

std::string PodTable::shortfall() const {
  if (left_.empty()) return {};
  return "pods whose labels are too much are no backends, " + *left_.begin() +
         " among them, until they change";
}

bool PodTable::remove(const std::string& name) {
  left_.erase(name);
  const auto at = pods_.find(name);
  if (at == pods_.end()) return false;
  bytes_ -= bytes_of(at->first, at->second);
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
