// The suite of loop_suite.h over both real loops.
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "loop_suite.h"

using namespace istmo::io;

namespace bdata = boost::unit_test::data;

namespace {

suite::LoopFactory factory_for(IoMode mode) {
  return [choice = choose_loop(mode).value()](const LoopOptions& options) {
    return make_loop(choice, options).value();
  };
}

// Where io_uring works but receives cannot be limited (before Linux 6.17), or bundles are not to
// be trusted either (before Linux 6.12).
enum class Without : uint8_t { limit, bundles };
suite::LoopFactory factory_without(Without what) {
  LoopChoice choice = choose_loop(IoMode::uring).value();
  choice.has_receive_limit = false;
  if (what == Without::bundles) choice.has_receive_bundles = false;
  return [choice](const LoopOptions& options) { return make_loop(choice, options).value(); };
}

std::vector<suite::Case> all_cases() {
  auto cases = suite::network_cases();
  for (const auto& named : suite::kernel_cases()) cases.push_back(named);
  return cases;
}

// Only where io_uring is refused may its half be skipped; the reason is printed.
struct UringWorks {
  boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const {
    const auto choice = choose_loop(IoMode::uring);
    boost::test_tools::assertion_result result(choice.has_value());
    if (!choice) result.message() << choice.error().text();
    return result;
  }
};
const boost::unit_test::precondition needs_uring{UringWorks{}};

struct ReceiveLimitWorks {
  boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const {
    const auto choice = choose_loop(IoMode::uring);
    boost::test_tools::assertion_result result(choice.has_value() && choice->has_receive_limit);
    if (!result) result.message() << "io_uring limits receives from Linux 6.17 on";
    return result;
  }
};
const boost::unit_test::precondition needs_receive_limit{ReceiveLimitWorks{}};

}  // namespace

BOOST_AUTO_TEST_SUITE(epoll_loop)
BOOST_DATA_TEST_CASE(does, bdata::make(all_cases()), named) {
  named.run(factory_for(IoMode::epoll));
}
BOOST_AUTO_TEST_CASE(brings_little_after_a_pause) {
  suite::check_overshoot(factory_for(IoMode::epoll));
}
BOOST_AUTO_TEST_CASE(survives_a_soak) { suite::soak(factory_for(IoMode::epoll), {}); }
BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(uring_loop, *needs_uring)
BOOST_DATA_TEST_CASE(does, bdata::make(all_cases()), named) {
  named.run(factory_for(IoMode::uring));
}
BOOST_DATA_TEST_CASE(does_without_limit, bdata::make(suite::network_cases()), named) {
  named.run(factory_without(Without::limit));
}
BOOST_DATA_TEST_CASE(does_without_bundles, bdata::make(suite::network_cases()), named) {
  named.run(factory_without(Without::bundles));
}
BOOST_AUTO_TEST_CASE(brings_little_after_a_pause, *needs_receive_limit) {
  suite::check_overshoot(factory_for(IoMode::uring));
}
BOOST_AUTO_TEST_CASE(gives_a_crowd_enough_blocks) {
  suite::check_crowd(factory_for(IoMode::uring));
}
BOOST_AUTO_TEST_CASE(survives_a_soak) { suite::soak(factory_for(IoMode::uring), {}); }
BOOST_AUTO_TEST_CASE(survives_a_soak_without_bundles) {
  suite::soak(factory_without(Without::bundles), {.seed = 2});
}
BOOST_AUTO_TEST_SUITE_END()
