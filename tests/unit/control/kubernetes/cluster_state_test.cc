// The machine alone, and several replicas of a site against a model of an API server that loses
// answers and does requests late.
#include "control/kubernetes/cluster_state.h"

#include <boost/test/unit_test.hpp>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "control/kubernetes/object_keeper.h"
#include "control/pending_claim.h"
#include "state_world.h"

using namespace istmo;
using namespace istmo::control;
using test::kNow;
using test::kOther;
using test::kOwner;
using Replica = test::StateReplica;
using Server = test::StateServer;

namespace {

struct Wait final : DurableWait {
  void on_durable(const Result<>& result) override { results.push_back(result); }
  std::vector<Result<>> results;
};

struct TestClaim final : PendingClaimSink {
  TestClaim(SiteState& state, const std::string& uid, const std::string& serial)
      : serial_number(serial),
        claim(state, *this, uid, {.name = "t", .subject = "s", .serial = serial, .time = kNow},
              [] { return kNow; }) {}
  void on_claim(ClaimOutcome said, const std::string&) override { outcome = said; }
  std::string serial_number;
  std::optional<ClaimOutcome> outcome;
  PendingClaim claim;
};

std::string content_of(const Server& server, const std::string& record) {
  const auto found = server.objects.find(state_secret_name(record));
  if (found == server.objects.end()) return "nothing";
  return text_at(found->second, "data", "content");
}

const std::string kA = "links/a.json";
const std::string kOne = "b25l";  // Base64
const std::string kTwo = "dHdv";

}  // namespace

BOOST_AUTO_TEST_SUITE(cluster_state)

BOOST_AUTO_TEST_CASE(records_have_names_that_a_secret_may_have) {
  BOOST_TEST(state_secret_name("site.json") == "istmo-state-site");
  BOOST_TEST(state_secret_name("issuers/istmo-site-ca.pem") == "istmo-state-issuers-istmo-site-ca");
  BOOST_TEST(state_secret_name("links/a.b.json") == "istmo-state-links-a.b");
  std::set<std::string> names;
  for (const std::string& record :
       {std::string("links/A.json"), std::string("links/a_.json"), std::string("links/-a.json"),
        "links/" + std::string(300, 'a') + ".json", "links/" + std::string(301, 'a') + ".json"}) {
    names.insert(state_secret_name(record));
    BOOST_TEST(state_secret_name(record).size() < 253u);
    BOOST_TEST(state_secret_name(record).starts_with("istmo-state-links-"));
  }
  BOOST_TEST(names.size() == 5u);
}

BOOST_AUTO_TEST_CASE(a_record_is_made_changed_and_removed_and_then_nothing_is_asked) {
  Server server;
  Replica replica(server, 1);
  replica.begin();
  Wait wait;
  BOOST_TEST(replica.store.write(kA, "one").has_value());
  replica.store.when_durable(wait);
  BOOST_TEST(replica.store.read(kA).value() == "one");
  BOOST_TEST(!replica.store.is_stored(kA));
  BOOST_TEST(wait.results.empty());
  replica.settle();
  BOOST_TEST(wait.results.at(0).has_value());
  BOOST_TEST(content_of(server, kA) == kOne);
  const Value& secret = server.objects.at("istmo-state-links-a");
  BOOST_TEST(text_at(secret, "metadata", "labels", kManagedByLabel) == kManagedBy);
  const Value& owner = secret.find("metadata")->find("ownerReferences")->items().at(0);
  BOOST_TEST(text_at(owner, "uid") == kOwner.uid);
  BOOST_TEST(replica.store.write(kA, "two").has_value());
  replica.settle();
  BOOST_TEST(content_of(server, kA) == kTwo);
  BOOST_TEST(replica.store.remove(kA).has_value());
  replica.settle();
  BOOST_TEST(content_of(server, kA) == "nothing");
  BOOST_TEST(server.requests == 3u);
  BOOST_TEST(replica.changed.empty());
}

BOOST_AUTO_TEST_CASE(what_is_held_is_written_when_it_is_held_no_longer) {
  Server server;
  Replica replica(server, 1), other(server, 2);
  for (Replica* each : {&replica, &other}) each->begin();
  replica.store.set_held(true);
  BOOST_TEST(other.store.write("links/b.json", "two").has_value());
  BOOST_TEST(replica.store.write(kA, "one").has_value());
  Wait wait;
  replica.store.when_durable(wait);
  other.settle();
  replica.settle();
  BOOST_TEST(content_of(server, kA) == "nothing");
  BOOST_TEST(wait.results.empty());
  BOOST_TEST(replica.store.read("links/b.json").value() == "two");  // it reads on
  replica.store.set_held(false);
  replica.settle();
  BOOST_TEST(content_of(server, kA) == kOne);
  BOOST_TEST(wait.results.at(0).has_value());
}

BOOST_AUTO_TEST_CASE(who_comes_second_takes_what_is_there_and_hears_of_it) {
  Server server;
  Replica first(server, 1), second(server, 2);
  for (Replica* replica : {&first, &second}) replica->begin();
  BOOST_TEST(first.store.write(kA, "one").has_value());
  BOOST_TEST(second.store.write(kA, "two").has_value());
  Wait wait;
  second.store.when_durable(wait);
  first.settle();
  second.settle();
  BOOST_TEST((wait.results.at(0).error().error_class() == ErrorClass::taken));
  BOOST_TEST(second.store.read(kA).value() == "one");
  BOOST_TEST(second.changed.at(0) == kA);
  BOOST_TEST(second.store.write(kA, "two").has_value());
  second.settle();
  first.settle();
  BOOST_TEST(first.store.read(kA).value() == "two");
  BOOST_TEST(first.changed.size() == 1u);
}

BOOST_AUTO_TEST_CASE(the_same_written_by_two_is_no_conflict) {
  Server server;
  Replica first(server, 1), second(server, 2);
  Wait wait;
  for (Replica* replica : {&first, &second}) {
    replica->begin();
    BOOST_TEST(replica->store.write(kA, "one").has_value());
  }
  second.store.when_durable(wait);
  first.settle();
  second.settle();
  BOOST_TEST(wait.results.at(0).has_value());
  BOOST_TEST(second.changed.empty());
}

BOOST_AUTO_TEST_CASE(a_write_whose_answer_was_lost_is_found_done) {
  Server server;
  Replica replica(server, 1);
  replica.begin();
  Wait wait;
  BOOST_TEST(replica.store.write(kA, "one").has_value());
  replica.store.when_durable(wait);
  const auto request = replica.ask();
  server.serve(*request);
  replica.store.on_failure(request->record, replica.now);
  BOOST_TEST(replica.store.write(kA, "two").has_value());
  replica.settle();
  BOOST_TEST(wait.results.at(0).has_value());
  BOOST_TEST(content_of(server, kA) == kTwo);
  BOOST_TEST(replica.changed.empty());
}

BOOST_AUTO_TEST_CASE(what_was_taken_back_before_it_was_sent_waits_for_nothing) {
  Server server;
  Replica replica(server, 1);
  replica.begin();
  BOOST_TEST(replica.store.write(kA, "one").has_value());
  replica.settle();
  BOOST_TEST(replica.store.write(kA, "two").has_value());
  Wait wait;
  replica.store.when_durable(wait);
  BOOST_TEST(replica.store.write(kA, "one").has_value());
  BOOST_TEST(!replica.ask().has_value());
  BOOST_TEST(wait.results.at(0).has_value());
  BOOST_TEST(server.requests == 1u);
}

BOOST_AUTO_TEST_CASE(what_is_refused_is_told_and_tried_again) {
  Server server;
  Replica replica(server, 1);
  replica.begin();
  Wait wait, unlinked;
  BOOST_TEST(replica.store.write(kA, "one").has_value());
  replica.store.when_durable(wait);
  replica.store.when_durable(unlinked);
  unlinked.unlink();
  int asked = 0;
  while (wait.results.empty() && asked < 10) {
    replica.now = replica.store.wake_at(replica.now);
    const auto request = replica.ask();
    BOOST_REQUIRE(request.has_value());
    ++asked;
    const auto no = Server::refusal(403, "no right");
    replica.store.on_reply(request->record, no.status, no.body, replica.now);
  }
  BOOST_TEST(asked == ClusterState::kRefusalsPassedOver + 1);
  BOOST_TEST((wait.results.at(0).error().error_class() == ErrorClass::refused));
  BOOST_TEST(replica.store.problem() ==
             "the API server refuses Secret istmo-state-links-a (403): no right");
  BOOST_TEST(!replica.store.reserve("links/b.json").has_value());
  replica.settle();
  BOOST_TEST(content_of(server, kA) == kOne);
  BOOST_TEST(replica.store.problem().empty());
  BOOST_TEST(unlinked.results.empty());
}

BOOST_AUTO_TEST_CASE(without_an_owner_nothing_is_written_and_all_is_when_there_is_one) {
  Server server;
  Replica replica(server, 1);
  replica.begin(std::nullopt);
  Wait wait;
  BOOST_TEST(replica.store.write(kA, "one").has_value());
  replica.store.when_durable(wait);
  BOOST_TEST(wait.results.at(0).has_value());
  BOOST_TEST(replica.store.is_stored(kA));
  replica.settle();
  BOOST_TEST(server.requests == 0u);
  replica.store.set_owner(kOwner);
  BOOST_TEST(!replica.store.is_stored(kA));
  replica.settle();
  BOOST_TEST(content_of(server, kA) == kOne);
}

BOOST_AUTO_TEST_CASE(records_of_a_site_that_was_deleted_are_not_taken) {
  Server server;
  Replica old(server, 1);
  old.begin(kOther);
  BOOST_TEST(old.store.write(kA, "one").has_value());
  old.settle();
  Replica replica(server, 2);
  replica.begin(std::nullopt);
  BOOST_TEST(replica.store.owner_of_records()->uid == kOther.uid);
  replica.store.set_owner(kOwner);
  BOOST_TEST(replica.store.list("links")->empty());
  BOOST_TEST(replica.store.write(kA, "two").has_value());
  replica.settle();
  BOOST_TEST(content_of(server, kA) == kOne);
  BOOST_TEST(replica.store.problem() ==
             "Secret istmo-state-links-a is there and is not this site's");
  server.erase("istmo-state-links-a");
  replica.settle();
  BOOST_TEST(content_of(server, kA) == kTwo);
}

BOOST_AUTO_TEST_CASE(a_site_has_its_id_ca_and_ledger_in_a_new_process) {
  Server server;
  auto first = std::make_unique<Replica>(server, 1);
  first->begin();
  first->open();
  const std::string ca = first->site->ca_certificates();
  const Grant grant = first->site->put_grant({.name = "g", .code = {}}, kNow).value();
  BOOST_TEST(!first->site->is_stored(grant));
  TestClaim claim(*first->site, grant.uid, "01");
  claim.claim.start();
  BOOST_TEST(!claim.outcome.has_value());
  first->settle();
  BOOST_TEST((claim.outcome == ClaimOutcome::counted));
  BOOST_TEST(first->site->is_stored(grant));
  first.reset();
  Replica next(server, 2);
  next.begin();
  next.open();
  BOOST_TEST(next.site->site_id() == kOwner.uid);
  BOOST_TEST(next.site->ca_certificates() == ca);
  BOOST_TEST(next.site->find_grant(grant.uid)->redemptions() == 1u);
  BOOST_TEST(next.site->find_grant(grant.uid)->code == grant.code);
  BOOST_TEST(next.store.is_settled());
  next.settle();
  BOOST_TEST(next.changed.empty());
}

BOOST_AUTO_TEST_CASE(two_that_begin_at_once_have_one_ca_and_one_grant) {
  Server server;
  Replica first(server, 1), second(server, 2);
  std::string uid;
  for (Replica* replica : {&first, &second}) {
    replica->begin();
    replica->open();
    uid = replica->site->put_grant({.name = "g", .code = {}}, kNow)->uid;
  }
  const std::string ca = first.site->ca_certificates();
  BOOST_TEST(second.site->ca_certificates() != ca);
  first.settle();
  second.settle();
  BOOST_TEST(second.site->ca_certificates() == ca);
  BOOST_TEST(second.site->grants().size() == 1u);
  BOOST_TEST(second.site->find_grant(uid)->code == first.site->find_grant(uid)->code);
  BOOST_TEST(second.site->find_grant(uid)->is_wanted);
}

BOOST_AUTO_TEST_CASE(names_that_two_were_given_at_once_are_both_kept) {
  Server server;
  Replica first(server, 1), second(server, 2);
  for (Replica* replica : {&first, &second}) {
    replica->begin();
    replica->open();
    replica->settle();
  }
  BOOST_TEST(first.site->add_ingress_hosts({"a.example"}).has_value());
  BOOST_TEST(second.site->add_ingress_hosts({"b.example"}).has_value());
  for (Replica* replica : {&first, &second, &first}) replica->settle();
  BOOST_TEST(first.site->ingress_hosts().size() == 2u);
  BOOST_TEST(second.site->ingress_hosts() == first.site->ingress_hosts(),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_ca_that_somebody_deleted_is_written_again) {
  Server server;
  Replica replica(server, 1);
  replica.begin();
  replica.open();
  replica.settle();
  const std::string before = content_of(server, SiteCa::kRecord);
  server.erase(state_secret_name(SiteCa::kRecord));
  server.erase(state_secret_name("site.json"));
  replica.settle();
  BOOST_TEST(content_of(server, SiteCa::kRecord) == before);
  BOOST_TEST(content_of(server, "site.json") != "nothing");
}

BOOST_AUTO_TEST_CASE(secrets_that_make_no_sense_change_nothing) {
  Server server;
  Replica replica(server, 1);
  replica.begin();
  replica.open();
  const std::string uid = replica.site->put_grant({.name = "g", .code = {}}, kNow)->uid;
  replica.settle();
  const std::string record = "grants/" + uid + ".json";
  const Value good = server.objects.at(state_secret_name(record));
  const auto put = [&](const Value& data) {
    Value bad = good;
    bad.set("data", data);
    Value metadata = *bad.find("metadata");
    metadata.set("resourceVersion", std::to_string(++server.version));
    bad.set("metadata", std::move(metadata));
    server.objects[state_secret_name(record)] = bad;
    server.events.emplace_back(state_secret_name(record), bad);
    replica.settle();
  };
  const std::string& name = text_at(good, "data", "record");
  const std::vector<std::string> hostile{
      "[]",
      "{}",
      R"({"record":"%","content":7})",
      R"({"record":{},"content":[]})",
      R"({"record":")" + name + R"("})",
      R"({"record":")" + name + R"(","content":"Z2FyYmFnZQ=="})"};
  for (const std::string& data : hostile) {
    put(json(data));
    BOOST_TEST(replica.site->grants().size() == 1u);
  }
  put(*good.find("data"));
  BOOST_TEST(replica.site->find_grant(uid)->is_open(kNow));
}

BOOST_AUTO_TEST_CASE(of_two_claims_on_the_last_use_one_counts) {
  Server server;
  Replica first(server, 1), second(server, 2);
  first.begin();
  first.open();
  const std::string uid = first.site->put_grant({.name = "g", .code = {}}, kNow)->uid;
  first.settle();
  second.begin();
  second.open();
  TestClaim of_first(*first.site, uid, "01"), of_second(*second.site, uid, "02");
  of_first.claim.start();
  of_second.claim.start();
  first.settle();
  second.settle();
  BOOST_TEST((of_first.outcome == ClaimOutcome::counted));
  BOOST_TEST((of_second.outcome == ClaimOutcome::closed));
  BOOST_TEST(second.site->has_claim(uid, "01"));
  BOOST_TEST(!second.site->has_claim(uid, "02"));
}

// Seeds of everything at once: claims, tokens, crashes, lost answers, requests that are done late,
// watches that are behind.
class Turmoil {
 public:
  static constexpr uint32_t kAllowed = 6;

  explicit Turmoil(uint64_t seed) : rng_(seed) {
    for (size_t i = 0; i < 2; ++i) start(i);
  }

  void step() {
    const size_t i = rng_.below(2);
    Process& process = *processes_[i];
    Replica& replica = process.replica;
    replica.now = replica.now + Duration::milliseconds(static_cast<int64_t>(rng_.below(300)));
    switch (rng_.below(12)) {
      case 0: claim(process); break;
      case 1: give_up(process); break;
      case 2: redeem(process); break;
      case 3:
        if (rng_.below(6) == 0) start(i);  // a crash
        break;
      case 4:
      case 5: replica.tell(1); break;
      case 6: execute_late(); break;
      case 7:
      case 8: ask(process); break;
      default: answer(process); break;
    }
    note(*processes_[i]);
  }
  void calm_down() {
    while (!late_.empty()) execute_late();
    for (int round = 0; round < 3; ++round) {
      for (auto& process : processes_) {
        while (!process->asked.empty()) answer(*process);
        process->replica.settle();
        note(*process);
      }
    }
  }
  void check() {
    Replica last(server_, 9);
    last.begin();
    last.open();
    const Grant& grant = *last.site->find_grant(uid_);
    BOOST_TEST(grant.redemptions() <= kAllowed);
    BOOST_TEST(accepted_.size() <= kAllowed);
    for (const std::string& serial : accepted_) BOOST_TEST(last.site->has_claim(uid_, serial));
    for (const std::string& token : kept_) BOOST_TEST(last.site->redeemed().contains(token));
    for (auto& process : processes_) {
      BOOST_TEST(process->replica.store.is_settled());
      BOOST_TEST(process->replica.site->ca_certificates() == last.site->ca_certificates());
      BOOST_TEST(process->replica.site->find_grant(uid_)->redemptions() == grant.redemptions());
    }
  }
  size_t accepted() const { return accepted_.size(); }
  size_t kept() const { return kept_.size(); }

 private:
  struct Token {
    std::string name;
    Wait wait;
  };
  struct Process {
    Process(Server& server, uint64_t seed) : replica(server, seed) {}
    Replica replica;
    std::deque<ClusterState::Request> asked;
    std::list<TestClaim> claims;
    std::list<Token> tokens;
  };

  void start(size_t i) {
    for (const auto& request : processes_[i] ? processes_[i]->asked : decltype(Process::asked)()) {
      if (rng_.below(2) == 0) late_.push_back(request);
    }
    processes_[i] = std::make_unique<Process>(server_, ++number_);
    Replica& replica = processes_[i]->replica;
    replica.begin();
    replica.open();
    uid_ = replica.site->put_grant({.name = "g", .code = {}, .redemptions_allowed = kAllowed}, kNow)
               ->uid;
  }
  void claim(Process& process) {
    auto& claim =
        process.claims.emplace_back(*process.replica.site, uid_, std::to_string(++number_));
    claim.claim.start();
  }
  void give_up(Process& process) {
    if (process.claims.empty()) return;
    process.claims.front().claim.withdraw();
    process.claims.pop_front();
  }
  void redeem(Process& process) {
    Token& token = process.tokens.emplace_back();
    token.name = "t" + std::to_string(++number_);
    BOOST_TEST(
        process.replica.site
            ->put_redeemed(
                {.name = token.name, .url = {}, .code_sha256 = {}, .documents = {}, .time = kNow})
            .has_value());
    process.replica.site->when_durable(token.wait);
  }
  void ask(Process& process) {
    if (auto request = process.replica.ask()) process.asked.push_back(std::move(*request));
  }
  void answer(Process& process) {
    if (process.asked.empty()) return;
    const ClusterState::Request request = std::move(process.asked.front());
    process.asked.pop_front();
    ClusterState& store = process.replica.store;
    const Instant now = process.replica.now;
    switch (rng_.below(8)) {
      case 0:  // done, and the answer is lost
        server_.serve(request);
        return store.on_failure(request.record, now);
      case 1:  // done after the answer was given up
        late_.push_back(request);
        return store.on_failure(request.record, now);
      case 2: return store.on_reply(request.record, 503, Value(), now);
      default: return process.replica.answer(request);
    }
  }
  void execute_late() {
    if (late_.empty()) return;
    server_.serve(late_.front());
    late_.pop_front();
  }
  // What was answered to others.
  void note(Process& process) {
    process.claims.remove_if([&](const TestClaim& claim) {
      if (claim.outcome == ClaimOutcome::counted) accepted_.insert(claim.serial_number);
      return claim.outcome.has_value();
    });
    process.tokens.remove_if([&](const Token& token) {
      if (token.wait.results.empty()) return false;
      if (token.wait.results.front()) kept_.insert(token.name);
      return true;
    });
  }

  Rng rng_;
  Server server_;
  uint64_t number_ = 0;
  std::string uid_;
  std::unique_ptr<Process> processes_[2];
  std::deque<ClusterState::Request> late_;
  std::set<std::string> accepted_;
  std::set<std::string> kept_;
};

BOOST_AUTO_TEST_CASE(no_use_is_given_twice_and_nothing_that_was_told_is_lost_whatever_happens) {
  size_t accepted = 0, kept = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      Turmoil turmoil(seed);
      for (int i = 0; i < 400; ++i) turmoil.step();
      turmoil.calm_down();
      turmoil.check();
      accepted += turmoil.accepted();
      kept += turmoil.kept();
    }
  }
  BOOST_TEST(accepted > 200u);
  BOOST_TEST(kept > 1000u);
}

BOOST_AUTO_TEST_SUITE_END()
