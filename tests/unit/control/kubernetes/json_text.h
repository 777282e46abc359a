// JSON in tests, read or the test fails.
#pragma once

#include <boost/test/unit_test.hpp>
#include <string>

#include "control/json.h"

namespace istmo::control {

inline Value json(const std::string& text) {
  auto parsed = parse_json(text, {});
  BOOST_REQUIRE_MESSAGE(!parsed.error, text);
  return parsed.documents.front();
}

}  // namespace istmo::control
