// Replicas of a site whose state is in Secrets, and a model of the API server that has them.
#pragma once

#include <boost/test/unit_test.hpp>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../site_folder.h"
#include "control/kubernetes/cluster_state.h"
#include "control/site_state.h"
#include "json_text.h"

namespace istmo::control::test {

inline const ObjectOwner kOwner{"v1", "ConfigMap", "site-oeste",
                                "36992d22-2a8b-43b6-9b4a-e88e9d1ba9e7"};
inline const ObjectOwner kOther{"v1", "ConfigMap", "site-oeste",
                                "00000000-7425-40de-944b-e07fc1f90ae7"};
inline const WallTime kNow = wall_now();

inline const std::string& meta(const Value& object, std::string_view key) {
  return text_at(object, "metadata", key);
}

// Secrets of a namespace, done as an API server does it.
class StateServer {
 public:
  struct Answer {
    int status;
    Value body;
  };
  Answer serve(const ClusterState::Request& request) {
    ++requests;
    const std::string& target = request.target;
    const std::string last = target.substr(target.rfind('/') + 1);
    const std::string name =
        request.method == "POST" ? meta(request.body, "name") : last.substr(0, last.find('?'));
    const auto found = objects.find(name);
    const bool is_there = found != objects.end();
    if (request.method == "POST") {
      if (is_there) return refusal(409, "already exists");
      return {201, store(name, request.body, "u" + std::to_string(++version))};
    }
    if (!is_there) return refusal(404, "not found");
    if (request.method == "GET") return {200, found->second};
    if (request.method == "DELETE") {
      if (!is_as_expected(*request.body.find("preconditions"), found->second)) {
        return refusal(409, "precondition");
      }
      erase(name);
      return {200, json(R"({"kind":"Status"})")};
    }
    const Value& given = *request.body.find("metadata");
    if (!is_as_expected(given, found->second)) return refusal(409, "modified");
    return {200, store(name, request.body, meta(found->second, "uid"))};
  }
  void erase(const std::string& name) {
    if (objects.erase(name) > 0) events.emplace_back(name, Value());
  }
  static Answer refusal(int status, const std::string& message) {
    return {status, json(R"({"kind":"Status","message":")" + message + "\"}")};
  }

  std::map<std::string, Value> objects;
  std::vector<std::pair<std::string, Value>> events;  // null: gone
  uint64_t version = 0;
  size_t requests = 0;

 private:
  static bool is_as_expected(const Value& expected, const Value& object) {
    return text_at(expected, "uid") == meta(object, "uid") &&
           text_at(expected, "resourceVersion") == meta(object, "resourceVersion");
  }
  Value store(const std::string& name, Value object, const std::string& uid) {
    Value metadata = *object.find("metadata");
    metadata.set("uid", uid);
    metadata.set("resourceVersion", std::to_string(++version));
    object.set("metadata", std::move(metadata));
    objects[name] = object;
    events.emplace_back(name, object);
    return object;
  }
};

// One process of the site. What it asks is done when the test says so.
class StateReplica final : public ClusterStateSink, public StateStoreSink {
 public:
  StateReplica(StateServer& server, uint64_t seed) : server_(server), rng_(seed) {}

  // With what is there now.
  void begin(const std::optional<ObjectOwner>& owner = kOwner) {
    read_position_ = server_.events.size();
    for (const auto& [name, object] : server_.objects) store.on_object(object);
    store.on_synced();
    if (owner) store.set_owner(*owner);
    store.set_sink(*this);
  }
  void open() {
    site.emplace(SiteState::open({.runtime = folder_.path(),
                                  .site_name = "oeste",
                                  .site_id = kOwner.uid,
                                  .store = &store},
                                 kNow)
                     .value());
  }
  void tell(size_t events = SIZE_MAX) {
    for (; events > 0 && read_position_ < server_.events.size(); --events) {
      const auto& [name, object] = server_.events[read_position_++];
      if (object.is_null()) store.on_gone(name);
      else store.on_object(object);
    }
  }
  std::optional<ClusterState::Request> ask() { return store.next(now); }
  void answer(const ClusterState::Request& request) {
    const auto answer = server_.serve(request);
    store.on_reply(request.record, answer.status, answer.body, now);
  }
  // Everything works for `time`.
  void settle(Duration time = Duration::seconds(200)) {
    const Instant end = now + time;
    while (true) {
      tell();
      if (const auto request = ask()) {
        answer(*request);
        continue;
      }
      const Instant wake = store.wake_at(now);
      if (wake > end) break;
      now = wake;
    }
    now = end;
  }

  void on_work() override {}
  void on_record_changed(const std::string& name) override {
    changed.push_back(name);
    if (site) site->reload(name);
  }
  void on_record_stored() override {}

 private:
  StateServer& server_;
  Rng rng_;
  TemporaryFolder folder_;
  size_t read_position_ = 0;

 public:
  ClusterState store{"oeste", rng_, *this};
  std::optional<SiteState> site;
  std::vector<std::string> changed;
  Instant now{Duration::seconds(1000).ns};
};

}  // namespace istmo::control::test
