// Documents from the file system (source_reader.h), watched with inotify: changes are told within
// 1 s.
//
// Owned by the controller, control thread only; borrows its loop and sink. Editors' save by rename,
// folders that are removed and made again, and lost events are covered: every notice leads to a
// complete rescan after a short quiet time, and a slow rescan runs besides. A file that somebody
// writes counts when its writer closes it, or has written nothing for a while. stop(), then wait
// for is_idle() on the loop, before it is destroyed.
#pragma once

#include <memory>

#include "control/document_source.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

class DirectorySource final : public DocumentSource {
 public:
  static constexpr Duration kQuietTime = Duration::milliseconds(80);
  static constexpr Duration kRescanTime = Duration::seconds(5);
  static constexpr Duration kWriterTime = Duration::milliseconds(900);

  DirectorySource(io::Loop& loop, SourceSink& sink, SourcePaths paths,
                  Duration rescan_time = kRescanTime);
  ~DirectorySource() override;

  // Reads and begins to watch. state() is complete when it returns. Without inotify (its limits
  // are reached) it goes on with rescans every half second and a logged warning.
  void start() override;
  bool is_complete() const override { return true; }
  const SourceState& state() const override;
  void stop() override;
  bool is_idle() const override;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace istmo::control
