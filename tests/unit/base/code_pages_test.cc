#include "base/code_pages.h"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

using namespace istmo;

namespace {

// KiB of code of libm that are mapped in.
long resident_code() {
  std::ifstream maps("/proc/self/smaps");
  bool is_it = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.contains("/lib")) is_it = line.contains("/libm.so") && line.contains(" r-xp ");
    if (!is_it || !line.starts_with("Rss:")) continue;
    std::istringstream words(line.substr(4));
    long kibibytes = 0;
    words >> kibibytes;
    return kibibytes;
  }
  return -1;
}

}  // namespace

BOOST_AUTO_TEST_CASE(released_code_is_not_resident_and_runs_as_before) {
  const volatile double one = 1;
  const double before = std::cos(one);
  BOOST_TEST(resident_code() > 0);
  double (*function)(double) = std::cos;
  release_code_pages(reinterpret_cast<const void*>(function));
  BOOST_TEST(resident_code() == 0);
  BOOST_TEST(std::cos(one) == before);
}

BOOST_AUTO_TEST_CASE(what_is_no_code_is_left_alone) {
  static int data = 7;
  release_code_pages(&data);
  BOOST_TEST(data == 7);
}
