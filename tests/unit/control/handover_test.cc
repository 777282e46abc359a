#include "control/handover.h"

#include "control_fixture.h"

using namespace istmo;
using namespace istmo::control;

namespace {

const ObjectId kLink{"Link", "l"};
const Desired kGiven =
    desired_from(document("Link", "l",
                          "{endpoints: [{name: inter-router, host: 10.0.0.1, port: '55671'}], "
                          "tlsCredentials: creds}"));
const Instant kNow = Instant{} + Duration::seconds(100);

// Whether the link counts.
bool update(Handover& handover, const std::vector<Document>& given, Desired desired, Instant now) {
  handover.update(given, desired, now);
  return desired.find(kLink).has_value();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(handover)

BOOST_AUTO_TEST_CASE(what_left_the_state_counts_until_it_is_seen_elsewhere) {
  Handover handover;
  BOOST_TEST(update(handover, kGiven.all(), {}, kNow));
  BOOST_TEST(update(handover, {}, {}, kNow + Duration::seconds(3)));
  BOOST_TEST(update(handover, {}, kGiven, kNow + Duration::seconds(4)));
  BOOST_TEST((handover.next_deadline() == Instant::never()));
  BOOST_TEST(!update(handover, {}, {}, kNow + Duration::seconds(5)));  // deleted there
}

BOOST_AUTO_TEST_CASE(what_never_comes_counts_no_longer_than_some_seconds) {
  Handover handover;
  BOOST_TEST(update(handover, kGiven.all(), {}, kNow));
  const Instant end = kNow + Duration::seconds(60);
  BOOST_TEST(update(handover, kGiven.all(), {}, end));  // as long as the state has it
  BOOST_TEST((handover.next_deadline() == end + Handover::kPatience));
  BOOST_TEST(!update(handover, {}, {}, handover.next_deadline()));
}

BOOST_AUTO_TEST_SUITE_END()
