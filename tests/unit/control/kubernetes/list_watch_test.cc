// The machine alone, and against a model of an API server that forgets, refuses, cuts and fails.
#include "control/kubernetes/list_watch.h"

#include <boost/test/unit_test.hpp>
#include <set>
#include <vector>

#include "json_text.h"

using namespace istmo;
using namespace istmo::control;

namespace {

Value object(const std::string& name, uint64_t version) {
  return json(R"({"metadata":{"name":")" + name + R"(","resourceVersion":")" +
              std::to_string(version) + R"("}})");
}

Value event(const std::string& type, Value object) {
  Value value = Value::map();
  value.set("type", type);
  value.set("object", std::move(object));
  return value;
}

// Keeps the picture that it is told, and every call as a word.
struct Picture final : CollectionSink {
  void on_object(const std::string& key, const Value& object) override {
    const std::string& version = object.find("metadata")->find("resourceVersion")->text();
    BOOST_TEST_REQUIRE(objects[key] != version, key << " " << version << " told twice");
    objects[key] = version;
    calls.push_back(key + "=" + version);
  }
  void on_object_gone(const std::string& key) override {
    BOOST_TEST_REQUIRE(objects.erase(key) == 1u, key);
    calls.push_back("-" + key);
  }
  void on_synced() override { calls.push_back("synced"); }
  void on_refused(int status, const std::string&) override {
    calls.push_back("refused " + std::to_string(status));
  }
  void on_trouble(const std::string& text) override { calls.push_back("trouble " + text); }

  std::vector<std::string> take() { return std::exchange(calls, {}); }

  std::map<std::string, std::string> objects;
  std::vector<std::string> calls;
};

using Calls = std::vector<std::string>;

struct Machine {
  std::string ask() {
    const auto asked = machine.next(now);
    return asked ? asked->target : "";
  }
  void list(const std::string& text) { machine.on_list(json(text), now); }

  Rng rng{1};
  Picture picture;
  ListWatch machine{{.path = "/p", .label_selector = "a=b,c", .field_selector = {}}, picture, rng};
  Instant now{1};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(list_watch)

BOOST_AUTO_TEST_CASE(pages_are_listed_then_a_watch_begins_where_they_end) {
  Machine m;
  BOOST_TEST(m.ask() == "/p?labelSelector=a%3Db%2Cc&limit=500");
  BOOST_TEST(m.ask() == "");
  BOOST_TEST((m.machine.wake_at() == Instant::never()));
  m.list(R"({"metadata":{"resourceVersion":"7","continue":"x/y"},"items":[
      {"metadata":{"name":"a","namespace":"n","resourceVersion":"3"}}]})");
  BOOST_TEST(m.picture.take() == Calls{"n/a=3"}, boost::test_tools::per_element());
  BOOST_TEST(!m.machine.is_synced());
  BOOST_TEST(m.ask() == "/p?labelSelector=a%3Db%2Cc&limit=500&continue=x%2Fy");
  m.list(R"({"metadata":{"resourceVersion":"7"},"items":[
      {"metadata":{"name":"b","resourceVersion":"5"}}]})");
  BOOST_TEST(m.picture.take() == (Calls{"b=5", "synced"}), boost::test_tools::per_element());
  const std::string watch = m.ask();
  BOOST_TEST(
      watch.starts_with("/p?labelSelector=a%3Db%2Cc&watch=true&allowWatchBookmarks=true"
                        "&resourceVersion=7&timeoutSeconds="));
  m.machine.on_event(event("ADDED", object("c", 8)), m.now);
  m.machine.on_event(event("MODIFIED", object("b", 9)), m.now);
  m.machine.on_event(event("DELETED", object("c", 10)), m.now);
  m.machine.on_event(event("BOOKMARK", object("", 20)), m.now);
  BOOST_TEST(m.picture.take() == (Calls{"c=8", "b=9", "-c"}), boost::test_tools::per_element());
  m.machine.on_watch_end(m.now);
  BOOST_TEST(m.ask().contains("&resourceVersion=20&"));
}

BOOST_AUTO_TEST_CASE(after_410_what_is_not_listed_is_gone_and_what_is_the_same_is_not_told) {
  Machine m;
  m.ask();
  m.list(R"({"metadata":{"resourceVersion":"7"},"items":[
      {"metadata":{"name":"a","resourceVersion":"3"}},
      {"metadata":{"name":"b","resourceVersion":"4"}}]})");
  m.ask();
  m.picture.take();
  m.machine.on_event(event("ERROR", json(R"({"code":410,"message":"too old"})")), m.now);
  m.machine.on_watch_end(m.now);
  BOOST_TEST(m.ask() == "/p?labelSelector=a%3Db%2Cc&limit=500");
  m.list(R"({"metadata":{"resourceVersion":"30"},"items":[
      {"metadata":{"name":"b","resourceVersion":"4"}},
      {"metadata":{"name":"c","resourceVersion":"29"}}]})");
  BOOST_TEST(m.picture.take() == (Calls{"c=29", "-a", "synced"}), boost::test_tools::per_element());
  BOOST_TEST(m.machine.size() == 2u);
}

BOOST_AUTO_TEST_CASE(failures_back_off_with_jitter_and_are_told_once) {
  Machine m;
  Duration pause;
  for (int i = 0; i < 12; ++i) {
    BOOST_TEST_REQUIRE(m.ask() != "");
    m.machine.on_failure("nobody there", m.now);
    pause = m.machine.wake_at() - m.now;
    const Duration longest = std::min(ListWatch::kBackoffMax, ListWatch::kBackoffMin * (1 << i));
    BOOST_TEST((pause >= longest / 2 && pause <= longest));
    BOOST_TEST(m.ask() == "");
    m.now = m.machine.wake_at();
  }
  BOOST_TEST(m.picture.take() == Calls{"trouble nobody there"}, boost::test_tools::per_element());
  m.ask();
  m.list(R"({"metadata":{"resourceVersion":"7"}})");
  m.ask();
  m.machine.on_failure("cut", m.now);
  BOOST_TEST((m.machine.wake_at() - m.now <= ListWatch::kBackoffMin));
  BOOST_TEST(m.picture.take() == (Calls{"synced", "trouble cut"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_watch_that_ends_at_once_is_a_failure_and_a_long_one_is_not) {
  Machine m;
  m.ask();
  m.list(R"({"metadata":{"resourceVersion":"7"}})");
  m.ask();
  m.machine.on_watch_end(m.now);
  BOOST_TEST((m.machine.wake_at() > m.now));
  m.now = m.machine.wake_at();
  m.ask();
  m.now = m.now + Duration::seconds(400);
  m.machine.on_watch_end(m.now);
  BOOST_TEST((m.machine.wake_at() == m.now));
}

BOOST_AUTO_TEST_CASE(who_is_refused_asks_ever_more_rarely_and_keeps_what_it_knew) {
  Machine m;
  m.ask();
  m.list(R"({"metadata":{"resourceVersion":"7"},"items":[
      {"metadata":{"name":"a","resourceVersion":"3"}}]})");
  m.ask();
  m.picture.take();
  const Instant began = m.now;
  Instant told_at;
  for (int i = 0; i < 14; ++i) {
    m.machine.on_status(403, "no right", m.now);
    if (m.picture.take() == Calls{"refused 403"}) told_at = m.now;
    m.now = m.machine.wake_at();
    BOOST_TEST(m.ask() == "/p?labelSelector=a%3Db%2Cc&limit=500");
  }
  // Longer than an API server needs for its roles after a start, and once.
  BOOST_TEST((told_at - began).to_milliseconds() >= 3'000);
  BOOST_TEST((told_at - began).to_milliseconds() <= 7'000);
  BOOST_TEST((m.now - began).to_milliseconds() >= 1'000'000);
  m.list(R"({"metadata":{"resourceVersion":"9"}})");
  BOOST_TEST(m.picture.take() == (Calls{"-a", "synced"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(who_never_had_the_right_is_told_at_once) {
  Machine m;
  m.ask();
  m.machine.on_status(404, "no such kind", m.now);
  BOOST_TEST(m.picture.take() == Calls{"refused 404"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_is_no_list_and_no_event_is_a_failure) {
  for (const char* text : {"{}", R"({"metadata":{}})", "[]", R"({"metadata":"x","items":3})"}) {
    Machine m;
    m.ask();
    m.list(text);
    BOOST_TEST(m.picture.take().size() == 1u, text);
    BOOST_TEST((m.machine.wake_at() > m.now), text);
  }
  for (const char* text : {"{}", R"({"type":"ADDED"})", R"({"type":"ADDED","object":{}})",
                           R"({"type":"ERROR","object":{"code":500,"message":"m"}})"}) {
    Machine m;
    m.ask();
    m.list(R"({"metadata":{"resourceVersion":"7"}})");
    m.ask();
    m.picture.take();
    m.machine.on_event(json(text), m.now);
    BOOST_TEST(m.picture.take().size() == 1u, text);
    BOOST_TEST((m.machine.wake_at() > m.now), text);
  }
}

BOOST_AUTO_TEST_CASE(a_page_that_is_too_large_is_asked_for_in_smaller_ones_down_to_one_object) {
  Machine m;
  std::vector<std::string> limits;
  for (int i = 0; i < 9; ++i) {
    const std::string target = m.ask();
    limits.push_back(target.substr(target.find("limit=")));
    m.machine.on_too_large("32 MiB", m.now);
  }
  BOOST_TEST(limits == (Calls{"limit=500", "limit=250", "limit=125", "limit=62", "limit=31",
                              "limit=15", "limit=7", "limit=3", "limit=1"}),
             boost::test_tools::per_element());
  BOOST_TEST(m.picture.take() == Calls{"trouble 32 MiB"}, boost::test_tools::per_element());
  BOOST_TEST((m.machine.wake_at() > m.now));
}

BOOST_AUTO_TEST_CASE(an_event_that_is_too_large_is_had_by_a_list) {
  Machine m;
  m.ask();
  m.list(R"({"metadata":{"resourceVersion":"7"}})");
  m.ask();
  m.machine.on_too_large("16 MiB", m.now);
  BOOST_TEST((m.machine.wake_at() > m.now));
  m.now = m.machine.wake_at();
  BOOST_TEST(m.ask() == "/p?labelSelector=a%3Db%2Cc&limit=500");
}

// --- against a model ---------------------------------------------------------------------------

namespace {

// An API server's collection: its history, of which the oldest part may be forgotten.
class ModelServer {
 public:
  explicit ModelServer(Rng& rng) : rng_(rng) {}

  void change() {
    ++version_;
    const std::string name = "o" + std::to_string(rng_.below(40));
    const bool is_there = objects_.contains(name);
    if (is_there && rng_.chance(400'000)) {
      objects_.erase(name);
      history_.push_back({version_, "DELETED", name});
    } else {
      objects_[name] = version_;
      history_.push_back({version_, is_there ? "MODIFIED" : "ADDED", name});
    }
  }
  void compact() {
    const size_t kept = rng_.below(history_.size() + 1);
    history_.erase(history_.begin(), history_.end() - static_cast<std::ptrdiff_t>(kept));
    oldest_ = history_.empty() ? version_ : history_.front().version - 1;
  }

  // Pages show the collection as it was when the first one was asked for.
  Value list(const std::string& from) {
    if (from.empty()) {
      listed_ = objects_;
      listed_version_ = version_;
    }
    Value metadata = Value::map();
    metadata.set("resourceVersion", std::to_string(listed_version_));
    Value items = Value::list();
    auto at = from.empty() ? listed_.begin() : listed_.lower_bound(from);
    for (int i = 0; i < 7 && at != listed_.end(); ++i, ++at) {
      items.add(object(at->first, at->second));
    }
    if (at != listed_.end()) metadata.set("continue", at->first);
    Value page = Value::map();
    page.set("metadata", std::move(metadata));
    page.set("items", std::move(items));
    return page;
  }
  bool knows(uint64_t version) const { return version >= oldest_; }
  // The events behind a version.
  std::vector<Value> events_after(uint64_t version) const {
    std::vector<Value> events;
    for (const auto& change : history_) {
      if (change.version > version) {
        events.push_back(event(change.type, object(change.name, change.version)));
      }
    }
    return events;
  }
  uint64_t version() const { return version_; }
  const std::map<std::string, uint64_t>& objects() const { return objects_; }

 private:
  struct Change {
    uint64_t version;
    std::string type;
    std::string name;
  };
  Rng& rng_;
  uint64_t version_ = 1;
  uint64_t oldest_ = 1;
  uint64_t listed_version_ = 1;
  std::map<std::string, uint64_t> objects_;
  std::map<std::string, uint64_t> listed_;
  std::vector<Change> history_;
};

std::string parameter(const std::string& target, const std::string& name) {
  const size_t at = target.find(name + "=");
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 1;
  return target.substr(begin, target.find('&', begin) - begin);
}

bool agree(const Picture& picture, const ModelServer& server) {
  if (picture.objects.size() != server.objects().size()) return false;
  return std::ranges::all_of(server.objects(), [&](const auto& one) {
    const auto found = picture.objects.find(one.first);
    return found != picture.objects.end() && found->second == std::to_string(one.second);
  });
}

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : rng_(seed), server_(rng_) {}

  void step(bool is_kind) {
    now_ = now_ + Duration::milliseconds(static_cast<int64_t>(rng_.below(2000)));
    if (!is_kind) {
      for (uint64_t i = rng_.below(4); i > 0; --i) server_.change();
      if (rng_.chance(30'000)) server_.compact();
    }
    if (is_watching_) return watch_on(is_kind);
    const auto ask = machine_.next(now_);
    if (!ask) {
      now_ = std::max(now_, machine_.wake_at());
      return;
    }
    if (!is_kind && rng_.chance(200'000)) return machine_.on_failure("no answer", now_);
    if (!is_kind && rng_.chance(50'000)) return machine_.on_status(429, "slow down", now_);
    if (!is_kind && rng_.chance(10'000)) return machine_.on_status(403, "no", now_);
    if (ask->kind == ListWatch::Ask::Kind::list) {
      const std::string page = parameter(ask->target, "continue");
      if (!is_kind && !page.empty() && rng_.chance(100'000)) {
        return machine_.on_status(410, "expired", now_);
      }
      return machine_.on_list(server_.list(page), now_);
    }
    watched_ = std::stoull(parameter(ask->target, "resourceVersion"));
    if (!server_.knows(watched_)) return machine_.on_status(410, "too old", now_);
    is_watching_ = true;
  }

  bool agrees() const { return agree(picture_, server_); }

 private:
  void watch_on(bool is_kind) {
    if (!server_.knows(watched_)) {
      machine_.on_event(event("ERROR", json(R"({"code":410})")), now_);
      is_watching_ = false;
      return machine_.on_watch_end(now_);
    }
    for (Value& one : server_.events_after(watched_)) {
      if (!is_kind && rng_.chance(20'000)) return cut();
      watched_ = std::stoull(one.find("object")->find("metadata")->find("resourceVersion")->text());
      machine_.on_event(one, now_);
    }
    if (rng_.chance(100'000)) {
      watched_ = server_.version();
      machine_.on_event(event("BOOKMARK", object("", watched_)), now_);
    }
    if (!is_kind && rng_.chance(50'000)) return cut();
  }
  void cut() {
    is_watching_ = false;
    if (rng_.chance(500'000)) machine_.on_watch_end(now_);
    else machine_.on_failure("cut", now_);
  }

  Rng rng_;
  ModelServer server_;
  Picture picture_;
  ListWatch machine_{{.path = "/p", .label_selector = {}, .field_selector = {}}, picture_, rng_};
  Instant now_{1};
  bool is_watching_ = false;
  uint64_t watched_ = 0;
};

// A server that is there, then is not, while what it holds changes.
struct Outage {
  bool ask() {
    const auto ask = machine.next(now);
    if (ask) target = ask->target;
    return ask.has_value();
  }
  void list_all() {
    do {
      BOOST_TEST_REQUIRE(ask());
      BOOST_TEST_REQUIRE(target.contains("limit="));
      machine.on_list(server.list(parameter(target, "continue")), now);
    } while (picture.calls.empty() || picture.calls.back() != "synced");
  }

  Rng rng{7};
  ModelServer server{rng};
  Picture picture;
  ListWatch machine{{.path = "/p", .label_selector = {}, .field_selector = {}}, picture, rng};
  Instant now{1};
  std::string target;
};

}  // namespace

BOOST_AUTO_TEST_CASE(an_hour_without_a_server_costs_few_tries_and_is_caught_up_at_the_first) {
  Outage o;
  for (int i = 0; i < 200; ++i) o.server.change();
  o.list_all();
  const auto known = o.picture.objects;
  o.picture.take();
  BOOST_TEST_REQUIRE(o.ask());
  o.machine.on_failure("cut", o.now);
  const Instant end = o.now + Duration::seconds(3600);
  int tries = 0;
  for (; o.machine.wake_at() < end; ++tries) {
    BOOST_TEST((o.machine.wake_at() - o.now <= ListWatch::kBackoffMax));
    o.now = o.machine.wake_at();
    BOOST_TEST_REQUIRE(o.ask());
    o.machine.on_failure("refused", o.now);
    o.server.change();
  }
  BOOST_TEST(tries >= 120);  // 30 s apart, or half of it
  BOOST_TEST(tries <= 260);
  BOOST_TEST((o.picture.objects == known));
  BOOST_TEST(o.picture.take() == Calls{"trouble cut"}, boost::test_tools::per_element());
  o.server.compact();
  o.now = o.machine.wake_at();
  BOOST_TEST_REQUIRE(o.ask());
  BOOST_TEST(o.target.contains("watch=true"));
  o.machine.on_status(410, "too old", o.now);
  o.list_all();  // with no pause between
  BOOST_TEST(agree(o.picture, o.server));
}

BOOST_AUTO_TEST_CASE(it_agrees_with_the_server_whatever_happened_before) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      Simulation simulation(seed);
      for (int round = 0; round < 5; ++round) {
        for (int i = 0; i < 200; ++i) simulation.step(false);
        for (int i = 0; i < 40 && !simulation.agrees(); ++i) simulation.step(true);
        BOOST_TEST_REQUIRE(simulation.agrees());
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
