// All documents of a site over time: merges what each file says now with what was valid before.
//
// Owned by the controller, control thread only. An object whose document becomes invalid keeps its
// last valid version until the document is repaired or taken away; the same holds for what stood
// in a file of which a part can no longer be read, and for an object that two documents define: no
// one can say which of them is meant. A folder that cannot be read changes nothing.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/desired.h"
#include "control/document_text.h"
#include "control/source_reader.h"

namespace istmo::control {

class DocumentStore {
 public:
  // The complete picture of the source. True: desired() or problems() changed.
  bool apply(const SourceState& source);

  const Desired& desired() const { return desired_; }
  const UnreadDocuments& unread() const { return unread_; }
  // Of reading and merging, in the order of files and lines.
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  struct File {
    std::string text;
    ParsedDocuments parsed;
  };
  Desired merge(const SourceState& source);
  void find_unread(const SourceState& source);
  void keep_last_valid(const SourceState& source, Desired& merged);
  void add(Document document, Desired& merged);
  void tell_doubled(const ObjectId& id, const Origin& one, const Origin& other);

  std::map<std::string, File> files_;
  Desired desired_;
  std::set<ObjectId> doubled_;
  UnreadDocuments unread_;
  std::vector<Problem> problems_;
};

}  // namespace istmo::control
