// A namespace of this machine as commands see it: its documents on disk, and the running site
// behind its admin socket. command_site.h says what is common to all sites.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/admin.h"
#include "control/cli/arguments.h"
#include "control/cli/command_site.h"
#include "control/desired.h"
#include "control/paths.h"
#include "control/process.h"

namespace istmo::control {

class LocalSite final : public CommandSite {
 public:
  // To look at a site. Error::config when there is none in the namespace; it says what to do.
  // --admin names another socket than the namespace's, such as that of a site that was started by
  // `istmo run`: then there need not be a namespace.
  static Result<LocalSite> open(const Arguments& arguments);
  // To write or remove documents, which are files of the namespace's folder: --admin must be the
  // socket of just this site.
  static Result<LocalSite> open_to_change(const Arguments& arguments);
  // Also one that is not there, or still to be made.
  static Result<LocalSite> of(const Arguments& arguments);
  static Result<LocalSite> at(const std::string& namespace_name);

  const SitePaths& paths() const { return paths_; }
  // The folder is there; `site delete` may have left only documents in it.
  bool exists() const;
  // Held by commands that start, end or remove the site, so that one is at work at a time. Waits
  // for the other one, and says so.
  Result<FileLock> lock() const;
  std::optional<ProcessId> process() const { return running_process(paths_.pid_file()); }
  // Error::refused when the site does not run; it says what to do.
  Result<AdminClient> connect() const;

  // --- CommandSite -----------------------------------------------------------------------------
  Platform platform() const override { return Platform::linux_machine; }
  const std::string& namespace_name() const override { return name_; }
  // Or --admin names it.
  Result<bool> is_installed() const override;
  std::string absence_text() const override;
  std::string services_place(const Value& site) const override;
  Result<Desired> documents() const override;
  Result<> write(const Document& document) const override;
  Result<> remove(const ObjectId& id) const override;
  Result<> check_runs() const override;
  Result<> check_takes_changes() const override;
  Result<std::vector<Value>> ask(const Value& request) const override;
  // --admin knows none of the documents as written.
  Result<std::vector<Value>> documents_with_status(const std::string& kind) const override;

 private:
  LocalSite(std::string name, SitePaths paths) : name_(std::move(name)), paths_(std::move(paths)) {}
  Result<Value> look_at(const ObjectId& id) const override;
  Duration pause_between_looks() const override { return Duration::milliseconds(25); }
  std::filesystem::path file_of(const ObjectId& id) const;
  // The file that holds the object, if any; Error when others are in it too.
  Result<std::optional<std::filesystem::path>> file_holding(const ObjectId& id) const;

  std::string name_;
  SitePaths paths_;
  std::string admin_;  // --admin
};

}  // namespace istmo::control
