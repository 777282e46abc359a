// Documents from the file system: a site directory (input/resources, input/certs), a plain folder
// of *.yaml, or one multi-document file. Watched with inotify; changes are told within 1 s.
//
// Owned by the controller, control thread only; borrows its loop and sink. Editors' save by rename,
// folders that are removed and made again, and lost events are covered: every notice leads to a
// complete rescan after a short quiet time, and a slow rescan runs besides. stop(), then wait for
// is_idle() on the loop, before it is destroyed.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "control/desired.h"
#include "dataplane/io/loop.h"

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
  friend bool operator==(const SourceState&, const SourceState&) = default;
};

// Called on the control loop's thread.
class SourceSink {
 public:
  // Something changed. Not called from inside start().
  virtual void on_source_changed(const SourceState& state) = 0;

 protected:
  ~SourceSink() = default;
};

struct SourcePaths {
  std::string resources;  // a folder of *.yaml, *.yml, *.json; or one file
  std::string certs;      // a folder of folders with tls.crt, tls.key, ca.crt; empty: none
  // DIR/input/resources and DIR/input/certs if DIR/input/resources exists, else DIR itself;
  // a file: that file.
  static SourcePaths of(const std::string& file_or_directory);
};

// One reading without watching: `istmo check`, and what start() reads first.
SourceState read_source(const SourcePaths& paths);

class DirectorySource {
 public:
  static constexpr Duration kQuietTime = Duration::milliseconds(80);
  static constexpr Duration kRescanTime = Duration::seconds(5);

  DirectorySource(io::Loop& loop, SourceSink& sink, SourcePaths paths);
  ~DirectorySource();

  // Reads and begins to watch. state() is complete when it returns. Without inotify (its limits
  // are reached) it goes on with rescans every half second and a logged warning.
  void start();
  const SourceState& state() const;
  void stop();
  bool is_idle() const;  // nothing of it is left in the loop: may be destroyed

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace istmo::control
