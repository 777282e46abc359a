#include "control/kubernetes/custom_statuses.h"

#include <boost/test/unit_test.hpp>

#include <string>

#include "json_text.h"

using namespace istmo;
using namespace istmo::control;

namespace {

constexpr Instant kStart{1'000'000'000'000};
const ObjectId kWeb{"Listener", "web"};

Value object(const std::string& uid, int generation, const std::string& status = "{}") {
  return json(R"({"metadata":{"name":"web","uid":")" + uid + R"(","generation":)" +
              std::to_string(generation) + R"(},"status":)" + status + "}");
}

ObjectStatus status(uint64_t generation, const std::string& text = "Ready") {
  ListenerDocument listener;
  listener.metadata.name = kWeb.name;
  listener.metadata.generation = generation;
  return {kWeb, listener, json(R"({"status":")" + text + R"(","conditions":[{"type":"Ready"}]})")};
}

struct World {
  Rng rng{1};
  CustomStatuses statuses{"oeste", rng};
  Instant now = kStart;

  // The status that is written now; null: nothing is.
  Value written() {
    auto request = statuses.next(now);
    if (!request) return {};
    BOOST_TEST(request->request.target ==
               "/apis/skupper.io/v2alpha1/namespaces/oeste/listeners/web/status");
    BOOST_TEST(request->request.content_type == "application/json-patch+json");
    uid = text_at(request->request.body.items().at(0), "value");
    return value_at(request->request.body.items().at(1), {"value"});
  }
  bool reply(int code) { return statuses.on_reply(kWeb, code, now); }
  std::string uid;
};

std::string generation_in(const Value& written) {
  const auto& conditions = value_at(written, {"conditions"}).items();
  return conditions.empty() ? std::string() : text_at(conditions[0], "observedGeneration");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(custom_statuses)

BOOST_FIXTURE_TEST_CASE(status_of_what_is_an_object_here_is_written_once, World) {
  statuses.want({status(1)});
  BOOST_TEST(written().is_null());
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  BOOST_TEST(text_at(written(), "status") == "Ready");
  BOOST_TEST(uid == "u1");
  reply(200);
  statuses.want({status(1)});
  statuses.on_object(kWeb, object("u1", 1, R"({"status":"Ready"})"));  // it lost what it knows not
  BOOST_TEST(written().is_null());
  BOOST_CHECK(statuses.wake_at(now) == Instant::never());
}

BOOST_FIXTURE_TEST_CASE(conditions_say_of_which_generation_they_are, World) {
  statuses.on_object(kWeb, object("u1", 7));
  statuses.want({status(6)});
  BOOST_TEST(generation_in(written()) == "6");
  reply(200);
  statuses.want({status(7)});
  BOOST_TEST(generation_in(written()) == "7");
  reply(200);
  // What is read as the document is the last version that was valid.
  statuses.on_object(kWeb, object("u1", 8));
  statuses.want({status(7, "Error")});
  BOOST_TEST(generation_in(written()) == "8");
}

BOOST_FIXTURE_TEST_CASE(status_that_is_there_already_is_not_written, World) {
  statuses.on_object(
      kWeb, object("u1", 1,
                   R"({"status":"Ready","conditions":[{"type":"Ready","observedGeneration":1}]})"));
  statuses.want({status(1)});
  BOOST_TEST(written().is_null());
}

BOOST_FIXTURE_TEST_CASE(another_object_of_the_same_name_gets_its_own, World) {
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  written();
  statuses.on_gone(kWeb);
  reply(404);
  BOOST_TEST(written().is_null());
  statuses.on_object(kWeb, object("u2", 1));
  BOOST_TEST(written().is_null());
  statuses.want({status(1)});
  BOOST_TEST(text_at(written(), "status") == "Ready");
  BOOST_TEST(uid == "u2");
}

BOOST_FIXTURE_TEST_CASE(server_that_is_away_is_asked_again_later, World) {
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  written();
  BOOST_TEST(!reply(0));
  BOOST_TEST(written().is_null());
  now = statuses.wake_at(now);
  BOOST_TEST(text_at(written(), "status") == "Ready");
}

BOOST_FIXTURE_TEST_CASE(server_that_does_not_know_us_for_a_moment_is_asked_again, World) {
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  written();
  BOOST_TEST(!reply(401));
  now = statuses.wake_at(now);
  BOOST_TEST(text_at(written(), "status") == "Ready");
}

BOOST_FIXTURE_TEST_CASE(what_another_replica_may_have_written_is_written_anew, World) {
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  written();
  reply(200);
  statuses.on_object(kWeb, object("u1", 1, R"({"status":"Error"})"));
  statuses.want({status(1)});
  BOOST_TEST(written().is_null());
  statuses.forget_written();
  BOOST_TEST(text_at(written(), "status") == "Ready");
}

BOOST_FIXTURE_TEST_CASE(refusal_is_told_again_after_it_was_over, World) {
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  written();
  BOOST_TEST(reply(422));
  statuses.want({status(1, "Pending")});
  written();
  BOOST_TEST(!reply(200));
  statuses.want({status(1)});
  written();
  BOOST_TEST(reply(422));
}

BOOST_FIXTURE_TEST_CASE(missing_right_is_told_once_and_asked_for_rarely, World) {
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  written();
  BOOST_TEST(reply(403));
  now = statuses.wake_at(now);
  BOOST_CHECK(now == kStart + CustomStatuses::kForbiddenPause);
  written();
  BOOST_TEST(!reply(403));
}

BOOST_FIXTURE_TEST_CASE(status_that_the_definition_refuses_is_not_asked_again_as_it_is, World) {
  statuses.on_object(kWeb, object("u1", 1));
  statuses.want({status(1)});
  written();
  BOOST_TEST(reply(422));
  BOOST_TEST(written().is_null());
  BOOST_CHECK(statuses.wake_at(now) == Instant::never());
  statuses.want({status(1, "Pending")});
  BOOST_TEST(text_at(written(), "status") == "Pending");
}

BOOST_AUTO_TEST_SUITE_END()
