#define BOOST_TEST_MODULE unit - control
#include <boost/test/unit_test.hpp>
