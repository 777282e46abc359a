#include "control/kubernetes/label_selector.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

using namespace istmo;
using namespace istmo::control;

namespace {

struct Selection {
  std::string selector;
  Labels labels;
  bool is_selected;
};
std::ostream& operator<<(std::ostream& out, const Selection& row) { return out << row.selector; }

const Labels kBackend{{"app", "backend"}, {"tier", "web"}, {"example.com/blue", ""}};

const Selection kSelections[] = {
    {"app=backend", kBackend, true},
    {" app == backend , tier=web ", kBackend, true},
    {"app=backend,tier=db", kBackend, false},
    {"app!=backend", kBackend, false},
    {"other!=backend", kBackend, true},
    {"app in (frontend, backend)", kBackend, true},
    {"app in (frontend)", kBackend, false},
    {"app notin (frontend,backend),tier", kBackend, false},
    {"app notin (frontend),tier in(web)", kBackend, true},
    {"other notin (frontend)", kBackend, true},
    {"app", kBackend, true},
    {"other", kBackend, false},
    {"!other", kBackend, true},
    {"!app", kBackend, false},
    {"example.com/blue=", kBackend, true},
    {"example.com/blue", kBackend, true},
    {"app=", {}, false},
};

const std::string kWrong[] = {"",        ",",      "a=b,",    "a b", "a in b",
                              "a in (b", "a=b=c",  "=b",      "!",   "a in ((b))",
                              "a=b c",   "a=b\nc", "a notin", "a;b", "a=b/c"};

}  // namespace

BOOST_AUTO_TEST_SUITE(label_selector)

BOOST_DATA_TEST_CASE(it_selects_as_kubernetes_does, kSelections) {
  const auto selector = LabelSelector::parse(sample.selector);
  BOOST_REQUIRE(selector.has_value());
  BOOST_TEST(selector->selects(sample.labels) == sample.is_selected);
}

BOOST_DATA_TEST_CASE(what_is_no_selector_is_refused_with_its_text, kWrong) {
  const auto selector = LabelSelector::parse(sample);
  BOOST_REQUIRE(!selector.has_value());
  BOOST_TEST(selector.error().text().contains("selector '" + sample + "'"));
}

BOOST_AUTO_TEST_SUITE_END()
