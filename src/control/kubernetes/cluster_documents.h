// The documents of a site as a namespace has them, in the shape of files (source_reader.h): each
// data key of a labelled ConfigMap or Secret is a YAML stream, and a Secret that documents refer to
// is a document itself. A file is called "ConfigMap/listener-backend/listener.yaml". The Connectors
// of an annotated workload are a file too, "Deployment/backend", and so is an object of a
// document's own kind, "skupper.io/Listener/backend".
//
// A value: fed by watches, control thread only. What others write there is bounded.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "control/desired.h"
#include "control/kubernetes/object_owner.h"
#include "control/source_reader.h"
#include "control/value.h"

namespace istmo::control {

// ConfigMaps and Secrets with it hold documents.
inline constexpr const char* kDocumentsLabel = "istmo.dev/documents";
// The label selector of objects that hold documents.
inline std::string documents_selector() { return std::string(kDocumentsLabel) + "=true"; }

class ClusterDocuments {
 public:
  static constexpr size_t kFilesMax = 10'000;
  static constexpr size_t kBytesMax = 64 * 1024 * 1024;

  explicit ClusterDocuments(size_t files_max = kFilesMax, size_t bytes_max = kBytesMax)
      : files_max_(files_max), bytes_max_(bytes_max) {}

  // All there was has been put. Until then a large text makes room for a smaller one, in whatever
  // order they come: few honest ones are large. From then on what is here stays.
  void settle() { is_settled_ = true; }

  // True, of these and the following: state() is another one than before.
  // A labelled ConfigMap or Secret: `kind` says which.
  bool put_streams(const std::string& kind, const Value& object);
  // A Secret that documents refer to.
  bool put_secret(const Value& object);
  // A workload or Service, which its annotations may expose (annotated.h).
  bool put_annotated(const std::string& kind, const Value& object,
                     const std::string& namespace_name);
  // A document that is an object of its own kind (custom_resources.h).
  bool put_custom(const std::string& kind, const Value& object);
  // They are gone.
  bool remove_streams(const ObjectId& id);
  bool remove_secret(const std::string& name);
  bool remove_annotated(const ObjectId& id);
  bool remove_custom(const ObjectId& id);
  // What cannot be watched ("ConfigMaps with label ..."), and why; empty: it can.
  bool set_unread(const std::string& place, const std::string& why);

  const SourceState& state() const { return state_; }
  // The object that holds this file; nullopt: none does any more.
  std::optional<ObjectOwner> owner_of(const std::string& file) const;

 private:
  using Files = std::map<std::string, SourceFile>;
  bool put_object(const std::string& prefix, const std::string& kind, const Value& object);
  bool put_files(const std::string& prefix, Files files);
  bool remove_files(const std::string& prefix, const Files& but);
  bool tell_left_out();
  bool make_room(size_t bytes);

  const size_t files_max_;
  const size_t bytes_max_;
  bool is_settled_ = false;
  size_t bytes_ = 0;                            // of all texts
  std::map<std::string, ObjectOwner> objects_;  // of documents, by the prefix of their files
  std::set<std::string> left_out_;              // prefixes of files for which there was no room
  SourceState state_;
};

// The Secrets that documents refer to by name.
std::set<std::string> secrets_referred_to(const Desired& desired);

}  // namespace istmo::control
