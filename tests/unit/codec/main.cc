// The program of this layer's tests; each other file is a suite.
#define BOOST_TEST_MODULE unit - codec
#include <boost/test/unit_test.hpp>
