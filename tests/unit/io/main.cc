// Defines main() of unit-io.
#define BOOST_TEST_MODULE unit - io
#include <boost/test/unit_test.hpp>
