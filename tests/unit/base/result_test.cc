#include "base/result.h"

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <memory>

#include "base/clock.h"
#include "base/ids.h"

using namespace istmo;

namespace {

Result<int> half_of(int number) {
  if (number % 2 != 0) return Error::protocol("odd");
  return number / 2;
}

Result<> check(int number) {
  TRY(half_of(number));
  return {};
}

Result<std::unique_ptr<int>> boxed_half_of(int number) {
  const int half = TRY(half_of(number));
  return std::make_unique<int>(half);
}

Result<int> quarter_of(int number) { return *TRY(boxed_half_of(number)) / 2; }

}  // namespace

BOOST_AUTO_TEST_SUITE(result)

BOOST_AUTO_TEST_CASE(try_passes_values_and_errors_on) {
  BOOST_TEST(quarter_of(8).value() == 2);
  BOOST_TEST(quarter_of(7).error().text() == "odd");
  BOOST_TEST(check(2).has_value());
  BOOST_TEST((check(3).error().error_class() == ErrorClass::protocol));
}

BOOST_AUTO_TEST_CASE(errno_decides_the_class) {
  const auto class_of = [](int number) { return Error::from_errno(number, "").error_class(); };
  BOOST_TEST((class_of(ECONNREFUSED) == ErrorClass::refused));
  BOOST_TEST((class_of(EHOSTUNREACH) == ErrorClass::refused));
  BOOST_TEST((class_of(EADDRINUSE) == ErrorClass::taken));
  BOOST_TEST((class_of(ECONNRESET) == ErrorClass::reset));
  BOOST_TEST((class_of(EPIPE) == ErrorClass::reset));
  BOOST_TEST((class_of(ETIMEDOUT) == ErrorClass::timeout));
  BOOST_TEST((class_of(EMFILE) == ErrorClass::limit));
  BOOST_TEST((class_of(ECANCELED) == ErrorClass::closed));
  BOOST_TEST((class_of(EBADF) == ErrorClass::internal));
}

BOOST_AUTO_TEST_CASE(text_says_what_and_where) {
  const Error error = Error::from_errno(ECONNREFUSED, "connect 127.0.0.1:1").at("connector web");
  BOOST_TEST(error.text() == "connector web: connect 127.0.0.1:1: Connection refused");
  BOOST_TEST((error.error_class() == ErrorClass::refused));
}

BOOST_AUTO_TEST_CASE(every_class_has_a_name) {
  BOOST_TEST(to_string(ErrorClass::closed) == "closed");
  BOOST_TEST(to_string(ErrorClass::internal) == "internal");
  BOOST_TEST(to_string(ErrorClass::limit) == "limit");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(clock_and_ids)

BOOST_AUTO_TEST_CASE(durations_and_instants_add_up) {
  BOOST_TEST((Duration::seconds(1) == Duration::milliseconds(1000)));
  BOOST_TEST((Duration::microseconds(3) * 2 + Duration::nanoseconds(1)).ns == 6001);
  BOOST_TEST(Duration::seconds(2).to_milliseconds() == 2000);
  const Instant start{100};
  BOOST_TEST((start + Duration::nanoseconds(5) - start).ns == 5);
  BOOST_TEST((start < Instant::never()));
}

BOOST_AUTO_TEST_CASE(monotonic_clock_never_goes_back) {
  const Instant first = monotonic_now();
  BOOST_TEST((monotonic_now() >= first));
}

BOOST_AUTO_TEST_CASE(ids_compare_and_hash) {
  using ColourId = Id<struct ColourTag>;
  BOOST_TEST((ColourId(1) < ColourId(2)));
  BOOST_TEST((ColourId() == ColourId(0)));
  BOOST_TEST(std::hash<ColourId>{}(ColourId(7)) == std::hash<uint32_t>{}(7));
}

BOOST_AUTO_TEST_SUITE_END()
