// The site that a command works on: on this machine (local_site.h) or in a namespace of a cluster
// (cluster_site.h). Its documents as they are written, and what the running site says of them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/cli/arguments.h"
#include "control/cli/platform.h"
#include "control/desired.h"
#include "control/value.h"

namespace istmo::control {

class CommandSite {
 public:
  virtual ~CommandSite() = default;

  virtual Platform platform() const = 0;
  bool is_in_cluster() const { return platform() == Platform::kubernetes; }
  virtual const std::string& namespace_name() const = 0;
  // `init` made it and no command has deleted it since.
  virtual Result<bool> is_installed() const = 0;
  // What there is to say to somebody who looks for the site where none is installed.
  virtual std::string absence_text() const = 0;
  // Where services of other sites are found, for people.
  virtual std::string services_place(const Value& site) const = 0;

  // --- documents -------------------------------------------------------------------------------
  virtual Result<Desired> documents() const = 0;
  Result<std::optional<Document>> find(const ObjectId& id) const;
  // Adds the document, or replaces the one of its name. Error when that one stands together with
  // others, which only its author should change.
  virtual Result<> write(const Document& document) const = 0;
  // Error when there is no such document.
  virtual Result<> remove(const ObjectId& id) const = 0;

  // --- the running site ------------------------------------------------------------------------
  // Error::refused when the site does not run; it says what to do.
  virtual Result<> check_runs() const = 0;
  // As check_runs() has it, and Error::refused when the site is about to end.
  virtual Result<> check_takes_changes() const = 0;
  // What the site says of itself: "site", "links", "services". On a machine any verb of its admin
  // socket.
  virtual Result<std::vector<Value>> ask(const Value& request) const = 0;
  // Documents with status, of one kind or (empty) all. When the site does not run: the documents
  // as written, with status Error.
  virtual Result<std::vector<Value>> documents_with_status(const std::string& kind) const = 0;
  // Asks until `is_enough` holds for the object (null: there is no such object), and returns the
  // last answer; Error::timeout when it never did.
  Result<Value> wait_for(const ObjectId& id, Duration patience,
                         const std::function<bool(const Value&)>& is_enough) const;
  // Waits until the site has applied the document as it is written now, or has refused it
  // altogether (status Error, and no version of it that works).
  Result<Value> wait_applied(const Document& document, Duration patience) const;
  Result<> wait_gone(const ObjectId& id, Duration patience) const;

 private:
  // One document with status; null: the site has none of that name.
  virtual Result<Value> look_at(const ObjectId& id) const = 0;
  virtual Duration pause_between_looks() const = 0;
};

// The site of the command's namespace: to look at it, or to change its documents. Error::config
// when there is none; it says what to do.
Result<std::unique_ptr<CommandSite>> open_site(const Arguments& arguments);
Result<std::unique_ptr<CommandSite>> open_site_to_change(const Arguments& arguments);
// Also one that is not there, or still to be made.
Result<std::unique_ptr<CommandSite>> site_of(const Arguments& arguments);

Value request_of(const std::string& verb);

// What the site itself would say of the document: Error::config before anything is written.
Result<> check_document(const Document& document);

// The exit code of a verb that has shown what it found: kExitFailed, with the reason on stderr,
// when the site does not run.
int exit_code_of_showing(const CommandSite& site);

// Conditions of a document with status: "Configured" is True.
bool has_condition(const Value& document, std::string_view type);

// The one of `documents` that is `id`; null: none is.
Value find_value(const std::vector<Value>& documents, const ObjectId& id);

// A status of documents that nobody looks after.
Value status_not_running();

void sleep_for(Duration time);

}  // namespace istmo::control
