// A label selector as text, and which labels it selects.
//
// A value; pure; any thread.
// Source: Kubernetes, "Labels and Selectors": a=b, a==b, a!=b, a in (b,c), a notin (b,c), a, !a,
// joined by commas.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/value.h"

namespace istmo::control {

using Labels = std::map<std::string, std::string>;

class LabelSelector {
 public:
  // Error::config says what is wrong. A selector without a requirement is an error: it would
  // select everything.
  static Result<LabelSelector> parse(std::string_view text);

  bool selects(const Labels& labels) const;
  // Whatever is selected has one of these labels ("app=backend"); empty: it may have none.
  std::vector<std::string> labels_wanted() const;

 private:
  enum class Operator : uint8_t { in, not_in, exists, does_not_exist };
  struct Requirement {
    std::string key;
    Operator op = Operator::exists;
    std::set<std::string> values;
  };
  static Result<Requirement> parse_requirement(std::string_view text);

  std::vector<Requirement> requirements_;
};

// "app=backend,tier in (a,b)": a LabelSelector of the API as parse() reads it.
std::string selector_text(const Value& label_selector);

}  // namespace istmo::control
