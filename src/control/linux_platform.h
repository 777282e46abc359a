// A site on a machine: documents in a folder or a file, status in files.
#pragma once

#include <string>

#include "control/directory_source.h"
#include "control/secret_files.h"
#include "control/site_platform.h"
#include "control/status_writer.h"

namespace istmo::control {

class LinuxPlatform final : public SitePlatform {
 public:
  // `runtime`: the state folder.
  LinuxPlatform(io::Loop& loop, PlatformSink& sink, const SourcePaths& paths,
                const std::filesystem::path& runtime)
      : source_(loop, sink, paths),
        secret_files_(runtime / "certs"),
        status_writer_(runtime / "resources") {}

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
  Result<> keep_secrets(const std::map<std::string, proxy::Credentials>& secrets) override {
    return secret_files_.write(secrets);
  }
  // Commands ask the admin socket.
  Result<> write_status(const Desired&, const std::vector<ObjectStatus>& objects,
                        const std::function<Overview()>&) override {
    return status_writer_.write(objects);
  }

 private:
  DirectorySource source_;
  SecretFiles secret_files_;
  StatusWriter status_writer_;
};

}  // namespace istmo::control
