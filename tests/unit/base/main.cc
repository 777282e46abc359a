// Defines main() of unit-base.
#include <boost/test/unit_test.hpp>
