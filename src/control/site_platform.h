// What a site has around it, on a machine (linux_platform.h) or in a cluster
// (kubernetes/kubernetes_platform.h): where its documents come from, what its surroundings tell,
// and where its status goes.
//
// Owned by the controller, control thread only; borrows its loop and sink. Ends with stop(), then
// is_idle() on the loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/admin_server.h"
#include "control/desired.h"
#include "control/document_source.h"
#include "control/observed.h"
#include "control/state_store.h"
#include "control/status.h"
#include "control/value.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

class PlatformSink : public SourceSink {
 public:
  // What observe() or problems() give may be another than before.
  virtual void on_surroundings_changed() = 0;
  // A command asks the site by way of its surroundings: answer with SitePlatform::answer(name).
  virtual void on_command_request(const std::string& name, const Value& request) = 0;

 protected:
  ~PlatformSink() = default;
};

// Something that a user of the site should see.
struct SiteNews {
  bool is_warning = false;
  std::string reason;  // one word, in CamelCase
  std::string text;
  std::string file;  // Origin::file of the document that it is about; empty: the site
};

class SitePlatform {
 public:
  virtual ~SitePlatform() = default;
  virtual std::string_view name() const = 0;  // "linux", "kubernetes": what neighbours are told
  virtual DocumentSource& source() = 0;
  // Whether another process takes over where this one was told to end.
  virtual bool replaces_process() const = 0;
  // Of several processes of the site one acts for it: writes status, redeems tokens. When that
  // changes, so do the surroundings.
  virtual bool acts_for_site() const = 0;
  // This process was told to end: another one is to act.
  virtual void on_leaving() = 0;
  // Why nothing may be written in the surroundings, and acts_for_site() is false; empty: it may.
  virtual std::string standstill() const { return {}; }
  virtual void start() = 0;
  virtual void stop() = 0;
  virtual bool is_idle() const = 0;

  // Where the site keeps what it must remember; nullptr: in files of its state folder. It outlives
  // start(), and writes what waits to be written after stop(), before is_idle().
  virtual StateStore* state_store() { return nullptr; }
  // Once, when documents and store are complete: the id of the site that these are documents of;
  // empty: it has no given one.
  virtual std::string site_id(const Desired&) { return {}; }

  // What these documents need of the surroundings, into observed.cluster. The neighbours' services
  // are in `observed`.
  virtual void observe(const Desired& desired, Observed& observed) = 0;
  // Told once for each; the log has it, too.
  virtual void tell(const Desired&, const SiteNews&) {}
  // To a request of PlatformSink. `replica`: this process.
  virtual void answer(const std::string&, const std::string& /*replica*/, const AdminAnswer&) {}
  // Documents that a token gave: into the surroundings, where the user has them from then on.
  // False: there is no such place, and the site's state keeps them.
  virtual bool give_documents(const Desired&, const std::vector<Document>&) { return false; }
  // What stands in the way of these documents here.
  virtual std::vector<Problem> problems() const = 0;
  // Credentials that the site made for Certificate documents, by the name of the Secret: all that
  // should be there. Error: not all are written; asking again tries again.
  virtual Result<> keep_secrets(const std::map<std::string, proxy::Credentials>& secrets) = 0;
  // What the site says of itself, by verb: "site", "links", "services". Costly, so it is made only
  // where somebody keeps it for commands that cannot ask the site.
  using Overview = std::map<std::string, std::vector<Value>>;
  // Error: not all of it is written; asking again tries again.
  virtual Result<> write_status(const Desired& desired, const std::vector<ObjectStatus>& objects,
                                const std::function<Overview()>& overview) = 0;
};

using PlatformMaker =
    std::function<Result<std::unique_ptr<SitePlatform>>(io::Loop& loop, PlatformSink& sink)>;

}  // namespace istmo::control
