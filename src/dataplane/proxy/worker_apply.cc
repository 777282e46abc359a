// A worker takes a new snapshot, and tells how it is: the two places where configuration and state
// cross the border of the worker.
#include <algorithm>

#include "base/log.h"
#include "dataplane/proxy/worker.h"

namespace istmo::proxy {

void Worker::apply(const Snapshot& snapshot) {
  std::vector<Problem> problems;
  site_id_ = snapshot.site_id;
  site_name_ = snapshot.site_name;
  limits_ = snapshot.limits;
  memory_.set_bytes_max(limits_.buffered_bytes_max);
  if (!is_draining_) {
    apply_routes(snapshot);
    apply_connectors(snapshot);
    apply_links(snapshot, problems);
    apply_listeners(snapshot, problems);
    on_routes_changed();
  }
  schedule_sweep();
  sink_.on_applied(snapshot.generation, std::move(problems));
}

void Worker::apply_routes(const Snapshot& snapshot) {
  allows_transit_ = snapshot.allows_transit;
  awaited_keys_ = snapshot.awaited_keys;
  places_.clear();
  for (const auto& service : snapshot.remote_services) {
    places_[service.routing_key].push_back(
        {{service.site_id, service.replica}, service.cost, service.is_cut});
  }
}

void Worker::apply_connectors(const Snapshot& snapshot) {
  std::vector<Backend*> kept;
  for (const auto& connector : snapshot.connectors) {
    for (size_t i = 0; i < connector.addresses.size(); ++i) {
      const auto found = std::ranges::find_if(backends_, [&](const auto& backend) {
        return !backend->is_retired() && backend->connector() == connector.name &&
               backend->routing_key() == connector.routing_key &&
               backend->address() == connector.addresses[i];
      });
      if (found == backends_.end()) {
        backends_.push_back(std::make_unique<Backend>(*this, next_id_++, connector, i));
        kept.push_back(backends_.back().get());
      } else {
        (*found)->update(connector, i);
        kept.push_back(found->get());
      }
    }
  }
  for (auto& backend : backends_) {
    if (std::ranges::find(kept, backend.get()) != kept.end()) continue;
    if (!backend->is_retired()) backend->retire();
    if (!snapshot.connector_documents.contains(backend->connector())) backend->on_document_gone();
  }
  pools_.clear();
  for (auto* backend : kept) pools_[backend->routing_key()].backends.push_back(backend);
}

void Worker::apply_listeners(const Snapshot& snapshot, std::vector<Problem>& problems) {
  // First close what goes, so that an address can move from one listener to another.
  for (auto& listener : listeners_) {
    const bool stays = std::ranges::any_of(
        snapshot.listeners, [&](const auto& config) { return config.name == listener->name(); });
    if (stays) continue;
    if (!listener->is_retired()) listener->retire();
    if (!snapshot.listener_documents.contains(listener->name())) listener->on_document_gone();
  }
  std::vector<Listener*> to_open;
  for (const auto& config : snapshot.listeners) {
    const auto found = std::ranges::find_if(
        listeners_, [&](const auto& listener) { return listener->name() == config.name; });
    if (found == listeners_.end()) {
      listeners_.push_back(std::make_unique<Listener>(*this, config));
      to_open.push_back(listeners_.back().get());
    } else {
      (*found)->update(config);
      to_open.push_back(found->get());
    }
  }
  for (auto* listener : to_open) listener->open(problems);
}

void Worker::apply_links(const Snapshot& snapshot, std::vector<Problem>& problems) {
  for (auto& dialer : dialers_) {
    const bool stays = std::ranges::any_of(
        snapshot.links, [&](const auto& config) { return config.name == dialer->name(); });
    if (!stays) dialer->retire();
  }
  // Those that no dialer has any more: it let go of them.
  for (auto& link : links_) {
    const bool stays = std::ranges::any_of(
        snapshot.links, [&](const auto& config) { return config.name == link->name(); });
    if (link->is_leaving() && !link->is_incoming() && !stays) link->close("", "link deleted");
  }
  for (const auto& config : snapshot.links) {
    for (auto& dialer : dialers_) {
      if (dialer->is_retired() || dialer->name() != config.name) continue;
      if (dialer->config() != config) dialer->update(config);
    }
    add_dialers(config, options_.count);
  }
  for (auto& acceptor : acceptors_) {
    const bool stays = std::ranges::any_of(
        snapshot.acceptors, [&](const auto& config) { return config.name == acceptor->name(); });
    if (!stays) acceptor->retire();
  }
  for (const auto& config : snapshot.acceptors) {
    const auto found = std::ranges::find_if(
        acceptors_, [&](const auto& acceptor) { return acceptor->name() == config.name; });
    if (found == acceptors_.end()) {
      acceptors_.push_back(std::make_unique<LinkAcceptor>(*this, config));
      acceptors_.back()->open(problems);
    } else {
      (*found)->update(config);
      (*found)->open(problems);
    }
  }
}

WorkerReport Worker::report(bool with_connections) {
  WorkerReport report;
  report.worker = options_.index;
  report.io = loop_.kind() == io::LoopKind::uring   ? "uring"
              : loop_.kind() == io::LoopKind::epoll ? "epoll"
                                                    : "sim";
  for (const auto& listener : listeners_) {
    if (!listener->is_retired()) report.listeners.push_back(listener->report());
  }
  for (const auto& backend : backends_) {
    if (!backend->is_retired()) report.backends.push_back(backend->report());
  }
  for (const auto& dialer : dialers_) {
    if (!dialer->is_retired()) report.links.push_back(dialer->change());
  }
  for (const auto& link : links_) {
    if (link->is_incoming() && link->is_open()) report.links.push_back(link->change());
  }
  if (with_connections) {
    tunnels_.for_each([&](Tunnel& tunnel) { report.connections.push_back(tunnel.report()); });
  }
  std::ranges::copy(closed_total_, report.closed_total);
  report.bytes_in = bytes_in_;
  report.bytes_out = bytes_out_;
  report.streams_open = tunnels_.size();
  for (const auto& link : links_) report.streams_open += link->streams_awaited();
  // The gauge is the process's: only worker 0 reports it, so that sums are right.
  if (options_.index == 0) {
    report.buffered_bytes = static_cast<uint64_t>(process_.buffered_bytes.value());
  }
  report.accept_limit_hits = loop_.metrics().accept_limit_hits.value();
  report.starvations = loop_.metrics().starvations.value();
  report.blocks_lent = loop_.block_use().lent;
  report.blocks_copied = loop_.block_use().copied;
  report.turns = loop_.metrics().turns.value();
  return report;
}

}  // namespace istmo::proxy
