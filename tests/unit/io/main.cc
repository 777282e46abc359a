// Defines main() of unit-io.
#include <boost/test/unit_test.hpp>
