#include "dataplane/proxy/site_connections.h"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

using istmo::Gauge;
using istmo::proxy::SiteConnections;

BOOST_AUTO_TEST_SUITE(site_connections)

BOOST_AUTO_TEST_CASE(every_site_has_a_counter_of_its_own_until_the_table_is_full) {
  const auto table = std::make_unique<SiteConnections>();
  std::set<Gauge*> counters;
  for (size_t i = 0; i < SiteConnections::kSitesMax + 100; ++i) {
    counters.insert(&table->of("site-" + std::to_string(i)));
  }
  BOOST_TEST(counters.size() == SiteConnections::kSitesMax + 1);
  BOOST_TEST(&table->of("site-7") == &table->of("site-7"));
}

BOOST_AUTO_TEST_CASE(workers_that_add_the_same_sites_at_once_find_the_same_counters) {
  constexpr int kSites = 500;
  const auto table = std::make_unique<SiteConnections>();
  std::vector<std::thread> workers;
  for (int worker = 0; worker < 4; ++worker) {
    workers.emplace_back([&table] {
      for (int i = 0; i < kSites; ++i) table->of("site-" + std::to_string(i)).add(1);
    });
  }
  for (auto& worker : workers) worker.join();
  for (int i = 0; i < kSites; ++i) {
    BOOST_TEST(table->of("site-" + std::to_string(i)).value() == 4);
  }
}

BOOST_AUTO_TEST_SUITE_END()
