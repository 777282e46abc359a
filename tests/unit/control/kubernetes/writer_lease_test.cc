#include "control/kubernetes/writer_lease.h"

#include <boost/test/unit_test.hpp>

#include <string>

using namespace istmo;
using namespace istmo::control;

namespace {

constexpr Instant kStart{1'000'000'000'000};

// What an API server keeps: one Lease, each write of which has to name the version before.
class Server {
 public:
  ApiReply answer(const ApiRequest& request) {
    if (is_forbidden) return {.status = 403, .body = {}, .error = {}};
    if (is_away) return {.status = 0, .body = {}, .error = "away"};
    if (request.method == "GET") {
      if (lease_.is_null()) return {.status = 404, .body = {}, .error = {}};
      return {.status = 200, .body = lease_, .error = {}};
    }
    if (request.method == "POST") {
      if (!lease_.is_null()) return {.status = 409, .body = {}, .error = {}};
    } else if (version_in(request.body) != version_in(lease_)) {
      return {.status = 409, .body = {}, .error = {}};
    }
    lease_ = request.body;
    Value metadata = *lease_.find("metadata");
    metadata.set("resourceVersion", std::to_string(++version_));
    lease_.set("metadata", std::move(metadata));
    return {.status = request.method == "POST" ? 201 : 200, .body = lease_, .error = {}};
  }
  std::string holder() const { return lease_.find("spec")->find("holderIdentity")->text(); }
  int transitions() const {
    return std::stoi(lease_.find("spec")->find("leaseTransitions")->text());
  }

  bool is_forbidden = false;
  bool is_away = false;

 private:
  static std::string version_in(const Value& lease) {
    const Value* version = lease.find("metadata")->find("resourceVersion");
    return version ? version->text() : std::string();
  }
  Value lease_;
  int version_ = 0;
};

// Everything that is due until then.
int run(WriterLease& lease, Server& server, Instant& now, Instant until) {
  int requests = 0;
  while (lease.wake_at() <= until) {
    now = std::max(now, lease.wake_at());
    const auto request = lease.next(now);
    if (!request) continue;
    ++requests;
    lease.on_reply(server.answer(*request), now);
  }
  now = until;
  return requests;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(writer_lease)

BOOST_AUTO_TEST_CASE(one_replica_alone_acts_and_asks_nobody) {
  WriterLease lease("oeste", "a");
  BOOST_TEST(lease.is_held(kStart));
  BOOST_TEST(!lease.next(kStart).has_value());
  BOOST_TEST(bool(lease.wake_at() == Instant::never()));
  Server server;
  Instant now = kStart;
  lease.set_contended(true, now);
  run(lease, server, now, now + Duration::seconds(1));
  lease.set_contended(false, now);  // the other one is gone
  BOOST_TEST(lease.is_held(now));
  BOOST_TEST(bool(lease.wake_at() == Instant::never()));
}

BOOST_AUTO_TEST_CASE(of_two_replicas_one_acts_until_it_is_silent) {
  Server server;
  WriterLease first("oeste", "a");
  WriterLease second("oeste", "b");
  Instant now = kStart;
  first.set_contended(true, now);
  second.set_contended(true, now);
  BOOST_TEST(!first.is_held(now));
  run(first, server, now, now);
  run(second, server, now, now);
  for (int i = 0; i < 100; ++i) {
    const Instant next = now + Duration::seconds(1);
    Instant same = now;
    run(first, server, now, next);
    run(second, server, same, next);
    BOOST_TEST(first.is_held(now));
    BOOST_TEST(!second.is_held(now));
  }
  BOOST_TEST(server.holder() == "a");
  // The first one hangs. Before the second one may act, the first would not any more.
  const Instant silent_at = now;
  while (!second.is_held(now) && now < silent_at + Duration::seconds(60)) {
    run(second, server, now, now + Duration::milliseconds(100));
  }
  BOOST_TEST(!first.is_held(now));
  BOOST_TEST(second.is_held(now));
  BOOST_TEST((now - silent_at).to_milliseconds() <= 21'000);
  BOOST_TEST(server.transitions() == 1);
  // It wakes up, and sees that it lost.
  run(first, server, now, now + Duration::seconds(1));
  BOOST_TEST(!first.is_held(now));
  BOOST_TEST(server.holder() == "b");
}

BOOST_AUTO_TEST_CASE(who_leaves_gives_it_to_the_other_one) {
  Server server;
  WriterLease first("oeste", "a");
  WriterLease second("oeste", "b");
  Instant now = kStart;
  first.set_contended(true, now);
  run(first, server, now, now);
  second.set_contended(true, now);
  run(second, server, now, now);
  first.release(now);
  BOOST_TEST(!first.is_held(now));
  run(first, server, now, now + Duration::seconds(1));
  BOOST_TEST(server.holder().empty());
  BOOST_TEST(bool(first.wake_at() == Instant::never()));
  run(second, server, now, now + WriterLease::kPause);
  BOOST_TEST(second.is_held(now));
  BOOST_TEST(server.holder() == "b");
}

BOOST_AUTO_TEST_CASE(who_cannot_reach_the_server_stops_in_time) {
  Server server;
  WriterLease lease("oeste", "a");
  Instant now = kStart;
  lease.set_contended(true, now);
  run(lease, server, now, now);
  BOOST_TEST(lease.is_held(now));
  server.is_away = true;
  run(lease, server, now, now + Duration::seconds(11));
  BOOST_TEST(!lease.is_held(now));
  server.is_away = false;
  run(lease, server, now, now + Duration::seconds(2));
  BOOST_TEST(lease.is_held(now));
}

BOOST_AUTO_TEST_CASE(without_the_right_it_is_told_and_seldom_tried) {
  Server server;
  server.is_forbidden = true;
  WriterLease lease("oeste", "a");
  Instant now = kStart;
  lease.set_contended(true, now);
  BOOST_TEST(run(lease, server, now, now + Duration::seconds(59)) == 1);
  BOOST_TEST(lease.is_forbidden());
  BOOST_TEST(!lease.is_held(now));
  server.is_forbidden = false;
  run(lease, server, now, now + Duration::seconds(2));
  BOOST_TEST(!lease.is_forbidden());
  BOOST_TEST(lease.is_held(now));
}

BOOST_AUTO_TEST_SUITE_END()
