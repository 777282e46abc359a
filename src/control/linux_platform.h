// A site on a machine: documents in a folder or a file, status in files.
#pragma once

#include <string>

#include "control/directory_source.h"
#include "control/site_platform.h"
#include "control/status_writer.h"

namespace istmo::control {

class LinuxPlatform final : public SitePlatform {
 public:
  // `status_folder`: runtime/resources.
  LinuxPlatform(io::Loop& loop, PlatformSink& sink, const SourcePaths& paths,
                std::string status_folder)
      : source_(loop, sink, paths), status_writer_(std::move(status_folder)) {}

  std::string_view name() const override { return "linux"; }
  DocumentSource& source() override { return source_; }
  bool replaces_process() const override { return false; }
  bool acts_for_site() const override { return true; }
  void on_leaving() override {}
  void start() override { source_.start(); }
  void stop() override { source_.stop(); }
  bool is_idle() const override { return source_.is_idle(); }
  void observe(const Desired&, Observed&) override {}
  std::vector<Problem> problems() const override { return {}; }
  // Commands ask the admin socket.
  Result<> write_status(const Desired&, const std::vector<ObjectStatus>& objects,
                        const std::function<Overview()>&) override {
    return status_writer_.write(objects);
  }

 private:
  DirectorySource source_;
  StatusWriter status_writer_;
};

}  // namespace istmo::control
