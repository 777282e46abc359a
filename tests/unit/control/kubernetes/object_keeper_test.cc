// The machine alone, and against a model of an API server that loses answers, fails, and has other
// users.
#include "control/kubernetes/object_keeper.h"

#include <boost/test/unit_test.hpp>
#include <deque>
#include <vector>

#include "json_text.h"
#include "control/kubernetes/kube_kinds.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const std::string& meta(const Value& object, std::string_view key) {
  return text_at(object, "metadata", key);
}

const ObjectId kBackend{"Service", "backend"};

Value service(int port) {
  return json(R"({"spec":{"ports":[{"port":)" + std::to_string(port) + "}]}}");
}

const ObjectOwner kOwner{"v1", "ConfigMap", "site-oeste", "u-owner"};

// What the keeper asked, done as an API server does it: object by object, with versions, uids and
// one entry of managedFields.
class Server {
 public:
  struct Answer {
    int status;
    Value body;
  };
  Answer serve(const ObjectKeeper::Request& request) {
    const auto found = objects.find(request.object);
    const bool is_there = found != objects.end();
    if (request.method == "POST") {
      if (is_there) return refusal(409, "already exists");
      return {201, store(request.object, request.body, "Update")};
    }
    if (!is_there) return refusal(404, "not found");
    if (request.method == "GET") return {200, found->second};
    if (request.method == "DELETE") return remove(request);
    if (request.content_type == "application/json-patch+json") return take_over(request);
    return apply(request);
  }

  Value store(const ObjectId& id, Value object, const std::string& operation,
              const std::string& uid = {}) {
    Value metadata = *object.find("metadata");
    metadata.set("uid", uid.empty() ? "u" + std::to_string(++version) : uid);
    metadata.set("resourceVersion", std::to_string(++version));
    metadata.set("managedFields",
                 json(R"([{"manager":"istmo","operation":")" + operation + R"("}])"));
    object.set("metadata", std::move(metadata));
    objects[id] = object;
    news.emplace_back(id, object);
    return object;
  }
  void erase(const ObjectId& id) {
    if (objects.erase(id) > 0) news.emplace_back(id, Value());
  }
  static Answer refusal(int status, const std::string& message) {
    return {status, json(R"({"kind":"Status","message":")" + message + "\"}")};
  }

  std::map<ObjectId, Value> objects;
  std::deque<std::pair<ObjectId, Value>> news;  // of the watch; null: gone
  uint64_t version = 0;

 private:
  Answer remove(const ObjectKeeper::Request& request) {
    const std::string& uid = request.body.find("preconditions")->find("uid")->text();
    if (uid != meta(objects.at(request.object), "uid")) return refusal(409, "uid");
    erase(request.object);
    return {200, json(R"({"kind":"Status","status":"Success"})")};
  }
  Answer take_over(const ObjectKeeper::Request& request) {
    Value object = objects.at(request.object);
    for (const Value& step : request.body.items()) {
      if (text_at(step, "path") != "/metadata/resourceVersion") continue;
      if (text_at(step, "value") != meta(object, "resourceVersion"))
        return refusal(409, "modified");
    }
    const std::string uid = meta(object, "uid");
    return {200, store(request.object, std::move(object), "Apply", uid)};
  }
  Answer apply(const ObjectKeeper::Request& request) {
    const Value& before = objects.at(request.object);
    if (meta(request.body, "uid") != meta(before, "uid")) return refusal(409, "uid");
    const Value& fields = before.find("metadata")->find("managedFields")->items().front();
    if (text_at(fields, "operation") == "Update") return refusal(409, "conflict with istmo");
    const std::string uid = meta(before, "uid");
    return {200, store(request.object, request.body, "Apply", uid)};
  }
};

struct World {
  World() {
    keeper.on_synced("Service");
    keeper.set_owner(kOwner);
  }

  // Lets the keeper ask until it has nothing to ask for `time`.
  void settle(Duration time = Duration::seconds(60)) {
    const Instant end = now + time;
    while (true) {
      tell();
      if (auto request = keeper.next(now)) {
        asked.push_back(request->method + " " + request->target);
        const auto answer = server.serve(*request);
        keeper.on_reply(request->object, answer.status, answer.body, now);
        continue;
      }
      const Instant wake = keeper.wake_at(now);
      if (wake > end) break;
      now = wake;
    }
    now = end;
  }
  // The watch, up to so many events.
  void tell(size_t events = SIZE_MAX) {
    for (; events > 0 && !server.news.empty(); --events) {
      auto [id, object] = std::move(server.news.front());
      server.news.pop_front();
      if (object.is_null()) keeper.on_gone(id);
      else keeper.on_object(id, object);
    }
  }
  std::vector<std::string> take() { return std::exchange(asked, {}); }
  const Value& there(const ObjectId& id) { return server.objects.at(id); }

  Rng rng{1};
  Server server;
  ObjectKeeper keeper{"oeste", {"Service", "ConfigMap", "Secret"}, rng};
  Instant now{Duration::seconds(1000).ns};
  std::vector<std::string> asked;
};

using Texts = std::vector<std::string>;
const std::string kMake = "POST /api/v1/namespaces/oeste/services?fieldManager=istmo";
const std::string kChange = "PATCH /api/v1/namespaces/oeste/services/backend?fieldManager=istmo";
const std::string kLook = "GET /api/v1/namespaces/oeste/services/backend";
const std::string kRemove = "DELETE /api/v1/namespaces/oeste/services/backend";

}  // namespace

BOOST_AUTO_TEST_SUITE(object_keeper)

BOOST_AUTO_TEST_CASE(what_is_wanted_is_made_once_with_label_owner_and_digest) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  BOOST_TEST(w.take() == Texts{kMake}, boost::test_tools::per_element());
  const Value& object = w.there(kBackend);
  BOOST_TEST(text_at(object, "apiVersion") == "v1");
  BOOST_TEST(text_at(object, "kind") == "Service");
  const Value& metadata = *object.find("metadata");
  BOOST_TEST(metadata.find("labels")->find("app.kubernetes.io/managed-by")->text() == "istmo");
  const Value& owner = metadata.find("ownerReferences")->items().front();
  BOOST_TEST(write_json(owner, JsonStyle::compact) ==
             R"({"apiVersion":"v1","kind":"ConfigMap","name":"site-oeste","uid":"u-owner"})");
  w.keeper.want({{kBackend, service(8080)}});
  w.settle(Duration::seconds(36'000));
  BOOST_TEST(w.take() == Texts{}, boost::test_tools::per_element());
}

// A list says neither, of each object.
BOOST_AUTO_TEST_CASE(an_object_without_version_and_kind_is_as_it_should_be) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  w.take();
  Value listed = Value::map();
  for (const char* key : {"metadata", "spec"}) listed.set(key, *w.there(kBackend).find(key));
  w.keeper.on_object(kBackend, listed);
  w.settle();
  BOOST_TEST(w.take() == Texts{}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_change_is_applied_and_the_fields_made_first_are_taken_over) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  w.take();
  w.keeper.want({{kBackend, service(9090)}});
  w.settle();
  BOOST_TEST(w.take() == (Texts{kChange, kChange}), boost::test_tools::per_element());
  w.keeper.want({{kBackend, service(7070)}});
  w.settle();
  BOOST_TEST(w.take() == Texts{kChange}, boost::test_tools::per_element());
  BOOST_TEST(is_contained(service(7070), w.there(kBackend)));
}

BOOST_AUTO_TEST_CASE(what_is_not_wanted_any_more_is_taken_away_and_a_lost_one_comes_back) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  w.server.erase(kBackend);
  w.settle();
  BOOST_TEST(w.take() == (Texts{kMake, kMake}), boost::test_tools::per_element());
  w.keeper.want({});
  w.settle();
  BOOST_TEST(w.take() == Texts{kRemove}, boost::test_tools::per_element());
  BOOST_TEST(w.server.objects.empty());
}

BOOST_AUTO_TEST_CASE(somebody_elses_object_is_reported_and_not_touched_until_it_is_gone) {
  World w;
  Value foreign = service(1);
  foreign.set("metadata", Value::map());
  w.server.store(kBackend, foreign, "Update");
  const Value before = w.there(kBackend);
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  BOOST_TEST((w.there(kBackend) == before));
  BOOST_TEST(w.keeper.problems().at(kBackend) == "Service backend is there and is not Istmo's");
  w.keeper.want({});
  w.settle();
  BOOST_TEST((w.there(kBackend) == before));
  BOOST_TEST(w.keeper.problems().empty());
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  w.server.erase(kBackend);
  w.settle();
  BOOST_TEST(is_contained(service(8080), w.there(kBackend)));
  BOOST_TEST(w.keeper.problems().empty());
}

// A kind of which a watch tells only what is ours.
BOOST_AUTO_TEST_CASE(somebody_elses_object_that_no_watch_tells_is_looked_for_again) {
  World w;
  Value foreign = service(1);
  foreign.set("metadata", Value::map());
  w.server.store(kBackend, foreign, "Update");
  w.server.news.clear();
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  BOOST_TEST(w.take() == (Texts{kMake, kLook}), boost::test_tools::per_element());
  w.server.objects.clear();
  w.settle(Duration::seconds(600));
  BOOST_TEST(w.take() == (Texts{kLook, kMake}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_answer_that_was_lost_is_looked_up) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  const auto request = w.keeper.next(w.now);
  BOOST_REQUIRE(request.has_value());
  w.server.serve(*request);
  w.server.news.clear();
  w.keeper.on_failure(kBackend, w.now);
  w.settle();
  BOOST_TEST(w.take() == (Texts{kMake, kLook}), boost::test_tools::per_element());
  BOOST_TEST(w.keeper.problems().empty());
}

// An API server that has just started refuses what it allows some seconds later.
BOOST_AUTO_TEST_CASE(
    a_right_that_is_missing_is_told_when_it_stays_so_and_asked_for_ever_more_rarely) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  const auto no = Server::refusal(403, "services is forbidden");
  int refusals = 0;
  Instant told_at;
  const Instant began = w.now;
  const Instant end = w.now + Duration::seconds(7200);
  while (w.keeper.wake_at(w.now) < end) {
    w.now = w.keeper.wake_at(w.now);
    BOOST_REQUIRE(w.keeper.next(w.now).has_value());
    w.keeper.on_reply(kBackend, no.status, no.body, w.now);
    ++refusals;
    if (w.keeper.take_news()) told_at = w.now;
  }
  BOOST_TEST((told_at - began).to_milliseconds() >= 3'000);
  BOOST_TEST((told_at - began).to_milliseconds() <= 6'000);
  BOOST_TEST(refusals > 15);
  BOOST_TEST(refusals < 25);
  BOOST_TEST(w.keeper.problems().at(kBackend) ==
             "the API server refuses it (403): services is forbidden");
  // Another wish is tried at once.
  w.keeper.want({{kBackend, service(9090)}});
  BOOST_TEST((w.keeper.wake_at(w.now) <= w.now + ObjectKeeper::kObjectPause));
}

BOOST_AUTO_TEST_CASE(nothing_is_written_before_all_is_known) {
  World w;
  const ObjectId status{"ConfigMap", "a-status"};
  w.keeper.want({{status, Value::map()}});
  BOOST_TEST((w.keeper.wake_at(w.now) == Instant::never()));
  w.keeper.on_synced("ConfigMap");
  BOOST_TEST((w.keeper.wake_at(w.now) == w.now));
}

// The site was deleted and made again.
BOOST_AUTO_TEST_CASE(what_belongs_to_another_owner_stays_until_it_is_gone_and_is_made_anew) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  w.take();
  w.keeper.set_owner(std::nullopt);
  w.keeper.want({{kBackend, service(9090)}});
  w.settle();
  w.keeper.set_owner(ObjectOwner{"v1", "ConfigMap", "site-oeste", "u-other"});
  w.settle();
  BOOST_TEST(w.take() == Texts{}, boost::test_tools::per_element());
  BOOST_TEST(w.keeper.problems().contains(kBackend));
  w.server.erase(kBackend);
  w.settle();
  BOOST_TEST(w.take() == Texts{kMake}, boost::test_tools::per_element());
  const Value& owner = w.there(kBackend).find("metadata")->find("ownerReferences")->items().front();
  BOOST_TEST(owner.find("uid")->text() == "u-other");
}

BOOST_AUTO_TEST_CASE(a_burst_is_paced_and_every_object_is_written_once) {
  World w;
  std::map<ObjectId, Value> many;
  for (int i = 0; i < 1000; ++i) many[{"Service", "s" + std::to_string(i)}] = service(8080);
  const Instant began = w.now;
  w.keeper.want(many);
  w.settle(Duration::seconds(4));
  BOOST_TEST(w.asked.size() < 1000u);
  w.now = began + Duration::seconds(4);
  w.settle(Duration::seconds(1));
  BOOST_TEST(w.asked.size() == 1000u);
}

BOOST_AUTO_TEST_CASE(an_object_that_others_keep_changing_is_fought_ever_more_slowly) {
  World w;
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  w.take();
  // Another's field: applying answers 409 as long as it stays.
  Value taken = w.there(kBackend);
  taken.set("spec", *service(1).find("spec"));
  w.keeper.on_object(kBackend, taken);
  size_t requests = 0;
  const Instant end = w.now + Duration::seconds(3600);
  while (w.keeper.wake_at(w.now) < end) {
    w.now = w.keeper.wake_at(w.now);
    const auto request = w.keeper.next(w.now);
    ++requests;
    if (request->method == "GET") w.keeper.on_reply(kBackend, 200, taken, w.now);
    else w.keeper.on_reply(kBackend, 409, Server::refusal(409, "conflict").body, w.now);
  }
  BOOST_TEST(requests > 10u);
  BOOST_TEST(requests < 50u);
  BOOST_TEST(w.keeper.problems().at(kBackend).contains("conflict"));
}

// Secrets of the site's state carry label and owner, too (cluster_state.h).
BOOST_AUTO_TEST_CASE(a_secret_that_another_part_of_the_site_made_is_not_written_over) {
  World w;
  w.keeper.on_synced("Secret");
  const ObjectId id{"Secret", "link1"};
  Value made = json(R"({"data":{"tls.key":"of a token"},"metadata":{"name":"link1",
      "labels":{"app.kubernetes.io/managed-by":"istmo"},"ownerReferences":[{"uid":"u-owner"}]}})");
  made = w.server.store(id, made, "Update");
  w.keeper.want({{id, json(R"({"data":{"tls.key":"of a certificate"}})")}});
  w.settle();
  BOOST_TEST((w.there(id) == made));
  BOOST_TEST(w.keeper.problems().at(id) == "Secret link1 is there for something else");
  w.server.erase(id);
  w.settle();
  BOOST_TEST(text_at(w.there(id), "data", "tls.key") == "of a certificate");
}

BOOST_AUTO_TEST_CASE(what_another_part_of_the_site_made_is_left_alone) {
  World w;
  const Value made = json(R"({"metadata":{"name":"istmo-state-site","labels":{)"
                          R"("app.kubernetes.io/managed-by":"istmo","istmo.dev/state":"true"},)"
                          R"("ownerReferences":[{"uid":"u-owner"}]}})");
  const ObjectId id{"ConfigMap", "istmo-state-site"};
  w.server.store(id, made, "Update");
  w.keeper.on_synced("ConfigMap");
  w.keeper.want({{kBackend, service(8080)}});
  w.settle();
  w.keeper.want({});
  w.settle();
  BOOST_TEST(w.take() == (Texts{kMake, kRemove}), boost::test_tools::per_element());
  BOOST_TEST(w.server.objects.contains(id));
}

// Seeds of everything at once: wishes change, others make and remove objects, answers are lost, the
// server fails, the watch is late.
class Turmoil {
 public:
  explicit Turmoil(uint64_t seed) : rng_(seed) {}

  void step() {
    w.now = w.now + Duration::milliseconds(static_cast<int64_t>(rng_.below(400)));
    const ObjectId id{"Service", std::string(1, static_cast<char>('a' + rng_.below(4)))};
    switch (rng_.below(8)) {
      case 0: wanted[id] = service(static_cast<int>(rng_.below(3)) + 1); break;
      case 1: wanted.erase(id); break;
      case 2: make_foreign(id); break;
      case 3:
        w.server.erase(id);
        foreign.erase(id);
        break;
      case 4: w.tell(1); break;
      case 5:
        if (!waiting_.empty()) answer(rng_.below(10));
        break;
      default: ask();
    }
    w.keeper.want(wanted);
  }
  // From now on everything works.
  void calm_down() {
    while (!waiting_.empty()) answer(9);
    w.settle(Duration::seconds(1300));
    w.take();
    w.settle(Duration::seconds(300));
  }

  World w;
  std::map<ObjectId, Value> wanted;
  std::map<ObjectId, Value> foreign;

 private:
  void make_foreign(const ObjectId& id) {
    if (w.server.objects.contains(id)) return;
    Value object = service(99);
    object.set("metadata", Value::map());
    foreign[id] = w.server.store(id, object, "Update");
  }
  void ask() {
    auto request = w.keeper.next(w.now);
    if (!request) return;
    Server::Answer answer = w.server.serve(*request);
    waiting_.emplace_back(request->object, std::move(answer));
  }
  void answer(uint64_t luck) {
    const auto [id, answer] = std::move(waiting_.front());
    waiting_.pop_front();
    if (luck == 0) w.keeper.on_failure(id, w.now);
    else if (luck == 1) w.keeper.on_reply(id, 503, {}, w.now);
    else w.keeper.on_reply(id, answer.status, answer.body, w.now);
  }

  Rng rng_;
  std::deque<std::pair<ObjectId, Server::Answer>> waiting_;
};

BOOST_AUTO_TEST_CASE(in_the_end_everything_is_as_wanted_whatever_happens) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      Turmoil t(seed);
      for (int step = 0; step < 300; ++step) t.step();
      t.calm_down();
      for (const auto& [id, object] : t.foreign) BOOST_TEST((t.w.there(id) == object));
      for (const auto& [id, object] : t.wanted) {
        if (t.foreign.contains(id)) BOOST_TEST(t.w.keeper.problems().contains(id));
        else BOOST_TEST(is_contained(object, t.w.there(id)));
      }
      for (const auto& [id, object] : t.w.server.objects) {
        BOOST_TEST((t.wanted.contains(id) || t.foreign.contains(id)), id.name);
      }
      if (!t.foreign.empty()) continue;
      BOOST_TEST(t.w.keeper.problems().empty());
      BOOST_TEST(t.w.take() == Texts{}, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
