// A namespace of this machine as commands see it: its documents on disk, and the running site
// behind its admin socket.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/admin.h"
#include "control/cli/arguments.h"
#include "control/desired.h"
#include "control/paths.h"
#include "control/process.h"

namespace istmo::control {

class LocalSite {
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

  const std::string& namespace_name() const { return name_; }
  const SitePaths& paths() const { return paths_; }
  // The folder is there; `site delete` may have left only documents in it.
  bool exists() const;
  // `init` made it and no command has deleted it since, or --admin names it.
  bool is_installed() const;
  // Held by commands that start, end or remove the site, so that one is at work at a time. Waits
  // for the other one, and says so.
  Result<FileLock> lock() const;
  std::optional<ProcessId> process() const { return running_process(paths_.pid_file()); }

  // --- documents in input/resources -----------------------------------------------------------
  Desired documents() const;
  // As it is written; with warnings and errors of all files.
  std::optional<Document> find(const ObjectId& id) const { return documents().find(id); }
  // Adds the document, or replaces the one of its name. Error when that one stands in a file
  // together with others, which only its author should change.
  Result<> write(const Document& document) const;
  Result<> remove(const ObjectId& id) const;

  // --- the running site -----------------------------------------------------------------------
  // Error::refused when the site does not run; it says what to do.
  Result<AdminClient> connect() const;
  // As connect() has it, and Error::refused when the site is about to end.
  Result<> check_takes_changes() const;
  Result<std::vector<Value>> ask(const Value& request) const;
  // Documents with status, of one kind or (empty) all. When the site does not run: the documents
  // as written, with status Error; --admin knows none of those.
  Result<std::vector<Value>> documents_with_status(const std::string& kind) const;
  // Asks until `is_enough` holds for the object (nothing: there is no such object), and returns
  // the last answer; Error::timeout when it never did.
  Result<Value> wait_for(const ObjectId& id, Duration patience,
                         const std::function<bool(const Value&)>& is_enough) const;
  // Waits until the site has applied the document as it is written now, or has refused it
  // altogether (status Error, and no version of it that works).
  Result<Value> wait_applied(const Document& document, Duration patience) const;
  Result<> wait_gone(const ObjectId& id, Duration patience) const;

 private:
  LocalSite(std::string name, SitePaths paths) : name_(std::move(name)), paths_(std::move(paths)) {}
  std::filesystem::path file_of(const ObjectId& id) const;
  // The file that holds the object, if any; Error when others are in it too.
  Result<std::optional<std::filesystem::path>> file_holding(const ObjectId& id) const;

  std::string name_;
  SitePaths paths_;
  std::string admin_;  // --admin
};

Value request_of(const std::string& verb);

// What the site itself would say of the document: Error::config before anything is written.
Result<> check_document(const Document& document);

// The exit code of a verb that has shown what it found: kExitFailed, with the reason on stderr,
// when the site does not run.
int exit_code_of_showing(const LocalSite& site);

// Conditions of a document with status: "Configured" is True.
bool has_condition(const Value& document, std::string_view type);

}  // namespace istmo::control
