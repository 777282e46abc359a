#include "control/document_store.h"

#include <algorithm>
#include <tuple>

namespace istmo::control {

bool DocumentStore::apply(const SourceState& source) {
  std::erase_if(files_, [&](const auto& file) { return !source.files.contains(file.first); });
  for (const auto& [path, file] : source.files) {
    if (!file.error.empty()) continue;  // what it said before is looked up in desired_
    const auto known = files_.find(path);
    if (known != files_.end() && known->second.text == file.text) continue;
    files_[path] = {file.text, parse_documents(file.text, path)};
  }
  const std::vector<Problem> problems_before = std::exchange(problems_, {});
  Desired merged = merge(source);
  std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.origin.file, a.origin.line) < std::tie(b.origin.file, b.origin.line);
  });
  const bool is_changed = merged != desired_ || problems_ != problems_before;
  desired_ = std::move(merged);
  find_unread(source);
  return is_changed;
}

Desired DocumentStore::merge(const SourceState& source) {
  Desired merged;
  doubled_.clear();
  for (const auto& [path, file] : source.files) {
    if (!file.error.empty()) {
      problems_.push_back({Severity::error, {path, 0, 0}, {}, "cannot be read: " + file.error});
      continue;
    }
    const ParsedDocuments& parsed = files_.at(path).parsed;
    problems_.insert(problems_.end(), parsed.problems.begin(), parsed.problems.end());
    for (const Document& document : parsed.documents) add(document, merged);
  }
  for (const auto& [name, secret] : source.secrets) add(secret, merged);
  for (const ObjectId& id : doubled_) {
    const auto first = merged.find(id);
    merged.erase(id);
    auto last = desired_.find(id);
    if (!last) continue;
    if (first) base_of(*last).origin = base_of(*first).origin;
    merged.put(std::move(*last));
  }
  keep_last_valid(source, merged);
  // A folder has no status of its own: that of the site says it.
  const ObjectId site = merged.site() ? id_of(*merged.site()) : ObjectId();
  for (const auto& [folder, why] : source.unread) {
    Problem& problem = problems_.emplace_back();
    problem.origin.file = folder;
    problem.object = site;
    problem.text = "cannot be read: " + why + "; what was read before stands";
  }
  return merged;
}

void DocumentStore::find_unread(const SourceState& source) {
  unread_ = {.has_unknown = !source.unread.empty(), .invalid = {}};
  for (const auto& [path, file] : source.files) {
    if (!file.error.empty()) unread_.has_unknown = true;
  }
  for (const ObjectId& id : doubled_) {
    if (!desired_.find(id)) unread_.invalid.insert(id);
  }
  for (const auto& [path, file] : files_) {
    if (file.parsed.is_cut) unread_.has_unknown = true;
    for (const ObjectId& id : file.parsed.invalid) {
      if (!desired_.find(id)) unread_.invalid.insert(id);
    }
  }
}

void DocumentStore::add(Document document, Desired& merged) {
  const ObjectId id = id_of(document);
  if (const auto first = merged.find(id)) {
    if (doubled_.insert(id).second) {
      tell_doubled(id, base_of(*first).origin, base_of(document).origin);
    }
    tell_doubled(id, base_of(document).origin, base_of(*first).origin);
    return;
  }
  merged.put(std::move(document));
}

void DocumentStore::tell_doubled(const ObjectId& id, const Origin& one, const Origin& other) {
  const std::string instead = desired_.find(id) ? "what it was before stands" : "neither is used";
  problems_.push_back({Severity::error, one, id,
                       "is defined at " + std::min(one, other).to_string() + " and at " +
                           std::max(one, other).to_string() + ": " + instead +
                           " until one of them is taken away"});
}

void DocumentStore::keep_last_valid(const SourceState& source, Desired& merged) {
  for (const auto& [path, file] : files_) {
    if (!source.files.at(path).error.empty()) continue;
    for (const ObjectId& id : file.parsed.invalid) {
      if (merged.find(id)) continue;
      if (auto last = desired_.find(id)) merged.put(std::move(*last));
    }
  }
  for (const Document& document : desired_.all()) {
    const Origin& origin = base_of(document).origin;
    const auto file = source.files.find(origin.file);
    if (file == source.files.end()) continue;
    const bool is_unread = !file->second.error.empty() || files_.at(file->first).parsed.is_cut;
    const ObjectId id = id_of(document);
    if (!is_unread || merged.find(id)) continue;
    merged.put(document);
    problems_.push_back(
        {Severity::error, origin, id,
         "keeps its last valid version: not all of " + origin.file + " can be read"});
  }
}

}  // namespace istmo::control
