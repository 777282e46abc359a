// The immutable configuration that workers run: made by control/compile, published as a whole,
// read by every worker, freed when all have gone on to the next one. Plain values only.
//
// Nothing taken from a Snapshot is kept after a handler returns: copy the value.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "dataplane/io/socket.h"

namespace istmo::proxy {

struct ListenerCounters;   // process_state.h
struct ConnectorCounters;  // process_state.h

// Limits of one TCP exchange. Durations of zero mean "none".
struct TcpSettings {
  Duration connect_timeout = Duration::seconds(5);       // waiting for a route and connecting
  Duration idle_timeout = Duration{};                    // no octet in either direction
  Duration half_close_timeout = Duration::seconds(300);  // one direction ended, the other silent
  Duration keepalive = Duration::seconds(60);            // TCP keepalive probes
  friend bool operator==(const TcpSettings&, const TcpSettings&) = default;
};

// Several routing keys behind one listener. Every exchange has an order of them, and goes to the
// first that is reachable then.
struct KeyChoice {
  enum class By : uint8_t { priority, weight };
  struct Key {
    std::string key;
    uint32_t weight = 1;  // by weight only; 0: never
    friend bool operator==(const Key&, const Key&) = default;
  };
  By by = By::priority;   // as they stand; or by chance, in proportion to the weights
  std::vector<Key> keys;  // empty: there is no choice
  friend bool operator==(const KeyChoice&, const KeyChoice&) = default;
};

// Listener document, or a propagated service: where clients connect.
struct ListenerConfig {
  // Unique; the document's name, `keys/<name>` of a MultiKeyListener, `service/<key>:<port>` when
  // propagated.
  std::string name;
  std::string routing_key;  // empty: `choice` has several
  KeyChoice choice;
  std::vector<io::Address> addresses;  // all are bound, by every worker (SO_REUSEPORT)
  uint32_t connections_max = 0;        // open at the same time in the process; 0 = no limit
  bool drops_connections = false;      // settings.dropTcpConnections: end them when deleted
  TcpSettings tcp;
  ListenerCounters* counters = nullptr;  // filled in by ProcessState::bind, not by compile()
  friend bool operator==(const ListenerConfig&, const ListenerConfig&) = default;
};

// Connector document: a place that serves a routing key at this site.
struct ConnectorConfig {
  std::string name;
  std::string routing_key;
  std::string host;                    // as written, for status
  std::vector<io::Address> addresses;  // resolved now; each one is a backend
  std::vector<std::string> names;      // of the pods at these addresses; empty: they are no pods
  bool drops_connections = false;
  TcpSettings tcp;
  ConnectorCounters* counters = nullptr;  // as those of a listener
  friend bool operator==(const ConnectorConfig&, const ConnectorConfig&) = default;
};

// PEM texts. `certificate` may hold the chain.
struct Credentials {
  std::string certificate;
  std::string private_key;
  std::string ca;
  friend bool operator==(const Credentials&, const Credentials&) = default;
};

// One address of the other site that a Link names.
struct LinkTarget {
  std::string host;                    // as written: checked against the certificate
  std::vector<io::Address> addresses;  // resolved; tried in turn
  friend bool operator==(const LinkTarget&, const LinkTarget&) = default;
};

// Link document: this site dials. Or another replica of this site.
struct LinkConfig {
  std::string name;
  std::vector<LinkTarget> targets;  // tried in turn
  uint32_t cost = 1;
  Credentials credentials;
  bool is_sibling = false;  // it leads to a replica of this site, and nowhere else
  friend bool operator==(const LinkConfig&, const LinkConfig&) = default;
};

// RouterAccess document: other sites dial here. Or the other replicas of this site.
struct LinkAcceptorConfig {
  std::string name;
  std::vector<io::Address> addresses;
  Credentials credentials;
  bool is_for_siblings = false;
  friend bool operator==(const LinkAcceptorConfig&, const LinkAcceptorConfig&) = default;
};

// Links between the site of a client and that of its server.
inline constexpr uint32_t kHopsMax = 8;

// A site that is known to serve a routing key, learnt over a link.
struct RemoteService {
  std::string routing_key;
  std::string site_id;  // the neighbour through which it is reached
  std::string replica;  // or, with the own site's id, the sibling that is linked to such a one
  // Of the way from that neighbour on (0: it serves the key itself); from that sibling on.
  uint32_t cost = 0;
  bool is_cut = false;  // that way is interrupted at the moment: exchanges wait
  friend bool operator==(const RemoteService&, const RemoteService&) = default;
};

// Bounds of the process. Refused and counted at the limit.
struct Limits {
  uint32_t streams_max = 100'000;                       // open exchanges
  uint64_t buffered_bytes_max = 1024ull * 1024 * 1024;  // octets waiting in all queues
  uint32_t window_bytes = 256 * 1024;                   // per TCP connection and direction
  // Per stream and direction across a link. Twice as much: fewer grants per octet (perf/LOG.md),
  // and more in flight on long links.
  uint32_t link_window_bytes = 512 * 1024;
  friend bool operator==(const Limits&, const Limits&) = default;
};

struct Snapshot {
  uint64_t generation = 0;
  std::string site_id;
  std::string site_name;
  std::vector<ListenerConfig> listeners;
  std::vector<ConnectorConfig> connectors;
  std::vector<LinkConfig> links;
  std::vector<LinkAcceptorConfig> acceptors;
  std::vector<RemoteService> remote_services;
  // Every Listener and Connector document there is, also those that nothing above comes from at the
  // moment (no way to the key, host unknown): dropTcpConnections acts when its document goes.
  std::set<std::string> listener_documents;
  std::set<std::string> connector_documents;
  // Routing keys of Connectors whose backends are being found out: exchanges wait for them.
  std::set<std::string> awaited_keys;
  bool allows_transit = true;  // streams of other sites may go on to further ones
  Limits limits;
};

}  // namespace istmo::proxy
