// Documents from the file system: a site directory (input/resources, input/certs), a plain folder
// of *.yaml, or one multi-document file.
//
// SourceReader: owned by who watches (directory_source.h), on its thread. It is asked again and
// again, and says whether something changed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/desired.h"

namespace istmo::control {

struct SourceFile {
  std::string text;
  std::string error;  // could not be read: "Permission denied"
  friend bool operator==(const SourceFile&, const SourceFile&) = default;
};

// The complete picture at one moment.
struct SourceState {
  std::map<std::string, SourceFile> files;        // by path
  std::map<std::string, SecretDocument> secrets;  // input/certs/<name>
  // Folders that are there and cannot be read, by path, with the reason. What they held when they
  // were last read stands above: it was not deleted.
  std::map<std::string, std::string> unread;
  friend bool operator==(const SourceState&, const SourceState&) = default;
};

struct SourcePaths {
  std::string resources;  // a folder of *.yaml, *.yml, *.json; or one file
  std::string certs;      // a folder of folders with tls.crt, tls.key, ca.crt; empty: none
  // DIR/input/resources and DIR/input/certs if DIR/input/resources exists, else DIR itself;
  // a file: that file.
  static SourcePaths of(const std::string& file_or_directory);
};

class SourceReader {
 public:
  explicit SourceReader(SourcePaths paths) : paths_(std::move(paths)) {}

  const SourcePaths& paths() const { return paths_; }
  // True: state() is another one than before.
  bool read();
  const SourceState& state() const { return state_; }

 private:
  void read_documents();
  void read_document(const std::string& path);
  void put_document(const std::string& path, SourceFile file);
  void read_secrets();
  Result<SecretDocument> read_secret(const std::string& directory, const std::string& name);

  const SourcePaths paths_;
  SourceState state_;
  // Of the reading that goes on.
  uint64_t round_ = 0;
  std::map<std::string, uint64_t> rounds_;     // of every file: when it was last there
  std::map<std::string, std::string> unread_;  // will be state_.unread
  bool is_changed_ = false;
};

// One reading.
SourceState read_source(const SourcePaths& paths);

// What a folder holds, in order; one that is not there holds nothing.
Result<std::vector<std::string>> names_in(const std::string& directory);

}  // namespace istmo::control
