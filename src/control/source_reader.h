// Documents from the file system: a site directory (input/resources, input/certs), a plain folder
// of *.yaml, or one multi-document file.
//
// SourceReader: owned by who watches (directory_source.h), on its thread. It is asked again and
// again, and says whether something changed. What did not change costs one stat() for each file.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
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

// Which file it is, whatever it is called.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  static FileIdentity of(const struct stat& found) { return {found.st_dev, found.st_ino}; }
  friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
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
  static constexpr size_t kFilesMax = 10'000;

  explicit SourceReader(SourcePaths paths, size_t files_max = kFilesMax)
      : paths_(std::move(paths)), files_max_(files_max) {}

  const SourcePaths& paths() const { return paths_; }
  // True: state() is another one than before. Files that are being written stay as they were when
  // they were last read.
  bool read(const std::set<FileIdentity>& being_written = {});
  const SourceState& state() const { return state_; }

 private:
  // How a file looks from outside: what was written to it shows here.
  struct Look {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t bytes = 0;
    int64_t modified_ns = 0;
    int64_t changed_ns = 0;
    static Look of(const struct stat& found);
    friend bool operator==(const Look&, const Look&) = default;
  };
  struct Known {
    uint64_t round = 0;  // when it was last there
    Look look;           // before it was read
    // File times have a grain: what changes twice in a moment may look the same. A look counts
    // when the file had been left alone for a while.
    bool is_settled = false;
  };

  bool has_settled_look(const std::string& path, const struct stat& found) const;
  bool is_being_written(const struct stat& found) const;
  SourceFile read_file(const std::string& path);
  void read_documents();
  void read_documents(std::vector<std::string> names);
  void read_document(const std::string& path);
  void put_document(const std::string& path, SourceFile file);
  void read_secrets();
  bool keep_or_read_secret(const std::string& directory, const std::string& name);
  bool is_secret_being_written(const std::string& directory) const;
  std::string too_many(size_t count) const;
  bool is_unchanged(const SecretDocument& secret);
  Result<SecretDocument> read_secret(const std::string& directory, const std::string& name);

  const SourcePaths paths_;
  const size_t files_max_;  // of documents, and of Secrets
  SourceState state_;
  std::map<std::string, Known> known_;  // by path
  // Of the reading that goes on.
  uint64_t round_ = 0;
  std::set<FileIdentity> being_written_;
  std::map<std::string, std::string> unread_;  // will be state_.unread
  bool is_changed_ = false;
};

// One reading.
SourceState read_source(const SourcePaths& paths);

// What a folder holds, in order; one that is not there holds nothing.
Result<std::vector<std::string>> names_in(const std::string& directory);

}  // namespace istmo::control
