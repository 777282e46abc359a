#define BOOST_TEST_MODULE unit - proxy
#include <boost/test/unit_test.hpp>
