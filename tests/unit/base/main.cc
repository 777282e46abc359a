// Defines main() of unit-base.
#define BOOST_TEST_MODULE unit - base
#include <boost/test/unit_test.hpp>
