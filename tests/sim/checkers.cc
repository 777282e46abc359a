#include "checkers.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>

namespace istmo::sim {

namespace {

// What a link may have handed to its transport: proxy/link.cc hands over 240 KiB at most and may
// overshoot by a frame; control frames and records add their own.
constexpr uint64_t kLinkBytesMax = 240 * 1024 + 32 * 1024;
// An incomplete record or frame of a link, or the hello of a connection that becomes one.
constexpr uint64_t kBlocksOfIdleLink = 8;
constexpr uint64_t kArrivalsMax = 4;

void check_tcp_credit(Site& site, int64_t credit, const Bounds& bounds) {
  const auto window = static_cast<int64_t>(site.config.limits.window_bytes);
  if (credit > window || credit < -static_cast<int64_t>(bounds.overshoot_bytes)) {
    BOOST_FAIL(site.name() << ": a TCP stream has a credit of " << credit << " octets");
  }
}

void check_link_credit(Site& site, const codec::StreamCredit& credit, const Bounds& bounds) {
  const auto& limits = site.config.limits;
  const auto window = static_cast<int64_t>(limits.link_window_bytes);
  const auto is_within = [&](int64_t bytes) { return bytes >= 0 && bytes <= window; };
  const bool is_right =
      is_within(credit.send_bytes) && is_within(credit.receive_bytes) &&
      is_within(credit.receive_announced_bytes) &&
      credit.receive_announced_bytes <= credit.receive_bytes && credit.send_deliveries <= 1 &&
      credit.receive_deliveries <= 1 &&
      credit.queued_bytes <= limits.window_bytes + bounds.overshoot_bytes + bounds.mesh_bytes;
  if (is_right) return;
  BOOST_FAIL(site.name() << ": stream " << credit.stream.number() << " of a link may send "
                         << credit.send_bytes << " octets and receive " << credit.receive_bytes
                         << ", announced " << credit.receive_announced_bytes << "; deliveries "
                         << credit.send_deliveries << " and " << credit.receive_deliveries
                         << "; queued " << credit.queued_bytes);
}

void check_memory(Site& site, const Bounds& bounds) {
  uint64_t queued = 0;
  uint64_t pending = 0;
  uint64_t links = 0;
  uint64_t ending = 0;  // links and streams: freed in a later turn, and what they had with them
  uint64_t blocks = 0;
  for (uint32_t i = 0; i < site.workers(); ++i) {
    blocks += site.worker(i).loop().block_use().lent;
    for (const auto& link : site.worker(i).links()) {
      if (link->is_ended()) {
        ++ending;
        continue;
      }
      ++links;
      queued += link->mux().queued_bytes();
      pending += link->pending_bytes();
    }
    site.worker(i).for_each_tcp_stream(
        [&](const proxy::TcpStream& stream) { ending += stream.is_closing(); });
  }
  const auto& limits = site.config.limits;
  const uint64_t from_tcp = limits.window_bytes + bounds.overshoot_bytes;
  const uint64_t per_exchange = from_tcp + (bounds.has_link ? limits.link_window_bytes : from_tcp);
  const int64_t buffered = site.process().buffered_bytes.value();
  const auto exchanges = static_cast<uint64_t>(site.process().streams_open.value());
  if (buffered < 0 || static_cast<uint64_t>(buffered) > exchanges * per_exchange) {
    BOOST_FAIL(site.name() << " holds " << buffered << " octets for " << exchanges << " exchanges");
  }
  if (queued > static_cast<uint64_t>(buffered) + links * bounds.mesh_bytes) {
    BOOST_FAIL(site.name() << " queues " << queued << " octets on links and holds " << buffered);
  }
  if (pending > links * kLinkBytesMax) {
    BOOST_FAIL(site.name() << " has " << pending << " octets pending on " << links << " links");
  }
  const bool is_idle = buffered == 0 && pending == 0 && ending == 0;
  if (is_idle && blocks > (links + kArrivalsMax) * kBlocksOfIdleLink) {
    BOOST_FAIL(site.name() << " keeps " << blocks << " blocks for nothing");
  }
}

}  // namespace

void check_turn(Site& site, const Bounds& bounds, LowestCredit& lowest) {
  bool has_turned = false;
  site.for_each_turned([&](proxy::Worker& worker) {
    has_turned = true;
    worker.for_each_tcp_stream([&](const proxy::TcpStream& stream) {
      check_tcp_credit(site, stream.credit_bytes(), bounds);
      lowest.tcp_bytes = std::min(lowest.tcp_bytes, stream.credit_bytes());
    });
    for (const auto& link : worker.links()) {
      for (const auto& credit : link->mux().credits()) {
        check_link_credit(site, credit, bounds);
        lowest.link_bytes = std::min(lowest.link_bytes, credit.receive_bytes);
      }
    }
  });
  if (has_turned) check_memory(site, bounds);
}

namespace {

// What is expected of a worker without exchanges.
struct Left {
  // A tick per link, a probe per backend that is set aside, an attempt per dialer without a link.
  uint32_t timers = 0;
  uint32_t streams = 0;  // of links
  codec::LinkMuxUse use;
  uint64_t queued_bytes = 0;
  friend bool operator==(const Left&, const Left&) = default;
};

Left expected_of(proxy::Worker& worker) {
  const auto report = worker.report(false);
  Left left;
  left.timers = static_cast<uint32_t>(
      worker.links().size() +
      std::ranges::count_if(report.backends, [](const auto& each) { return each.is_set_aside; }));
  auto dialers =
      std::ranges::count_if(report.links, [](const auto& link) { return !link.is_incoming; });
  for (const auto& link : worker.links()) {
    if (!link->is_incoming()) --dialers;
    left.streams += link->has_mesh();
  }
  left.timers += static_cast<uint32_t>(dialers);
  left.use = {.streams = left.streams,
              .links = 2 * left.streams,
              .handles = 2 * left.streams,
              .remote_handles = 2 * left.streams,
              .deliveries = left.streams};
  return left;
}

Left found_in(proxy::Worker& worker) {
  Left left;
  left.timers = worker.loop().timers().armed_count();
  for (const auto& link : worker.links()) {
    left.streams += link->streams_open();
    const auto use = link->mux().use();
    left.use.streams += use.streams;
    left.use.links += use.links;
    left.use.handles += use.handles;
    left.use.remote_handles += use.remote_handles;
    left.use.deliveries += use.deliveries;
    left.queued_bytes += link->mux().queued_bytes() + link->pending_bytes();
  }
  return left;
}

}  // namespace

bool is_quiet(Site& site) {
  if (site.process().streams_open.value() != 0 || site.buffered_bytes() != 0) return false;
  for (uint32_t i = 0; i < site.workers(); ++i) {
    proxy::Worker& worker = site.worker(i);
    const bool has_stream = worker.report(false).streams_open != 0;
    if (has_stream || worker.loop().block_use().lent != 0) return false;
    if (found_in(worker) != expected_of(worker)) return false;
  }
  return true;
}

void check_quiet(Site& site) {
  BOOST_TEST(site.buffered_bytes() == 0u);
  BOOST_TEST(site.process().streams_open.value() == 0);
  BOOST_TEST(site.streams_open() == 0u);
  for (uint32_t i = 0; i < site.workers(); ++i) {
    proxy::Worker& worker = site.worker(i);
    BOOST_TEST_CONTEXT("worker " << i) {
      const Left found = found_in(worker);
      const Left expected = expected_of(worker);
      BOOST_TEST(worker.loop().block_use().lent == 0u);
      BOOST_TEST(found.timers == expected.timers);
      BOOST_TEST(found.streams == expected.streams);
      BOOST_TEST(found.use.streams == expected.use.streams);
      BOOST_TEST(found.use.links == expected.use.links);
      BOOST_TEST(found.use.handles == expected.use.handles);
      BOOST_TEST(found.use.remote_handles == expected.use.remote_handles);
      BOOST_TEST(found.use.deliveries == expected.use.deliveries);
      BOOST_TEST(found.queued_bytes == 0u);
    }
  }
}

void check_empty(Site& site) {
  for (uint32_t i = 0; i < site.workers(); ++i) {
    BOOST_TEST(site.worker(i).loop().timers().armed_count() == 0u);
    BOOST_TEST(site.worker(i).loop().block_use().lent == 0u);
  }
}

}  // namespace istmo::sim
