// Requests to an API server that wait for their answer: for commands, which do one thing after the
// other. On a loop of its own, which turns only inside of call().
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/desired.h"
#include "control/kubernetes/api_calls.h"
#include "control/kubernetes/api_server.h"
#include "control/kubernetes/kube_kinds.h"
#include "control/value.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

class ApiClient {
 public:
  // Error::config: what `access` names cannot be used; Error::refused: the host is not known.
  // Connects with the first call.
  static Result<std::unique_ptr<ApiClient>> make(KubeAccess access);
  ~ApiClient();

  const KubeAccess& access() const { return server_.access(); }

  ApiReply call(ApiRequest request);

  // In which version the cluster serves this kind, for all calls below; null: it does not.
  Result<const KubeKind*> find_served(std::string_view kind);
  // Where its objects of a kind are.
  std::string collection(std::string_view kind) const;

  // Of the namespace, by kind and name. Errors name what was asked for; Error::closed: there is no
  // such object.
  Result<Value> get(const ObjectId& id);
  // Empty: all of the kind. Items have their kind and apiVersion. `kind`: of find_kube_kind().
  Result<std::vector<Value>> list(std::string_view kind, const std::string& label_selector);
  // What is no object: `target` is a path with its query, `doing` for errors.
  Result<std::string> text(const std::string& target, const std::string& doing);
  // Error::taken: there is one of this name.
  Result<Value> create(const Value& object);
  // Replaces what get() gave: Error::taken when it was changed since.
  Result<Value> replace(const Value& object);
  // Pods end within `grace_seconds`, if that is given. Error::closed: it is not there.
  Result<> remove(const ObjectId& id, int grace_seconds = -1);

  // What a reply that is no success comes to; `doing`: "get Service backend".
  static Error error_of(const ApiReply& reply, const std::string& doing);

 private:
  ApiClient(std::unique_ptr<io::Loop> loop, ApiServer server);
  Result<Value> ask(ApiRequest request, const std::string& doing);
  const KubeKind& version_of(std::string_view kind) const;
  std::string path_of(const ObjectId& id) const { return collection(id.kind) + "/" + id.name; }

  std::unique_ptr<io::Loop> loop_;
  ApiServer server_;
  ApiCalls calls_;
  std::map<std::string, const KubeKind*, std::less<>> served_;  // what find_served() found
};

// Of an object as the API has it.
ObjectId id_of_object(const Value& object);

}  // namespace istmo::control
